import json
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np

from clr_hpc.config.study import Question
from clr_hpc.reporting.page.answer import (
    caveats,
    contrast_caveats,
    one_class_line,
    ranking,
    run_counts,
    training_verdict,
    verdict,
)
from clr_hpc.reporting.read.study import read_study
from clr_hpc.reporting.stats.compare import Comparison, arms, compare
from clr_hpc.reporting.stats.contrast import BY_DEFAULT, ArmContrast, against_control
from clr_hpc.reporting.stats.scoring import result_rows, score_runs

StudyMaker = Callable[..., Path]
THREE = ("effusion", "edema", "pneumothorax")
SEEDS = (0, 1, 2, 3)
NOT_JUDGED = "? Not judged: these runs have one seed, and another seed could reverse any difference between them."


def comparison(folder: Path) -> Comparison:
    return compare(arms(score_runs(read_study(folder), np.random.default_rng(0))), margin=0.01)


def contrasts(folder: Path) -> tuple[ArmContrast, ...]:
    return against_control(score_runs(read_study(folder), np.random.default_rng(0)), BY_DEFAULT)


def test_a_clear_lead_over_the_control_is_a_yes(make_study: StudyMaker) -> None:
    found = contrasts(make_study(THREE, skill={}, retrained={"cosine": 0.5, "triangular": 2.0}, seeds=SEEDS))
    assert verdict(found).endswith(
        "decaying learning rate (Cosine decay)? Yes. Triangular: better than the control."
    )
    assert "exclude" in contrast_caveats(found, 0.01)[0]


def test_the_articles_claim_has_an_answer_of_its_own(make_study: StudyMaker) -> None:
    folder = make_study(THREE, skill={}, retrained={"cosine": 0.5, "triangular": 2.0}, seeds=SEEDS)
    for number, file in enumerate(sorted(folder.glob("runs/*/result.json"))):
        result = json.loads(file.read_text())
        result["train"]["accuracy"] += 0.001 * (number % 3)
        file.write_text(json.dumps(result))
    found = contrasts(folder)
    assert training_verdict(found).endswith("? Yes. Triangular: better than the control.")
    assert "DOI 10.21203/rs.3.rs-1129014/v1" in training_verdict(found)


def test_a_policy_that_is_behind_is_a_no(make_study: StudyMaker) -> None:
    found = contrasts(make_study(THREE, skill={}, retrained={"cosine": 2.0, "triangular": 0.5}, seeds=SEEDS))
    assert verdict(found).endswith("? No. Triangular: worse than the control.")


def test_policies_that_differ_in_nothing_are_no_yes(make_study: StudyMaker) -> None:
    found = contrasts(make_study(THREE, skill={}, retrained={"cosine": 1.0, "triangular": 1.0}, seeds=SEEDS))
    assert re.search(r"\? (Undecided|No)\. Triangular: (neither better nor worse|equivalent)", verdict(found))


def test_one_policy_of_two_is_in_part(make_study: StudyMaker) -> None:
    skill = {"cosine": 1.0, "triangular": 3.0, "triangular2": 1.0}
    answer = verdict(contrasts(make_study(THREE, skill={}, retrained=skill, seeds=SEEDS)))
    assert "? For 1 of 2 policies. Triangular: better than the control; Triangular2: " in answer


def test_a_constant_rate_is_exploratory_by_default(make_study: StudyMaker) -> None:
    skill = {"cosine": 1.0, "constant": 3.0, "triangular": 1.0}
    folder = make_study(THREE, skill={}, retrained=skill, seeds=SEEDS)
    runs = score_runs(read_study(folder), np.random.default_rng(0))
    assert "Constant" not in verdict(against_control(runs, BY_DEFAULT))
    asked = against_control(runs, Question(policies=("constant",)))
    assert verdict(asked).startswith(
        "Over the 3 pathologies and 4 seeds of this study, does retraining with Constant"
    )
    assert "Yes. Constant: better than the control." in verdict(asked)


def test_one_seed_is_never_judged_however_sure_the_patients_make_it(make_study: StudyMaker) -> None:
    found = contrasts(make_study(THREE, skill={}, retrained={"cosine": 0.3, "triangular": 2.0}))
    (contrast,) = found
    assert contrast.difference.patient_interval is not None
    assert contrast.difference.patient_interval.low > 0
    assert contrast.verdict == "undecided"
    assert NOT_JUDGED in verdict(found)
    assert "nothing of other training runs" in contrast_caveats(found, 0.01)[0]


def test_no_control_has_finished(make_study: StudyMaker) -> None:
    folder = make_study(skill={}, retrained={"cosine": 1.0, "triangular": 1.0})
    for run in folder.glob("runs/*.control.*"):
        (run / "result.json").unlink()
    found = contrasts(folder)
    assert verdict(found).startswith("No answer yet")
    assert contrast_caveats(found, 0.01) == []
    assert all("its control: unfinished" in reason for reason in found[0].left_out)


def one_class(folder: Path) -> str:
    runs = score_runs(read_study(folder), np.random.default_rng(0))
    return one_class_line(row for row in result_rows(runs) if row.setting.one_class)


def test_one_class_models_are_chosen_on_validation(make_study: StudyMaker) -> None:
    folder = make_study(("edema",), skill={"constant": 0.5, "triangular": 1.0}, one_class=("deep_svdd",))
    assert re.search(
        r"^One-class models, not compared with each other, test AUROC \(95 % CI over patients\): "
        r"No finding: Deep SVDD 0\.\d+ \(.*\) with Triangular, the best of 2 settings on validation\.$",
        one_class(folder),
    )
    for file in folder.glob("runs/*/result.json"):
        result = json.loads(file.read_text())
        result["validation"]["auroc"] = None
        file.write_text(json.dumps(result))
    assert "over 2 settings, none of them chosen, since validation gives no AUROC to choose by" in one_class(
        folder
    )
    assert one_class_line([]) == ""


def test_a_clear_lead_is_called_one(make_study: StudyMaker) -> None:
    folder = make_study(skill={"constant": 0.3, "triangular": 2.0}, seeds=SEEDS)
    answer = ranking(comparison(folder), "pathology")
    assert answer.startswith(
        "Triangular has the highest mean validation AUROC (0.933); on the test split, by which it was not"
    )
    assert re.search(r"training runs\): Constant −0\.\d+ \(−0\.\d+ to −0\.\d+\), significantly worse\.$", answer)


def test_a_lead_within_chance_is_not(make_study: StudyMaker) -> None:
    folder = make_study(skill={"constant": 1.0, "triangular": 1.0}, seeds=SEEDS)
    answer = ranking(comparison(folder), "pathology")
    assert "significantly" not in answer
    assert "(−0." in answer


def test_policies_of_one_seed_are_ranked_and_not_judged(make_study: StudyMaker) -> None:
    answer = ranking(comparison(make_study(skill={"constant": 0.3, "triangular": 2.0})), "pathology")
    assert answer.startswith("Triangular has the highest mean validation AUROC")
    assert "Not judged: these runs have one seed" in answer
    assert "Differences from it in these runs (95 % CI over test patients): Constant −0." in answer


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


def test_the_interval_of_a_policy_says_what_it_covers(make_study: StudyMaker) -> None:
    assert "covers the choice of test patients, not of seeds" in caveats(comparison(make_study()))[0]


def test_several_seeds_are_counted(make_study: StudyMaker) -> None:
    answer = caveats(comparison(make_study(pathologies=("edema",), seeds=(0, 1))))
    assert "Means over 2 seeds" in answer[0]
