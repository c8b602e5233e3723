"""Remarks on settings that whole steps can't follow."""

import pytest

from clr_hpc.config.policy import ExpRange, OneCycle, Triangular, Triangular2
from clr_hpc.config.run import RateScaling, RunSpec, Training
from clr_hpc.config.steps import step_remarks, unfollowed
from clr_hpc.config.task import BinaryTask

BOUNDS = {"lr_min": 0.001, "lr_max": 0.01}


@pytest.mark.parametrize(
    ("half_cycle", "steps_per_epoch", "told"),
    [
        (0.5, 1, "0.5 steps, and the rate never leaves 0.001"),
        (0.75, 2, "1.5 steps, and the rate never exceeds 0.007 of 0.01"),
        (1.25, 2, "2.5 steps, and the rate never exceeds 0.0082 of 0.01"),
        (1, 1, "a rise of 1 epoch is 1 step, and the rate jumps by up to 0.009 from one step to the next"),
        (1, 2, "2 steps, and the rate jumps by up to 0.0045"),
        (20, 10, "rises for 20 epochs and the stage has 12, so it ends at 0.0064"),
        (1, 3, None),
        (0.5, 10, None),
        (2, 1000, None),
    ],
)
def test_a_wave_is_compared_with_its_rates_at_the_steps(
    half_cycle: float, steps_per_epoch: int, told: str | None
) -> None:
    found = unfollowed(Triangular(half_cycle_epochs=half_cycle, **BOUNDS), steps_per_epoch, epochs=12)
    assert found is None if told is None else found is not None and told in found


def test_what_shrinks_by_itself_is_followed() -> None:
    assert unfollowed(Triangular2(half_cycle_epochs=1, **BOUNDS), 20, 12) is None
    assert unfollowed(ExpRange(half_cycle_epochs=6, gamma=0.9, **BOUNDS), 20, 12) is None, (
        "its first peak is lower"
    )
    assert unfollowed(OneCycle(total_epochs=12, **BOUNDS), 2, 12) is None
    assert unfollowed(OneCycle(total_epochs=2, **BOUNDS), 2, 2) is not None


def test_a_batch_is_no_larger_than_the_training_set_and_remarks_are_grouped() -> None:
    training = Training(epochs=4, batch_size=200, rate_scaling=RateScaling(reference_batch_size=64))
    shared = {"pack_checksum": "a" * 64, "architecture": "mobilenet_v1", "optimizer": {"name": "sgd"}}
    wave = Triangular(half_cycle_epochs=0.5, **BOUNDS)
    runs = [
        RunSpec(
            task=BinaryTask(pathology=name), stage="scratch", policy=wave, training=training, seed=seed, **shared
        )
        for name in ("mass", "edema", "hernia", "nodule")
        for seed in (0, 1)
    ]
    batch, rate = step_remarks(runs, lambda _: 96)
    assert batch == (
        "mass, edema, hernia and 1 more: batch_size=200 is more than the 96 training images, so a batch has 96, "
        "and rates are scaled by 1.5; lower batch_size to 96"
    )
    assert "scratch, triangular: a rise of 0.5 epochs is 0.5 steps" in rate
    assert step_remarks(runs, lambda _: 20_000) == []
    assert step_remarks(runs, lambda _: None) == []
