import json
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from clr_hpc.reporting.read.study import read_study
from clr_hpc.reporting.stats.contrast import against_control
from clr_hpc.reporting.stats.evaluate import Evaluation, evaluate
from clr_hpc.reporting.stats.scoring import score_runs
from clr_hpc.reporting.tables import contrasts
from clr_hpc.reporting.tables.table import Table

StudyMaker = Callable[..., Path]
METHODS = ("deep_svdd", "one_class_svm")
THREE = ("effusion", "edema", "pneumothorax")


@pytest.fixture
def evaluation(make_study: StudyMaker) -> Evaluation:
    skill = {"cosine": 0.8, "triangular": 1.4, "triangular2_modified": 0.8}
    return evaluate(read_study(make_study(skill={}, retrained=skill, seeds=(0, 1), one_class=METHODS)))


def column(table: Table, title: str) -> list[str]:
    position = [column.title for column in table.columns].index(title)
    return [row[position].text for row in table.rows]


def answers(folder: Path, one_class: bool = False) -> dict[str, list[str]]:
    """Return the columns of the table that a study's report opens with."""
    scored = score_runs(read_study(folder), np.random.default_rng(0))
    runs = tuple(run for run in scored if run.setting.one_class == one_class)
    table = contrasts.answer_table(against_control(runs), "pathology")
    return {"caption": [table.caption]} | {each.title: column(table, each.title) for each in table.columns}


def test_the_answer_has_verdicts_and_what_they_rest_on(make_study: StudyMaker) -> None:
    folder = make_study(THREE, skill={}, retrained={"cosine": 0.5, "triangular": 2.0}, seeds=(0, 1, 2, 3))
    for number, file in enumerate(sorted(folder.glob("runs/*/result.json"))):
        result = json.loads(file.read_text())
        result["train"]["accuracy"] += 0.001 * (number % 3)
        file.write_text(json.dumps(result))
    found = answers(folder)
    assert found["caption"] == ["Retraining minus its control (Cosine decay); means over 3 pathologies, 4 seeds"]
    assert found["Verdict on AUROC"] == found["Verdict on training accuracy"] == ["better"]
    assert found["Better / worse"] == ["3/0 of 3"]
    (difference,) = found["ΔAUROC (95 % CI)"]
    assert re.fullmatch(r"\+0\.\d+ \(0\.\d+ to 0\.\d+\)", difference)
    assert found["ΔAccuracy (95 % CI)"][0].startswith("+0.1")
    assert found["ΔSteps to target (95 % CI)"][0].startswith("−")


def test_what_the_study_asks_comes_first(make_study: StudyMaker) -> None:
    skill = {"cosine": 1.0, "constant": 3.0, "triangular": 1.0}
    found = answers(make_study(THREE, skill={}, retrained=skill, seeds=(0, 1)))
    assert found["Retrained with"] == ["Triangular", "Constant (not cyclical)"]
    assert found["Verdict on AUROC"][1] == found["Verdict on training accuracy"][1] == "exploratory"


def test_one_seed_has_differences_of_these_runs_and_no_verdict(make_study: StudyMaker) -> None:
    found = answers(make_study(THREE, skill={}, retrained={"cosine": 0.3, "triangular": 2.0}))
    assert found["Verdict on AUROC"] == found["Verdict on training accuracy"] == ["not judged"]
    (difference,) = found["ΔAUROC of these runs (95 % CI over test patients)"]
    assert re.fullmatch(r"\+0\.\d+ \(0\.\d+ to 0\.\d+\)", difference), "however sure the patients make it"
    assert found["Better / worse"] == ["–"]
    assert found["ΔAccuracy (95 % CI)"] == ["+0.170 (no interval)"]


def test_one_class_models_have_no_training_accuracy(make_study: StudyMaker) -> None:
    retrained = {"cosine": 0.8, "triangular": 1.4}
    found = answers(make_study(skill={}, retrained=retrained, one_class=METHODS[:1]), one_class=True)
    assert found["Retrained with"] == ["Triangular"]
    assert "Verdict on training accuracy" not in found


def test_one_row_per_task_and_cyclical_policy(evaluation: Evaluation) -> None:
    table = contrasts.contrast_table(evaluation.binary.compared)
    assert table.caption == "Retraining minus its control (Cosine decay)"
    assert column(table, "Retrained with") == ["Triangular"] * 2 + ["Modified triangular2"] * 2
    assert column(table, "Task") == ["Effusion", "Pneumothorax"] * 2
    assert all(text.startswith("+0.") for text in column(table, "ΔAUROC (95 % CI)")[:2])
    assert float(column(table, "p (Holm)")[0]) < 1


def test_costs_of_arms_and_of_cyclical_against_control(evaluation: Evaluation) -> None:
    costs = contrasts.cost_table(evaluation.binary.costs)
    assert column(costs, "Target reached") == ["–", "0 of 4", "4 of 4", "0 of 4"]
    savings = contrasts.saving_table(evaluation.binary.savings)
    # the control of so poor a skill never reaches the target, so that it counts with all its 40 steps
    assert column(savings, "Steps to the target") == ["21", "40"]
    assert column(savings, "Of the control") == ["40", "40"]
    assert column(savings, "Difference (95 % CI)") == ["−19 (no interval)", "not defined"], "all pairs are alike"
    assert column(savings, "Reached") == ["4 of 4", "0 of 4"]
    assert column(savings, "Measured") == ["at ends of epochs"] * 2
    assert column(costs, "Steps to the target") == ["–", "40", "21", "40"]
