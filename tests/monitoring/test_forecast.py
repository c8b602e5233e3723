"""How far a study is and how long the rest takes."""

from collections.abc import Sequence
from pathlib import Path

import pytest

from clr_hpc.config.expand import expand
from clr_hpc.config.load import load_study
from clr_hpc.config.run import RunSpec
from clr_hpc.monitoring.forecast import Forecast, forecast
from clr_hpc.monitoring.status import RunStatus, State
from clr_hpc.store.study_files import PlannedRun


@pytest.fixture(scope="module")
def specs() -> tuple[RunSpec, ...]:
    """Of the quickstart: two baselines of 3 epochs, two controls and two retrainings of 2."""
    return expand(load_study(Path("quickstart")), "0" * 64)


def planned(specs: Sequence[RunSpec], seconds: float) -> dict[str, PlannedRun]:
    return {
        spec.name: PlannedRun(name=spec.name, start=0.0, end=seconds, training_seconds=seconds) for spec in specs
    }


def test_the_plan_says_how_long_runs_take_that_are_not_begun(specs: tuple[RunSpec, ...]) -> None:
    first, *others = specs
    running = RunStatus(first, State.RUNNING, epoch=0.0)
    found = forecast([running, *(RunStatus(spec, State.WAITING) for spec in others)], planned(specs, 100.0))
    assert found == Forecast(0.0, 0, 6, 600.0)


def test_the_plan_is_corrected_by_what_runs_took(specs: tuple[RunSpec, ...]) -> None:
    first, second, *others = specs
    statuses = [
        RunStatus(first, State.DONE, epoch=3.0, seconds=200.0),
        RunStatus(second, State.RUNNING, epoch=1.0, seconds_left=100.0),
        *(RunStatus(spec, State.WAITING) for spec in others),
    ]
    found = forecast(statuses, planned(specs, 100.0))
    assert found.seconds_left == pytest.approx(100 + 4 * 200)
    assert found.fraction == pytest.approx((200 + 200 / second.training.epochs) / 1200)
    assert found.ended == 1


def test_lanes_share_the_rest_but_not_a_run(specs: tuple[RunSpec, ...]) -> None:
    statuses = [RunStatus(spec, State.DONE, epoch=3.0, seconds=30.0) for spec in specs[2:]]
    for spec, left in ((specs[0], 50.0), (specs[1], 10.0)):
        statuses.append(RunStatus(spec, State.RUNNING, epoch=0.3, seconds_left=left))
    assert forecast(statuses, {}).seconds_left == 50.0


def test_without_a_plan_epochs_say_how_long_runs_take(specs: tuple[RunSpec, ...]) -> None:
    first, second, *_ = specs
    done = RunStatus(first, State.DONE, epoch=3.0, seconds=30.0)
    running = RunStatus(second, State.RUNNING, epoch=0.0)
    found = forecast([done, running], {})
    assert found.seconds_left == pytest.approx(10 * second.training.epochs)


def test_what_is_not_known_is_not_guessed(specs: tuple[RunSpec, ...]) -> None:
    waiting = [RunStatus(spec, State.WAITING) for spec in specs]
    assert forecast(waiting, {}) == Forecast(0.0, 0, 6, None)
    assert forecast(waiting, planned(specs, 100.0)).seconds_left is None, "nobody trains"
    failed = [RunStatus(spec, State.FAILED, reason="KeyError") for spec in specs]
    assert forecast(failed, {}) == Forecast(1.0, 6, 6, None)
