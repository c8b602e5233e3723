"""Laws of the policies, over drawn parameters and progress."""

import math
import subprocess
import sys
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clr_hpc.config.policy import (
    Constant,
    Cosine,
    Exponential,
    ExpRange,
    InverseTime,
    OneCycle,
    Policy,
    Ramp,
    Step,
    Triangular,
    Triangular2,
    Triangular2Modified,
)
from clr_hpc.schedule.policies import learning_rate, momentum

Wave = Triangular | Triangular2 | Triangular2Modified | ExpRange | OneCycle

rates = st.floats(1e-6, 10)
epochs = st.floats(0.01, 100)
ratios = st.floats(0.01, 0.99)
progresses = st.floats(0, 1000)


@st.composite
def bounds(draw: st.DrawFn, *, momenta: bool = False) -> dict[str, float]:
    lr_min, momentum_min = draw(st.floats(0, 1)), draw(st.floats(0, 0.9))
    drawn = {"lr_min": lr_min, "lr_max": lr_min + draw(rates)}
    if momenta:
        drawn |= {"momentum_min": momentum_min, "momentum_max": draw(st.floats(momentum_min, 0.99))}
    return drawn


@st.composite
def decays(draw: st.DrawFn) -> Policy:
    lr_max = draw(rates)
    return draw(
        st.one_of(
            st.builds(Constant, lr_max=st.just(lr_max)),
            st.builds(Step, lr_max=st.just(lr_max), step_epochs=epochs, gamma=ratios),
            st.builds(Exponential, lr_max=st.just(lr_max), gamma=ratios),
            st.builds(InverseTime, lr_max=st.just(lr_max), decay=st.floats(0.01, 10)),
            st.builds(lambda b, total: Cosine(**b, total_epochs=total), bounds(), epochs),
        )
    )


@st.composite
def waves(draw: st.DrawFn) -> Wave:
    shared: dict[str, Any] = draw(bounds(momenta=True)) | {"half_cycle_epochs": draw(epochs)}
    kind = draw(st.sampled_from([Triangular, Triangular2, Triangular2Modified, ExpRange, OneCycle]))
    if kind is Triangular2Modified:
        shared["floor"] = draw(ratios)
    if kind is ExpRange:
        shared["gamma"] = draw(ratios)
    if kind is OneCycle:
        shared["total_epochs"] = shared.pop("half_cycle_epochs")
        shared |= {"warmup_fraction": draw(ratios), "final_divisor": draw(st.floats(1, 1e5))}
    return kind(**shared)


def lowest(policy: Policy) -> float:
    match policy:
        case OneCycle():
            return policy.lr_min / policy.final_divisor
        case Cosine() | Triangular() | Triangular2() | Triangular2Modified() | ExpRange():
            return policy.lr_min
        case _:
            return 0.0


def steepest(policy: Policy) -> float:
    """Return a bound of the slope of a policy without jumps, in rate an epoch."""
    height = policy.lr_max - lowest(policy)
    match policy:
        case Exponential():
            return policy.lr_max * -math.log(policy.gamma)
        case InverseTime():
            return policy.lr_max * policy.decay
        case Cosine():
            return height * math.pi / 2 / policy.total_epochs
        case OneCycle():
            shorter = min(policy.warmup_fraction, 1 - policy.warmup_fraction) * policy.total_epochs
            return height * math.pi / 2 / shorter
        case ExpRange():
            return height * (1 / policy.half_cycle_epochs - math.log(policy.gamma))
        case Triangular() | Triangular2() | Triangular2Modified():
            return height / policy.half_cycle_epochs
        case _:
            return 0.0


@given(st.one_of(decays(), waves()), progresses)
def test_the_rate_never_leaves_its_bounds(policy: Policy, progress: float) -> None:
    assert lowest(policy) <= learning_rate(policy, progress) <= policy.lr_max


@given(waves(), progresses)
def test_momentum_never_leaves_its_bounds(policy: Wave, progress: float) -> None:
    value = momentum(policy, progress)
    assert value is not None
    assert policy.momentum_min <= value <= policy.momentum_max


def test_a_peak_is_not_rounded_over_its_bounds() -> None:
    policy = Triangular(lr_min=0.0519, lr_max=0.8376, momentum_min=0.311, momentum_max=0.861, half_cycle_epochs=1)
    assert policy.lr_min + (policy.lr_max - policy.lr_min) > policy.lr_max
    assert policy.momentum_max - (policy.momentum_max - policy.momentum_min) < policy.momentum_min
    assert learning_rate(policy, 1) == policy.lr_max
    assert momentum(policy, 1) == policy.momentum_min


@given(st.one_of(decays(), waves()).filter(lambda p: p.name != "step"), progresses, st.floats(0, 1))
def test_nothing_but_a_step_decay_jumps(policy: Policy, progress: float, later: float) -> None:
    change = abs(learning_rate(policy, progress + later) - learning_rate(policy, progress))
    assert change <= steepest(policy) * later * (1 + 1e-9) + 1e-9 * policy.lr_max


@given(decays(), progresses, progresses)
def test_decays_start_at_the_highest_rate_and_never_rise(policy: Policy, one: float, other: float) -> None:
    assert learning_rate(policy, 0) == pytest.approx(policy.lr_max, rel=1e-15)
    assert learning_rate(policy, max(one, other)) <= learning_rate(policy, min(one, other))


@given(st.one_of(decays(), waves()), st.lists(progresses, min_size=2, max_size=20))
def test_the_order_of_calls_does_not_matter(policy: Policy, points: list[float]) -> None:
    forward = [(learning_rate(policy, t), momentum(policy, t)) for t in points]
    backward = [(learning_rate(policy, t), momentum(policy, t)) for t in reversed(points)]
    assert forward == backward[::-1]


def test_decays_by_hand() -> None:
    step = Step(lr_max=1.0, step_epochs=2, gamma=0.5)
    assert [learning_rate(step, t) for t in (0, 1.9, 2, 4)] == [1.0, 1.0, 0.5, 0.25]
    assert learning_rate(Exponential(lr_max=1.0, gamma=0.25), 1.5) == 0.125
    assert learning_rate(InverseTime(lr_max=1.0, decay=0.5), 6) == 0.25
    cosine = Cosine(lr_min=0.2, lr_max=1.0, total_epochs=4)
    assert [learning_rate(cosine, t) for t in (0, 2, 4)] == pytest.approx([1.0, 0.6, 0.2], rel=1e-15)


@pytest.mark.parametrize("steps_per_epoch", [3, 7, 10, 27, 860])
def test_a_step_decay_drops_at_the_very_step(steps_per_epoch: int) -> None:
    policy = Step(lr_max=1.0, step_epochs=1 / steps_per_epoch, gamma=0.5)
    for step in range(1000):
        assert learning_rate(policy, step / steps_per_epoch) == 0.5**step


@given(bounds(), epochs, st.floats(0, 20), st.integers(1, 20))
def test_triangular_repeats(limits: dict[str, float], half: float, in_cycles: float, cycles: int) -> None:
    policy = Triangular(**limits, half_cycle_epochs=half)
    start = in_cycles * 2 * half
    later = learning_rate(policy, start + cycles * 2 * half)
    assert later == pytest.approx(learning_rate(policy, start), abs=1e-12 * policy.lr_max)


@given(bounds(), epochs, st.floats(0, 20))
def test_triangular2_halves_after_every_cycle(limits: dict[str, float], half: float, in_cycles: float) -> None:
    policy = Triangular2(**limits, half_cycle_epochs=half)
    start = in_cycles * 2 * half
    above = learning_rate(policy, start) - policy.lr_min
    above_later = learning_rate(policy, start + 2 * half) - policy.lr_min
    assert above_later == pytest.approx(above / 2, abs=1e-12 * policy.lr_max)


@given(bounds(momenta=True), epochs, st.floats(0.001, 1))
def test_the_modified_one_halves_down_to_its_floor(limits: dict[str, float], half: float, floor: float) -> None:
    policy = Triangular2Modified(**limits, half_cycle_epochs=half, floor=floor)
    plain = Triangular2(**limits, half_cycle_epochs=half)
    for cycle in range(15):
        peak = (2 * cycle + 1) * half
        above = learning_rate(policy, peak) - policy.lr_min
        scale = max(floor, 0.5**cycle)
        assert above == pytest.approx((policy.lr_max - policy.lr_min) * scale, abs=1e-12 * policy.lr_max)
        if scale > floor:
            assert learning_rate(policy, peak) == learning_rate(plain, peak)
            assert momentum(policy, peak) == momentum(plain, peak)


@given(bounds(), epochs, ratios, st.integers(0, 10))
def test_exp_range_shrinks_by_gamma_an_epoch(
    limits: dict[str, float], half: float, gamma: float, cycle: int
) -> None:
    policy = ExpRange(**limits, half_cycle_epochs=half, gamma=gamma)
    peak = (2 * cycle + 1) * half
    above = learning_rate(policy, peak) - policy.lr_min
    assert above == pytest.approx(
        (policy.lr_max - policy.lr_min) * gamma**peak, rel=1e-9, abs=1e-12 * policy.lr_max
    )


@given(waves())
def test_a_wave_starts_at_its_foot(policy: Wave) -> None:
    assert learning_rate(policy, 0) == policy.lr_min
    assert momentum(policy, 0) == policy.momentum_max


@given(waves(), progresses)
def test_momentum_mirrors_the_rate(policy: Wave, progress: float) -> None:
    warm = isinstance(policy, OneCycle) and progress >= policy.warmup_fraction * policy.total_epochs
    low = lowest(policy) if warm else policy.lr_min
    height = (learning_rate(policy, progress) - low) / (policy.lr_max - low)
    expected = policy.momentum_max - (policy.momentum_max - policy.momentum_min) * height
    assert momentum(policy, progress) == pytest.approx(expected, abs=1e-8)


@given(bounds(momenta=True), epochs, ratios, st.floats(1, 1e5), st.floats(1, 10))
def test_one_cycle_rises_from_lr_min_and_ends_far_below(
    limits: dict[str, float], total: float, warmup: float, divisor: float, past: float
) -> None:
    policy = OneCycle(**limits, total_epochs=total, warmup_fraction=warmup, final_divisor=divisor)
    assert learning_rate(policy, 0) == policy.lr_min
    assert learning_rate(policy, warmup * total) == pytest.approx(policy.lr_max, rel=1e-12)
    assert momentum(policy, warmup * total) == pytest.approx(policy.momentum_min, abs=1e-12)
    for end in (total, past * total):
        assert learning_rate(policy, end) == policy.lr_min / divisor
        assert momentum(policy, end) == policy.momentum_max


@given(bounds(), epochs, st.floats(1, 10))
def test_cosine_keeps_its_last_rate(limits: dict[str, float], total: float, past: float) -> None:
    assert learning_rate(Cosine(**limits, total_epochs=total), past * total) == limits["lr_min"]


@given(decays(), progresses)
def test_decays_leave_momentum_alone(policy: Policy, progress: float) -> None:
    assert momentum(policy, progress) is None


def test_a_wave_without_momenta_leaves_momentum_alone() -> None:
    assert momentum(Triangular(lr_min=0.1, lr_max=1.0, half_cycle_epochs=1), 0.5) is None


@pytest.mark.parametrize("progress", [-1e-9, -3, math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("function", [learning_rate, momentum])
def test_unusable_progress_is_refused(function: Any, progress: float) -> None:
    with pytest.raises(ValueError, match=rf"progress={progress} must be a finite number .* samples seen"):
        function(Constant(lr_max=1.0), progress)


def test_the_policies_need_no_torch() -> None:
    code = "import sys, clr_hpc.schedule.policies; sys.exit('torch' in sys.modules or 'numpy' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


@st.composite
def ramps(draw: st.DrawFn) -> Ramp:
    lr_min = draw(rates)
    scale = draw(st.sampled_from(["exponential", "linear"]))
    return Ramp(lr_min=lr_min, lr_max=lr_min * draw(st.floats(1.01, 1e6)), total_epochs=draw(epochs), scale=scale)


@given(ramps(), progresses, progresses)
def test_a_ramp_rises_from_bound_to_bound_and_stays(policy: Ramp, one: float, other: float) -> None:
    earlier, later = sorted((one, other))
    assert policy.lr_min <= learning_rate(policy, earlier) <= learning_rate(policy, later) <= policy.lr_max
    assert learning_rate(policy, 0) == policy.lr_min
    assert learning_rate(policy, policy.total_epochs) == pytest.approx(policy.lr_max, rel=1e-12)
    assert learning_rate(policy, 2 * policy.total_epochs) == learning_rate(policy, policy.total_epochs)
    assert momentum(policy, one) is None


def test_an_exponential_ramp_takes_as_long_for_each_decade_and_a_linear_one_for_each_difference() -> None:
    values = {"lr_min": 1e-4, "lr_max": 1.0, "total_epochs": 4}
    exponential, linear = Ramp(**values), Ramp(**values, scale="linear")
    assert [learning_rate(exponential, t) for t in range(5)] == pytest.approx([1e-4, 1e-3, 1e-2, 0.1, 1])
    assert [learning_rate(linear, t) for t in (1, 2)] == pytest.approx([1e-4 + 0.9999 / 4, 1e-4 + 0.9999 / 2])
