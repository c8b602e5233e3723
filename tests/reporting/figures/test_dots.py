from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest

from clr_hpc.reporting.figures import dots
from clr_hpc.reporting.figures.select import model_styles
from clr_hpc.reporting.figures.svg import ArmStyle, arm_styles
from clr_hpc.reporting.read.study import read_study
from clr_hpc.reporting.stats.compare import compare, models_of_an_arm
from clr_hpc.reporting.stats.contrast import against_control
from clr_hpc.reporting.stats.scoring import ScoredRun, result_rows, score_runs

StudyMaker = Callable[..., Path]


def scored(folder: Path) -> tuple[ScoredRun, ...]:
    return score_runs(read_study(folder), np.random.default_rng(0))


def styles_of(runs: tuple[ScoredRun, ...]) -> dict[str, ArmStyle]:
    return arm_styles({run.setting.arm: run.setting.policy for run in runs})


def texts(svg: str) -> list[str]:
    root = ElementTree.fromstring(svg.replace("xlink:href", "href"))
    return [element.text or "" for element in root.iter("text")]


def test_label_counts_are_ranked_and_written_out() -> None:
    svg = dots.label_counts({"hernia": 227, "effusion": 13317, "no_finding": 60361}).inline
    assert [text for text in texts(svg) if "," in text or text.isdigit()] == ["60,361", "13,317", "227"]
    assert svg.index("No finding") < svg.index("Effusion") < svg.index("Hernia")


@pytest.mark.parametrize(("done", "why"), [(1, "not defined: one class"), (0, "not done")])
def test_a_pathology_without_a_dot_says_why(make_study: StudyMaker, done: int, why: str) -> None:
    runs = scored(make_study(skill={"constant": 1.0}))
    rows = result_rows(runs)
    undefined = replace(rows[0].auroc, value=float("nan"), interval=None)
    gap = replace(rows[0], measures={**rows[0].measures, "auroc": undefined}, done=done)
    svg = dots.auroc_by_task([gap, rows[1]], styles_of(runs), "MobileNetV1, SGD").inline
    assert texts(svg).count(why) == 1


def test_the_mark_of_always_no_is_in_the_figure_of_accuracy(make_study: StudyMaker) -> None:
    runs = scored(make_study())
    svg = dots.training_accuracy_by_task(result_rows(runs), styles_of(runs), "MobileNetV1, SGD").inline
    assert "Accuracy (gray mark: always answering “no”)" in texts(svg)
    assert {"Effusion", "Pneumothorax"} <= set(texts(svg))


def test_the_forest_has_a_line_a_task_and_one_for_the_mean(make_study: StudyMaker) -> None:
    runs = scored(make_study(skill={}, retrained={"cosine": 1.0, "triangular": 1.3, "triangular2": 1.0}))
    svg = dots.forest(against_control(runs), styles_of(runs)).inline
    assert {"Effusion", "Pneumothorax", "Mean over all"} <= set(texts(svg))
    for number in (1, 2):
        # an interval a task and one of the mean, in each cyclical policy's colour
        assert svg.count(f"fill: none; stroke: var(--policy-{number})") == 3


def test_models_side_by_side(make_study: StudyMaker) -> None:
    comparison = compare(models_of_an_arm(scored(make_study()), "Triangular"))
    svg = dots.models_side_by_side({"Triangular": comparison}, model_styles()).inline
    for number in range(3):
        assert svg.count(f"fill: none; stroke: var(--policy-{number})") == 1


def test_false_positive_rates_stand_beside_what_is_expected(make_study: StudyMaker) -> None:
    runs = scored(make_study(("edema",), skill={"constant": 1.0}, one_class=("deep_svdd",)))
    rows = [row for row in result_rows(runs) if row.setting.one_class]
    svg = dots.false_positives_by_task(rows, styles_of(runs), "MobileNetV1, SGD").inline
    assert "No finding: Deep SVDD" in texts(svg)
    assert "Share above the threshold (gray mark: expected)" in texts(svg)
