import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from markupsafe import Markup

from clr_hpc.reporting import score_figures
from clr_hpc.reporting.collect import read_study
from clr_hpc.reporting.scoring import ScoredRun, score_runs
from clr_hpc.reporting.svg import arm_styles

StudyMaker = Callable[..., Path]
FIGURES = (score_figures.roc_curves, score_figures.precision_recall_curves, score_figures.calibration_curves)


def scored(folder: Path) -> tuple[ScoredRun, ...]:
    return score_runs(read_study(folder), np.random.default_rng(0))


@pytest.mark.parametrize("draw", FIGURES)
def test_a_line_an_arm_of_the_first_seed(make_study: StudyMaker, draw: Callable[..., Markup]) -> None:
    runs = scored(make_study(pathologies=("edema",), seeds=(0, 1)))
    svg = draw(runs, arm_styles({run.setting.arm: run.setting.policy for run in runs}), "Edema")
    for number in range(3):
        lines = re.findall(rf'<path d="([^"]*)"[^>]*fill: none[^>]*stroke: var\(--policy-{number}\)', svg)
        assert len(lines) == 1
        assert 4 < lines[0].count("L") < score_figures.MOST_CORNERS


@pytest.mark.parametrize("draw", FIGURES)
def test_runs_without_a_result_leave_an_empty_picture(make_study: StudyMaker, draw: Callable[..., Markup]) -> None:
    folder = make_study(pathologies=("edema",))
    for result in folder.glob("runs/*/result.json"):
        result.unlink()
    runs = scored(folder)
    svg = draw(runs, arm_styles({run.setting.arm: run.setting.policy for run in runs}), "Edema")
    assert "--policy-" not in svg
