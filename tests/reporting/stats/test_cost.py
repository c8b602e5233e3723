import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.integrate import quad
from scipy.stats import CensoredData, ecdf, ttest_1samp

from clr_hpc.reporting.read.study import read_study
from clr_hpc.reporting.stats.contrast import ArmContrast, against_control
from clr_hpc.reporting.stats.cost import ArmCost, Saving, arm_costs, saving
from clr_hpc.reporting.stats.scoring import score_runs

StudyMaker = Callable[..., Path]
THREE = ("effusion", "edema", "pneumothorax")
LENGTH = 40
"""Steps of every run."""


def costs(folder: Path) -> tuple[dict[str, ArmCost], Saving]:
    runs = score_runs(read_study(folder), np.random.default_rng(0))
    contrast: ArmContrast = against_control(runs)[0]
    return {cost.arm: cost for cost in arm_costs(runs)}, saving(contrast)


def change(folder: Path, pattern: str, **changes: Any) -> None:
    for file in folder.glob(f"runs/{pattern}/result.json"):
        file.write_text(json.dumps(json.loads(file.read_text()) | changes))


def target_at(steps: int | None) -> dict[str, Any]:
    return {"validation_loss": 0.41, "reached_at": None if steps is None else {"steps": steps}}


def set_steps(folder: Path, pattern: str, steps: int | None) -> None:
    change(folder, pattern, target=target_at(steps))


def set_on_grid(folder: Path, pattern: str, steps: int | None) -> None:
    change(
        folder,
        pattern,
        on_grid={"images": 64, "points_per_epoch": 8, "best_loss": 0.4, "target": target_at(steps)},
    )


@pytest.fixture
def folder(make_study: StudyMaker) -> Path:
    return make_study(THREE, skill={}, retrained={"cosine": 1.0, "triangular": 1.0})


def test_restricted_means_are_compared_over_pathologies(folder: Path) -> None:
    own, control = (10, 20, None), (15, 35, 40)
    for task, *steps in zip(THREE, own, control, strict=True):
        set_steps(folder, f"{task}.*.retrain.*", steps[0])
        set_steps(folder, f"{task}.*.control.*", steps[1])
    by_arm, found = costs(folder)
    assert (found.restricted_steps, found.control_restricted_steps) == (70 / 3, 30)
    assert found.steps_difference == pytest.approx(-20 / 3)
    expected = ttest_1samp([10 - 15, 20 - 35, LENGTH - 40], 0).confidence_interval(0.95)
    assert found.interval is not None
    assert (found.interval.low, found.interval.high) == pytest.approx((expected.low, expected.high))
    assert (found.tasks, found.pairs, found.reached, found.control_reached) == (3, 3, 2, 3)
    assert by_arm["Triangular, retrained"].restricted_steps_to_target == pytest.approx(70 / 3)
    assert by_arm["Cosine decay, baseline"].with_target == 0


@pytest.mark.parametrize("seed", range(5))
def test_a_restricted_mean_is_the_area_under_kaplan_and_meiers_curve(folder: Path, seed: int) -> None:
    random = np.random.default_rng(seed)
    steps = random.integers(1, 60, 3)
    for task, at in zip(THREE, steps.tolist(), strict=True):
        set_steps(folder, f"{task}.*.retrain.*", at if at <= LENGTH else None)
    watched = CensoredData(steps[steps <= LENGTH], right=np.full((steps > LENGTH).sum(), LENGTH))
    area = quad(ecdf(watched).sf.evaluate, 0, LENGTH, points=[*sorted(steps[steps < LENGTH])])[0]
    assert costs(folder)[1].restricted_steps == pytest.approx(area)


def test_a_target_that_nobody_reaches_compares_nothing(folder: Path) -> None:
    set_steps(folder, "*.retrain.*", None)
    set_steps(folder, "*.control.*", None)
    _, found = costs(folder)
    assert np.isnan(found.steps_difference)
    assert found.interval is None
    assert found.reached == found.control_reached == 0


def test_the_grid_is_used_where_all_runs_have_it(folder: Path) -> None:
    set_steps(folder, "*.retrain.*", 10)
    set_steps(folder, "*.control.*", 20)
    assert costs(folder)[1].measured == "at ends of epochs", "as earlier versions wrote it"
    for task, steps in zip(THREE, (3, 7, 0), strict=True):
        set_on_grid(folder, f"{task}.*.retrain.*", steps)
        set_on_grid(folder, f"{task}.*.control.*", 2 * steps)
    by_arm, found = costs(folder)
    assert found.measured == by_arm["Triangular, retrained"].target_measured == "on a grid of steps"
    assert found.steps_difference == pytest.approx(-10 / 3)
    assert found.at_start == 1
    assert found.restricted_steps == pytest.approx(10 / 3)
    assert found.control_restricted_steps == pytest.approx(20 / 3)
    assert found.steps_of_training == LENGTH
    change(folder, "edema.*.control.*", on_grid=None)
    by_arm, found = costs(folder)
    assert found.measured == "at ends of epochs", "one of them lacks it"
    assert found.steps_difference == -10
    assert by_arm["Triangular, retrained"].target_measured == "on a grid of steps"


def test_an_interval_stays_within_the_length_of_training(folder: Path) -> None:
    for task, steps in zip(THREE, (1, 2, None), strict=True):
        set_steps(folder, f"{task}.*.retrain.*", steps)
        set_steps(folder, f"{task}.*.control.*", 40 if steps else 1)
    interval = costs(folder)[1].interval
    assert interval is not None
    assert (interval.low, interval.high) == (-LENGTH, LENGTH)


def test_a_run_that_early_stopping_cut_short_has_no_place_in_a_restricted_mean(folder: Path) -> None:
    set_steps(folder, "edema.*.retrain.*", None)
    change(folder, "edema.*.retrain.*", stopped_early=True)
    by_arm, _ = costs(folder)
    assert np.isnan(by_arm["Triangular, retrained"].restricted_steps_to_target)
    assert np.isfinite(by_arm["Cosine decay, control"].restricted_steps_to_target)
