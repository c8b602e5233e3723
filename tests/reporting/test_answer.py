from collections.abc import Callable
from pathlib import Path

import numpy as np

from clr_hpc.reporting.answer import caveats, run_counts, verdict
from clr_hpc.reporting.collect import read_study
from clr_hpc.reporting.compare import Comparison, compare_policies
from clr_hpc.reporting.scoring import score_runs

StudyMaker = Callable[..., Path]


def comparison(folder: Path) -> Comparison:
    return compare_policies(score_runs(read_study(folder), np.random.default_rng(0)))


def test_a_clear_lead_is_called_one(make_study: StudyMaker) -> None:
    said = verdict(comparison(make_study(skill={"constant": 0.3, "triangular": 2.0})))
    assert said.startswith("Triangular has the highest mean validation AUROC, 0.")
    assert "over 2 pathologies. It is ahead of Constant by 0." in said


def test_a_lead_within_chance_is_not(make_study: StudyMaker) -> None:
    said = verdict(comparison(make_study(skill={"constant": 1.0, "triangular": 1.0})))
    assert "can't be told from" in said
    assert "(−0." in said


def test_a_single_policy_has_nothing_to_be_compared_with(make_study: StudyMaker) -> None:
    said = verdict(comparison(make_study(pathologies=("edema",), skill={"constant": 1.0})))
    assert said.startswith("Only Constant has results")
    assert said.endswith("over 1 pathology.")


def test_nothing_done_yet(make_study: StudyMaker) -> None:
    folder = make_study()
    for result in folder.glob("runs/*/result.json"):
        result.unlink()
    assert verdict(comparison(folder)).startswith("Nothing can be compared")
    assert run_counts(read_study(folder)) == {"done": 0, "failed": 0, "unfinished": 6, "missing": 0}


def test_one_seed_is_owned_up_to(make_study: StudyMaker) -> None:
    assert "another seed would move these numbers" in caveats(comparison(make_study()))[0]


def test_several_seeds_are_counted(make_study: StudyMaker) -> None:
    said = caveats(comparison(make_study(pathologies=("edema",), seeds=(0, 1))))
    assert "Means over 2 seeds" in said[0]
