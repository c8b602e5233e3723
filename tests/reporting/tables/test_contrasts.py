from collections.abc import Callable
from pathlib import Path

import pytest

from clr_hpc.reporting.read.study import read_study
from clr_hpc.reporting.stats.evaluate import Evaluation, evaluate
from clr_hpc.reporting.tables import contrasts
from clr_hpc.reporting.tables.table import Table

StudyMaker = Callable[..., Path]
METHODS = ("deep_svdd", "one_class_svm")


@pytest.fixture
def evaluation(make_study: StudyMaker) -> Evaluation:
    skill = {"cosine": 0.8, "triangular": 1.4, "triangular2_modified": 0.8}
    return evaluate(read_study(make_study(skill={}, retrained=skill, seeds=(0, 1), one_class=METHODS)))


def column(table: Table, title: str) -> list[str]:
    position = [column.title for column in table.columns].index(title)
    return [row[position].text for row in table.rows]


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
