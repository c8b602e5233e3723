import re
from collections.abc import Callable
from pathlib import Path

import numpy as np

from clr_hpc.reporting.page.answer import (
    caveats,
    contrast_caveats,
    contrast_lines,
    one_class_line,
    ranking,
    run_counts,
    verdict,
)
from clr_hpc.reporting.read.study import read_study
from clr_hpc.reporting.stats.compare import Comparison, arms, compare
from clr_hpc.reporting.stats.contrast import ArmContrast, against_control
from clr_hpc.reporting.stats.scoring import result_rows, score_runs

StudyMaker = Callable[..., Path]
UNDECIDED = "? Undecided: no significant difference between Triangular and the control."
THREE = ("effusion", "edema", "pneumothorax")


def comparison(folder: Path) -> Comparison:
    return compare(arms(score_runs(read_study(folder), np.random.default_rng(0))))


def contrasts(folder: Path) -> tuple[ArmContrast, ...]:
    return against_control(score_runs(read_study(folder), np.random.default_rng(0)))


def test_a_clear_lead_over_the_control_is_a_yes(make_study: StudyMaker) -> None:
    found = contrasts(make_study(THREE, skill={}, retrained={"cosine": 0.5, "triangular": 2.0}))
    assert verdict(found).endswith("decaying learning rate (Cosine decay)? Yes: Triangular beats the control.")
    (line,) = contrast_lines(found, "pathology")
    assert line.startswith("Triangular: test ΔAUROC +0.")
    assert re.search(
        r"\(95 % CI over patients 0\.\d+ to 0\.\d+; over training runs 0\.\d+ to 0\.\d+\), mean over 3", line
    )
    assert "better on 3 of 3, worse on 0 (DeLong's test, Holm-adjusted p < 0.05)" in line
    assert "Δ training accuracy (the article's measure): +0.150" in line
    assert "3 of 3 runs and 0 of their controls reached the baseline's best" in line
    assert contrast_caveats(found)[0].startswith("“Beats” and “is worse” require both 95 % CIs")


def test_a_policy_that_is_behind_is_a_no(make_study: StudyMaker) -> None:
    found = contrasts(make_study(THREE, skill={}, retrained={"cosine": 2.0, "triangular": 0.5}))
    assert verdict(found).endswith("? No: Triangular is worse than the control.")


def test_policies_that_differ_in_nothing_leave_it_undecided(make_study: StudyMaker) -> None:
    found = contrasts(make_study(THREE, skill={}, retrained={"cosine": 1.0, "triangular": 1.0}))
    assert verdict(found).endswith(UNDECIDED)


def test_one_policy_of_two_is_in_part(make_study: StudyMaker) -> None:
    skill = {"cosine": 1.0, "triangular": 2.0, "triangular2": 1.0}
    answer = verdict(contrasts(make_study(THREE, skill={}, retrained=skill)))
    assert answer.endswith(
        "? In part: Triangular beats the control; no significant difference between Triangular2 and the control."
    )


def test_a_constant_rate_is_no_cyclical_retraining(make_study: StudyMaker) -> None:
    skill = {"cosine": 1.0, "constant": 2.0, "triangular": 1.0}
    found = contrasts(make_study(THREE, skill={}, retrained=skill))
    assert verdict(found).endswith(UNDECIDED)
    cyclical, other = contrast_lines(found, "pathology")
    assert cyclical.startswith("Triangular: ")
    assert other.startswith("Constant (not cyclical): ")


def test_a_lead_on_one_task_with_one_seed_is_never_called_one(make_study: StudyMaker) -> None:
    """However sure the patients make it: another seed might show the opposite."""
    (found,) = contrasts(make_study(("edema",), skill={}, retrained={"cosine": 0.3, "triangular": 2.0}))
    assert found.interval is not None
    assert found.interval.low > 0
    assert found.training_interval is None
    assert found.standing == 0


def test_no_control_has_finished(make_study: StudyMaker) -> None:
    folder = make_study(skill={}, retrained={"cosine": 1.0, "triangular": 1.0})
    for run in folder.glob("runs/*.control.*"):
        (run / "result.json").unlink()
    found = contrasts(folder)
    assert verdict(found).startswith("No answer yet")
    assert contrast_caveats(found) == []
    assert all("its control: unfinished" in reason for reason in found[0].left_out)


def test_the_best_one_class_models_are_named(make_study: StudyMaker) -> None:
    folder = make_study(("edema",), retrained={"cosine": 1.0, "triangular": 1.0}, one_class=("one_class_svm",))
    runs = score_runs(read_study(folder), np.random.default_rng(0))
    answer = one_class_line(row for row in result_rows(runs) if row.setting.one_class)
    assert answer.startswith(
        "One-class models, highest test AUROC of each (95 % CI): No finding: One-class SVM 0."
    )
    assert one_class_line([]) == ""


def test_a_clear_lead_is_called_one(make_study: StudyMaker) -> None:
    answer = ranking(comparison(make_study(skill={"constant": 0.3, "triangular": 2.0})), "pathology")
    assert answer.startswith("Triangular has the highest mean test AUROC, 0.")
    assert ", over 2 pathologies. It is ahead of Constant by 0." in answer


def test_a_lead_within_chance_is_not(make_study: StudyMaker) -> None:
    answer = ranking(comparison(make_study(skill={"constant": 1.0, "triangular": 1.0})), "pathology")
    assert "with no significant difference from" in answer
    assert "(−0." in answer


def test_a_single_policy_has_nothing_to_be_compared_with(make_study: StudyMaker) -> None:
    answer = ranking(comparison(make_study(pathologies=("edema",), skill={"constant": 1.0})), "pathology")
    assert answer.startswith("Only Constant has results")
    assert answer.endswith("over 1 pathology.")


def test_nothing_done_yet(make_study: StudyMaker) -> None:
    folder = make_study()
    for result in folder.glob("runs/*/result.json"):
        result.unlink()
    assert ranking(comparison(folder), "pathology").startswith("Nothing can be compared")
    assert run_counts(read_study(folder)) == {"done": 0, "failed": 0, "unfinished": 6, "missing": 0}


def test_one_seed_is_owned_up_to(make_study: StudyMaker) -> None:
    assert "another seed would change these numbers" in caveats(comparison(make_study()))[0]


def test_several_seeds_are_counted(make_study: StudyMaker) -> None:
    answer = caveats(comparison(make_study(pathologies=("edema",), seeds=(0, 1))))
    assert "Means over 2 seeds" in answer[0]
