import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from clr_hpc.reporting.read.predictions import Numbering
from clr_hpc.reporting.read.study import read_study
from clr_hpc.reporting.stats.compare import arms, compare, models_of_an_arm
from clr_hpc.reporting.stats.scoring import ScoredRun, score_runs

StudyMaker = Callable[..., Path]


def scored(folder: Path) -> tuple[ScoredRun, ...]:
    return score_runs(read_study(folder), np.random.default_rng(0))


def run_folders(folder: Path, part: str) -> list[Path]:
    return sorted(path for path in (folder / "runs").iterdir() if part in path.name)


def test_the_difference_is_paired(make_study: StudyMaker) -> None:
    """Runs are alike on the same patients, so their difference is known better than either of them."""
    comparison = compare(arms(scored(make_study(skill={"constant": 1.0, "triangular": 1.1}))))
    best, other = comparison.contenders
    assert best.interval is not None
    assert other.interval is not None
    assert other.difference is not None
    assert other.difference.patient_interval is not None
    width = other.difference.patient_interval.high - other.difference.patient_interval.low
    unpaired = np.hypot(best.interval.high - best.interval.low, other.interval.high - other.interval.low)
    assert width < unpaired / 2


def test_means_weigh_every_pathology_alike(make_study: StudyMaker) -> None:
    runs = scored(make_study())
    comparison = compare(arms(runs), margin=0.01)
    for mean in comparison.contenders:
        areas = [run.auroc for run in runs if run.setting.arm == mean.name]
        assert mean.auroc == pytest.approx(np.mean(areas))
        assert mean.interval is not None
        assert mean.interval.low < mean.auroc < mean.interval.high
    assert [mean.name for mean in comparison.contenders] == ["Triangular", "Modified triangular2", "Constant"]


def test_the_reference_is_chosen_on_validation_and_judged_on_test(make_study: StudyMaker) -> None:
    """A policy that validation prefers and the test split does not is the reference all the same."""
    folder = make_study(skill={"constant": 2.0, "triangular": 0.3}, seeds=(0, 1, 2, 3))
    for file in folder.glob("runs/*.triangular.*/result.json"):
        result = json.loads(file.read_text())
        result["validation"]["auroc"] = 0.99
        file.write_text(json.dumps(result))
    comparison = compare(arms(scored(folder)), margin=0.01)
    reference, other = comparison.contenders
    assert comparison.chosen
    assert (reference.name, other.name) == ("Triangular", "Constant")
    assert reference.auroc < other.auroc
    assert other.verdict == "better"


def test_without_a_validation_auroc_nothing_is_chosen_or_judged(make_study: StudyMaker) -> None:
    folder = make_study(skill={"constant": 2.0, "triangular": 0.3}, seeds=(0, 1, 2))
    for file in folder.glob("runs/*/result.json"):
        result = json.loads(file.read_text())
        result["validation"]["auroc"] = None
        file.write_text(json.dumps(result))
    comparison = compare(arms(scored(folder)), margin=0.01)
    assert not comparison.chosen
    assert [mean.name for mean in comparison.contenders] == ["Constant", "Triangular"]
    assert {mean.verdict for mean in comparison.contenders} == {None}


def test_policies_are_judged_on_runs_of_one_length(make_study: StudyMaker) -> None:
    folder = make_study(skill={"constant": 1.0, "triangular": 1.0})
    file = next(folder.glob("runs/effusion.*.triangular.*/result.json"))
    result = json.loads(file.read_text())
    result["stopped_early"] = True
    result["cost"]["steps"] -= 5
    file.write_text(json.dumps(result))
    comparison = compare(arms(scored(folder)), margin=0.01)
    assert comparison.tasks == ("Pneumothorax",)
    assert comparison.left_out == ("Effusion (early stopping ended some of its runs sooner)",)
    assert compare(arms(scored(folder))).tasks == ("Effusion", "Pneumothorax")


def test_only_what_every_policy_has_is_compared(make_study: StudyMaker) -> None:
    folder = make_study()
    failed = {"status": "failed", "reason": "out of memory", "samples": 0, "epochs": 0.0, "seconds": 1.0}
    (run_folders(folder, "effusion.mobilenet_v1.sgd.scratch.constant")[0] / "result.json").write_text(
        json.dumps(failed)
    )
    comparison = compare(arms(scored(folder)))
    assert comparison.tasks == ("Pneumothorax",)
    assert comparison.left_out == ("Effusion (failed: out of memory)",)
    assert comparison.runs_each == 1


def test_a_policy_without_any_result_is_named(make_study: StudyMaker) -> None:
    folder = make_study()
    for run in run_folders(folder, "sgd.scratch.constant"):
        (run / "result.json").unlink()
    comparison = compare(arms(scored(folder)))
    assert comparison.absent == ("Constant",)
    assert [mean.name for mean in comparison.contenders] == ["Triangular", "Modified triangular2"]


def test_a_study_without_any_run_compares_nothing(make_study: StudyMaker) -> None:
    study = read_study(make_study())
    bare = tuple(replace(run, status="missing", predictions={}, epochs=()) for run in study.runs)
    runs = score_runs(replace(study, runs=bare, test=Numbering().test_images()), np.random.default_rng(0))
    assert compare(arms(runs)).contenders == ()


def test_models_of_the_same_runs_stand_side_by_side(make_study: StudyMaker) -> None:
    runs = scored(make_study())
    comparison = compare(models_of_an_arm(runs, "Triangular"))
    assert {mean.name for mean in comparison.contenders} == {"Last", "Averaged weights (SWA)", "Snapshots"}
    last = next(mean for mean in comparison.contenders if mean.name == "Last")
    arm = next(mean for mean in compare(arms(runs)).contenders if mean.name == "Triangular")
    assert last.auroc == arm.auroc
    assert len(compare(models_of_an_arm(runs, "Constant")).contenders) == 1
