"""What a search came to, in numbers with known answers."""

from pathlib import Path

import pytest

from clr_hpc.tuning.outcome import importance_of, interval_of_mean
from clr_hpc.tuning.search import Proposals, make_search
from clr_hpc.tuning.space import Choice, Dimensions, Interval
from clr_hpc.tuning.tuner import TrialPlan, Tuner
from clr_hpc.tuning.tuning_folder import Journal

DIMENSIONS: Dimensions = {"batch_size": Choice((16, 32)), "lr_max": Interval(1e-3, 1e-1, is_log=True)}


def test_the_interval_of_a_mean_is_students() -> None:
    # t with 2 degrees of freedom at 97.5 %: 4.302653, from the table
    assert interval_of_mean([0.6, 0.7, 0.8]) == pytest.approx((0.7 - 4.302653 * 0.1 / 3**0.5, 0.7 + 0.2484139))
    assert interval_of_mean([0.7]) is None


def searched(folder: Path, trials: int) -> Tuner:
    proposals = Proposals(make_search("random", DIMENSIONS, 0), DIMENSIONS, 0)
    tuner = Tuner(TrialPlan(trials, 1, None, higher_is_better=False), proposals, Journal(folder / "trials.jsonl"))
    while (trial := tuner.next(nothing_is_under_way=True)) is not None:
        tuner.measured(trial, {0: abs(trial.values["lr_max"] - 0.02)})
    return tuner


def test_the_setting_that_decides_gets_the_share(tmp_path: Path) -> None:
    importance = importance_of(searched(tmp_path, 24), DIMENSIONS)
    assert importance is not None
    assert importance["settings"]["lr_max"] > 0.9
    assert sum(importance["settings"].values()) == pytest.approx(1)
    assert importance["explained"] > 0.3


def test_few_trials_say_nothing_of_importance(tmp_path: Path) -> None:
    assert importance_of(searched(tmp_path, 7), DIMENSIONS) is None


def test_values_of_an_interval_have_few_digits_and_stay_within() -> None:
    interval = Interval(0.0123456, 0.9876543, is_log=True, points=5)
    assert interval.from_parameter(0.123456789) == 0.1235
    assert (interval.from_parameter(0.0123456), interval.from_parameter(0.9876543)) == (0.01235, 0.9876543)
    assert [interval.place(value) for value in interval.grid()] == pytest.approx([0, 0.25, 0.5, 0.75, 1], abs=1e-3)
