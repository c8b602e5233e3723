"""The policies move an optimizer as torch's own schedulers do, step by step, over drawn parameters."""

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from torch.optim import Optimizer
from torch.optim.lr_scheduler import (
    CosineAnnealingLR,
    CyclicLR,
    ExponentialLR,
    LRScheduler,
    OneCycleLR,
    StepLR,
)
from walked_scheduler import MOMENTA, adam, rmsprop, sgd, walk

from clr_hpc.config.policy import Cosine, Exponential, ExpRange, OneCycle, Step, Triangular, Triangular2
from clr_hpc.schedule.scheduler import PolicyScheduler


def assert_same_walk(ours: PolicyScheduler, theirs: LRScheduler, steps: int, tolerance: float = 1e-12) -> None:
    highest = ours.policy.lr_max
    pairs = zip(walk(ours, steps), walk(theirs, steps), strict=True)
    for step, ((our_lr, our_momentum), (their_lr, their_momentum)) in enumerate(pairs):
        assert our_lr == pytest.approx(their_lr, rel=tolerance, abs=tolerance * highest), step
        assert our_momentum == pytest.approx(their_momentum, abs=1e-12), step


@given(
    make=st.sampled_from([sgd, adam, rmsprop]),
    mode=st.sampled_from(["triangular", "triangular2", "exp_range"]),
    half_cycle_steps=st.integers(1, 40),
    steps_per_epoch=st.integers(1, 40),
    lr_min=st.floats(1e-6, 1),
    ratio=st.floats(1.01, 1000),
    gamma=st.floats(0.95, 1),
)
def test_cyclic_equals_torch(
    make: Callable[[], Optimizer],
    mode: str,
    half_cycle_steps: int,
    steps_per_epoch: int,
    lr_min: float,
    ratio: float,
    gamma: float,
) -> None:
    """Torch counts half a cycle and the decay of exp_range in steps, we in epochs."""
    wave: dict[str, Any] = {"lr_min": lr_min, "lr_max": lr_min * ratio, **MOMENTA}
    wave["half_cycle_epochs"] = half_cycle_steps / steps_per_epoch
    policies = {"triangular": Triangular, "triangular2": Triangular2, "exp_range": ExpRange}
    if mode == "exp_range":
        wave["gamma"] = gamma**steps_per_epoch
    theirs = CyclicLR(
        make(),
        base_lr=lr_min,
        max_lr=lr_min * ratio,
        step_size_up=half_cycle_steps,
        mode=mode,
        gamma=gamma,
        base_momentum=0.8,
        max_momentum=0.95,
    )
    ours = PolicyScheduler(make(), policies[mode](**wave), steps_per_epoch)
    assert_same_walk(ours, theirs, steps=100)


@given(
    make=st.sampled_from([sgd, adam, rmsprop]),
    total_steps=st.integers(20, 150),
    steps_per_epoch=st.integers(1, 40),
    lr_max=st.floats(1e-5, 10),
    pct_start=st.floats(0.1, 0.9),
    div_factor=st.floats(1.01, 100),
    final_div_factor=st.floats(1, 1e5),
)
def test_one_cycle_equals_torch(
    make: Callable[[], Optimizer],
    total_steps: int,
    steps_per_epoch: int,
    lr_max: float,
    pct_start: float,
    div_factor: float,
    final_div_factor: float,
) -> None:
    """The highest rate in the last step of the rise, and the last rate in the last step of all."""
    theirs = OneCycleLR(
        make(),
        max_lr=lr_max,
        total_steps=total_steps,
        pct_start=pct_start,
        base_momentum=0.8,
        max_momentum=0.95,
        div_factor=div_factor,
        final_div_factor=final_div_factor,
    )
    policy = OneCycle(
        lr_min=lr_max / div_factor,
        lr_max=lr_max,
        total_epochs=total_steps / steps_per_epoch,
        warmup_fraction=pct_start,
        final_divisor=final_div_factor,
        **MOMENTA,
    )
    assert_same_walk(PolicyScheduler(make(), policy, steps_per_epoch), theirs, total_steps)


@given(st.integers(1, 40), st.floats(0.5, 0.999), st.floats(1e-5, 10))
def test_exponential_equals_torch(steps_per_epoch: int, gamma: float, lr_max: float) -> None:
    theirs = ExponentialLR(sgd(lr_max), gamma ** (1 / steps_per_epoch))
    ours = PolicyScheduler(sgd(), Exponential(lr_max=lr_max, gamma=gamma), steps_per_epoch)
    assert_same_walk(ours, theirs, steps=100)


@given(st.integers(1, 40), st.integers(1, 40), st.floats(0.1, 0.9), st.floats(1e-5, 10))
def test_step_equals_torch(step_size: int, steps_per_epoch: int, gamma: float, lr_max: float) -> None:
    theirs = StepLR(sgd(lr_max), step_size, gamma)
    policy = Step(lr_max=lr_max, step_epochs=step_size / steps_per_epoch, gamma=gamma)
    assert_same_walk(PolicyScheduler(sgd(), policy, steps_per_epoch), theirs, steps=150)


@given(st.integers(1, 150), st.integers(1, 40), st.floats(1e-5, 10), st.floats(0, 0.9))
def test_cosine_equals_torch(total_steps: int, steps_per_epoch: int, lr_max: float, fraction: float) -> None:
    """Torch's recursion drifts by some 1e-13 of the highest rate."""
    theirs = CosineAnnealingLR(sgd(lr_max), total_steps, eta_min=lr_max * fraction)
    policy = Cosine(lr_min=lr_max * fraction, lr_max=lr_max, total_epochs=total_steps / steps_per_epoch)
    ours = PolicyScheduler(sgd(), policy, steps_per_epoch)
    assert_same_walk(ours, theirs, total_steps + 1, tolerance=1e-10)
