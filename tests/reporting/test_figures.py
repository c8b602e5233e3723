import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest

from clr_hpc.reporting import figures
from clr_hpc.reporting.collect import read_study
from clr_hpc.reporting.scoring import ScoredRun, result_rows, score_runs
from clr_hpc.reporting.svg import policy_styles

StudyMaker = Callable[..., Path]


def scored(folder: Path) -> tuple[ScoredRun, ...]:
    return score_runs(read_study(folder), np.random.default_rng(0))


def texts(svg: str) -> list[str]:
    root = ElementTree.fromstring(svg.replace("xlink:href", "href"))
    return [element.text or "" for element in root.iter("text")]


def lines_of(svg: str, number: int) -> list[str]:
    """Return the paths drawn in the colour of one policy."""
    return re.findall(rf'<path d="([^"]*)"[^>]*fill: none[^>]*stroke: var\(--policy-{number}\)', svg)


def test_label_counts_are_ranked_and_written_out() -> None:
    svg = figures.label_counts({"hernia": 227, "effusion": 13317, "no_finding": 60361})
    assert [text for text in texts(svg) if "," in text or text.isdigit()] == ["60,361", "13,317", "227"]
    assert svg.index("No finding") < svg.index("Effusion") < svg.index("Hernia")


def test_curves_have_a_line_a_policy_and_the_rate_below(make_study: StudyMaker) -> None:
    runs = scored(make_study(pathologies=("edema",)))
    styles = policy_styles([run.setting.policy for run in runs])
    svg = figures.accuracy_and_rate(runs, styles, "Edema")
    for number in range(3):
        assert len(lines_of(svg, number)) == 2
    assert {"Training accuracy", "Learning rate", "Progress (epochs)"} <= set(texts(svg))


def test_a_wave_is_drawn_by_its_corners_alone(make_study: StudyMaker) -> None:
    """The page stays small however many steps were recorded."""
    (run,) = scored(make_study(pathologies=("edema",), skill={"triangular": 1.0}))
    progress = np.linspace(0, 4, 20_000)
    record = replace(run.record, progress=progress, learning_rate=1 - abs(progress % 2 - 1))
    svg = figures.accuracy_and_rate([replace(run, record=record)], policy_styles(["Triangular"]), "Edema")
    assert lines_of(svg, 0)[-1].count("L") < 50


def test_several_seeds_are_thin_lines_under_their_mean(make_study: StudyMaker) -> None:
    runs = scored(make_study(pathologies=("edema",), skill={"constant": 1.0}, seeds=(0, 1, 2)))
    svg = figures.validation_curves(runs, policy_styles(["Constant"]), "Edema")
    assert len(lines_of(svg, 0)) == 2 * (3 + 1)


def test_curves_of_a_split_of_one_class_are_empty_and_drawn(make_study: StudyMaker) -> None:
    runs = scored(make_study(pathologies=("edema",), skill={"constant": 1.0}))
    record = runs[0].record
    undefined = replace(record, epochs=tuple(line | {"auroc": None} for line in record.epochs))
    svg = figures.validation_curves((replace(runs[0], record=undefined),), policy_styles(["Constant"]), "Edema")
    assert "Validation AUROC (dotted: guessing)" in texts(svg)


@pytest.mark.parametrize(("done", "why"), [(1, "not defined: one class"), (0, "not done")])
def test_a_pathology_without_a_dot_says_why(make_study: StudyMaker, done: int, why: str) -> None:
    rows = result_rows(scored(make_study(skill={"constant": 1.0})))
    gap = replace(rows[0], auroc=float("nan"), interval=None, done=done)
    svg = figures.auroc_by_pathology([gap, rows[1]], policy_styles(["Constant"]), "MobileNetV1, SGD")
    assert texts(svg).count(why) == 1


def test_the_mark_of_always_no_is_in_the_figure_of_accuracy(make_study: StudyMaker) -> None:
    rows = result_rows(scored(make_study()))
    styles = policy_styles([row.setting.policy for row in rows])
    svg = figures.training_accuracy_by_pathology(rows, styles, "MobileNetV1, SGD")
    assert "Accuracy (gray mark: always answering “no”)" in texts(svg)
    assert {"Effusion", "Pneumothorax"} <= set(texts(svg))
