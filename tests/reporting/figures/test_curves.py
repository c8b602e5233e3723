import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest

from clr_hpc.reporting.figures import curves
from clr_hpc.reporting.figures.picture import Picture
from clr_hpc.reporting.figures.svg import ArmStyle, arm_styles
from clr_hpc.reporting.read.study import read_study
from clr_hpc.reporting.stats.run.curves import MOST_CORNERS
from clr_hpc.reporting.stats.scoring import ScoredRun, always_no_accuracy, always_no_along_the_run, score_runs

StudyMaker = Callable[..., Path]


def scored(folder: Path) -> tuple[ScoredRun, ...]:
    return score_runs(read_study(folder), np.random.default_rng(0))


def styles_of(runs: tuple[ScoredRun, ...]) -> dict[str, ArmStyle]:
    return arm_styles({run.setting.arm: run.setting.policy for run in runs})


def texts(svg: str) -> list[str]:
    root = ElementTree.fromstring(svg.replace("xlink:href", "href"))
    return [element.text or "" for element in root.iter("text")]


def lines_of(svg: str, number: int) -> list[str]:
    """Return the paths drawn in the colour of one policy."""
    return re.findall(rf'<path d="([^"]*)"[^>]*fill: none[^>]*stroke: var\(--policy-{number}\)', svg)


def test_curves_have_a_line_a_policy_and_the_rate_below(make_study: StudyMaker) -> None:
    runs = scored(make_study(pathologies=("edema",)))
    svg = curves.accuracy_and_rate(runs, styles_of(runs), "Edema").inline
    for number in range(3):
        assert len(lines_of(svg, number)) == 2
    assert {"Training accuracy", "Learning rate", "Progress (epochs)"} <= set(texts(svg))


def test_a_wave_is_drawn_by_its_corners_alone(make_study: StudyMaker) -> None:
    """The page stays small however many steps were recorded."""
    (run,) = scored(make_study(pathologies=("edema",), skill={"triangular": 1.0}))
    progress = np.linspace(0, 4, 20_000)
    record = replace(run.record, progress=progress, learning_rate=1 - abs(progress % 2 - 1))
    svg = curves.accuracy_and_rate([replace(run, record=record)], styles_of((run,)), "Edema").inline
    assert lines_of(svg, 0)[-1].count("L") < 50


def test_several_seeds_are_thin_lines_under_their_mean(make_study: StudyMaker) -> None:
    runs = scored(make_study(pathologies=("edema",), skill={"constant": 1.0}, seeds=(0, 1, 2)))
    svg = curves.validation_curves(runs, styles_of(runs), "Edema").inline
    assert len(lines_of(svg, 0)) == 2 * (3 + 1)


def test_curves_of_a_split_of_one_class_are_empty_and_drawn(make_study: StudyMaker) -> None:
    runs = scored(make_study(pathologies=("edema",), skill={"constant": 1.0}))
    record = runs[0].record
    undefined = replace(record, epochs=tuple(line | {"auroc": None} for line in record.epochs))
    svg = curves.validation_curves((replace(runs[0], record=undefined),), styles_of(runs), "Edema").inline
    assert "Validation AUROC (dotted: chance level)" in texts(svg)


def test_curves_of_a_sample_say_so_and_mark_the_share_of_the_sample(make_study: StudyMaker) -> None:
    (run,) = scored(make_study(pathologies=("edema",), skill={"constant": 1.0}))
    counts = {"images": 4000, "positives": 800, "of_images": 9000}
    lines = [line | (counts if line["split"] == "train" else {}) for line in run.record.epochs]
    sampled = replace(run, record=replace(run.record, epochs=tuple(lines)))
    figures = {
        name: curves.accuracy_and_rate([each], styles_of((run,)), "Edema").inline
        for name, each in {"whole": run, "sample": sampled}.items()
    }
    assert "Training accuracy (sample: 4,000 of 9,000 images)" in texts(figures["sample"])
    assert "Training accuracy" in texts(figures["whole"])
    assert always_no_along_the_run(sampled.record, "train") == pytest.approx(0.8)
    assert always_no_accuracy(sampled.record, "train") == always_no_accuracy(run.record, "train")
    validation = curves.validation_curves([sampled], styles_of((run,)), "Edema").inline
    assert "Validation accuracy" in texts(validation)


def test_one_class_models_show_their_loss(make_study: StudyMaker) -> None:
    runs = scored(make_study(("edema",), skill={"constant": 1.0}, one_class=("deep_svdd",)))
    one_class = [run for run in runs if run.setting.one_class]
    assert "Training loss of the one class" in texts(
        curves.accuracy_and_rate(one_class, styles_of(runs), "x").inline
    )
    assert "Validation loss of the one class" in texts(
        curves.validation_curves(one_class, styles_of(runs), "x").inline
    )


StudyMaker = Callable[..., Path]
FIGURES = (curves.roc_curves, curves.precision_recall_curves, curves.calibration_curves)


@pytest.mark.parametrize("draw", FIGURES)
def test_a_line_an_arm_of_the_first_seed(make_study: StudyMaker, draw: Callable[..., Picture]) -> None:
    runs = scored(make_study(pathologies=("edema",), seeds=(0, 1)))
    svg = draw(runs, arm_styles({run.setting.arm: run.setting.policy for run in runs}), "Edema").inline
    for number in range(3):
        lines = re.findall(rf'<path d="([^"]*)"[^>]*fill: none[^>]*stroke: var\(--policy-{number}\)', svg)
        assert len(lines) == (2 if draw is curves.calibration_curves else 1), "a thin one for the raw outputs"
        for line in lines:
            assert 4 < line.count("L") < MOST_CORNERS


@pytest.mark.parametrize("draw", FIGURES)
def test_runs_without_a_result_leave_an_empty_picture(
    make_study: StudyMaker, draw: Callable[..., Picture]
) -> None:
    folder = make_study(pathologies=("edema",))
    for result in folder.glob("runs/*/result.json"):
        result.unlink()
    runs = scored(folder)
    svg = draw(runs, arm_styles({run.setting.arm: run.setting.policy for run in runs}), "Edema").inline
    assert "--policy-" not in svg
