"""The policies in torch optimizers: resumed, pickled, in groups, after other schedulers."""

import copy
import io
import math
import pickle
from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.optim import SGD, Adagrad, Adam, AdamW, Optimizer
from torch.optim.lr_scheduler import (
    CyclicLR,
    ExponentialLR,
    LinearLR,
    LRScheduler,
    SequentialLR,
)
from walked_scheduler import MOMENTA, adam, in_force, parameter, rmsprop, sgd, walk

from clr_hpc.config.policy import (
    Constant,
    Cosine,
    Exponential,
    ExpRange,
    OneCycle,
    Policy,
    Step,
    Triangular,
    Triangular2Modified,
)
from clr_hpc.schedule.policies import learning_rate, momentum
from clr_hpc.schedule.scheduler import PolicyScheduler, apply_policy

WAVE = Triangular2Modified(lr_min=0.01, lr_max=0.1, half_cycle_epochs=1.5, **MOMENTA)


@pytest.mark.parametrize("make", [sgd, adam, rmsprop])
def test_cyclical_retraining_after_a_decay_forgets_the_decay(make: Callable[[], Optimizer]) -> None:
    """The trap of pytorch issue 21965: the first scheduler leaves ``initial_lr`` in the optimizer."""
    decayed, fresh = make(), make()
    walk(ExponentialLR(decayed, 0.9), 20)
    assert decayed.param_groups[0]["initial_lr"] == 0.5
    theirs_undisturbed = CyclicLR(fresh, 0.01, 0.1, step_size_up=15, base_momentum=0.8, max_momentum=0.95)
    policy = Triangular(lr_min=0.01, lr_max=0.1, half_cycle_epochs=1.5, **MOMENTA)
    assert walk(PolicyScheduler(decayed, policy, 10), 60) == [
        pytest.approx(pair, rel=1e-12) for pair in walk(theirs_undisturbed, 60)
    ]


def saved(scheduler: LRScheduler) -> tuple[Any, Any]:
    """Return the states of optimizer and scheduler as they come back from a file of plain values."""
    file = io.BytesIO()
    torch.save((scheduler.optimizer.state_dict(), scheduler.state_dict()), file)
    file.seek(0)
    return torch.load(file, weights_only=True)


policies = st.sampled_from(
    [
        WAVE,
        Exponential(lr_max=0.1),
        Step(lr_max=0.1, step_epochs=0.3),
        Cosine(lr_max=0.1, total_epochs=4),
        ExpRange(lr_min=0.001, lr_max=0.1, half_cycle_epochs=0.7, **MOMENTA),
        OneCycle(lr_min=0.001, lr_max=0.1, total_epochs=3, **MOMENTA),
    ]
)


@given(policies, st.sampled_from([sgd, adam]), st.integers(0, 60), st.integers(1, 30), st.booleans())
def test_a_resumed_run_has_the_same_rates_bit_for_bit(
    policy: Policy,
    make: Callable[[], Optimizer],
    cut: int,
    steps_per_epoch: int,
    optimizer_first: bool,
) -> None:
    whole = walk(PolicyScheduler(make(), policy, steps_per_epoch), cut + 30)
    first = PolicyScheduler(make(), policy, steps_per_epoch)
    before = walk(first, cut)
    optimizer_state, scheduler_state = saved(first)

    optimizer = make()
    if optimizer_first:
        optimizer.load_state_dict(optimizer_state)
    second = PolicyScheduler(optimizer, policy, steps_per_epoch)
    second.load_state_dict(scheduler_state)
    if not optimizer_first:
        optimizer.load_state_dict(optimizer_state)
    assert before + walk(second, 30) == whole


@pytest.mark.parametrize("steps_per_epoch", [3, 27, 100, 2704, 6.75])
def test_a_saved_position_is_exact_to_the_step(steps_per_epoch: float) -> None:
    scheduler = PolicyScheduler(sgd(), WAVE, steps_per_epoch)
    for steps in range(3000):
        scheduler.last_epoch = steps
        scheduler.load_state_dict(scheduler.state_dict())
        assert scheduler.last_epoch == steps


def test_a_run_resumed_with_another_batch_size_continues_the_same_wave() -> None:
    first = PolicyScheduler(sgd(), WAVE, steps_per_epoch=20)
    walk(first, 70)
    second = PolicyScheduler(sgd(), WAVE, steps_per_epoch=10)
    second.load_state_dict(first.state_dict())
    assert second.progress == 3.5
    assert in_force(second.optimizer) == in_force(first.optimizer)


def test_the_constructed_policy_counts_not_the_saved_one() -> None:
    first = PolicyScheduler(sgd(), Constant(lr_max=0.1), steps_per_epoch=10)
    walk(first, 5)
    second = PolicyScheduler(sgd(), Constant(lr_max=0.05), steps_per_epoch=10)
    second.load_state_dict(first.state_dict())
    assert second.get_last_lr() == [0.05]


@pytest.mark.parametrize("duplicate", [copy.deepcopy, lambda whole: pickle.loads(pickle.dumps(whole))])
@pytest.mark.parametrize("steps", [0, 1, 25])
def test_a_pickled_scheduler_goes_on_alike(duplicate: Callable[[Any], PolicyScheduler], steps: int) -> None:
    scheduler = PolicyScheduler(sgd(), WAVE, steps_per_epoch=10)
    walk(scheduler, steps)
    twin = duplicate(scheduler)
    for group in twin.optimizer.param_groups:
        group["params"][0].grad = torch.ones(2)
    assert walk(twin, 30) == walk(scheduler, 30)


def test_a_rate_that_somebody_else_set_does_not_last() -> None:
    scheduler = PolicyScheduler(sgd(), WAVE, steps_per_epoch=10)
    undisturbed = walk(PolicyScheduler(sgd(), WAVE, steps_per_epoch=10), 21)
    walk(scheduler, 20)
    scheduler.optimizer.param_groups[0].update(lr=7.0, momentum=0.1)
    scheduler.last_epoch -= 1
    scheduler.step()
    assert in_force(scheduler.optimizer) == undisturbed[20]


def test_far_from_the_start_the_rate_is_still_exact() -> None:
    scheduler = PolicyScheduler(sgd(), WAVE, steps_per_epoch=1000)
    scheduler.load_state_dict({"progress": 123_456.789})
    assert scheduler.last_epoch == 123_456_789
    assert scheduler.get_last_lr() == [learning_rate(WAVE, 123_456.789)]


def test_groups_keep_their_ratios_and_later_ones_join() -> None:
    optimizer = SGD([{"params": [parameter()], "lr_scale": 0.1}, {"params": [parameter()], "lr": 3.0}], lr=0.5)
    scheduler = PolicyScheduler(optimizer, WAVE, steps_per_epoch=10)
    optimizer.add_param_group({"params": [parameter()], "lr_scale": 2.0})
    for _ in range(40):
        optimizer.step()
        scheduler.step()
        lr = learning_rate(WAVE, scheduler.progress)
        assert scheduler.get_last_lr() == [lr * 0.1, lr, lr * 2.0]
        assert [group["momentum"] for group in optimizer.param_groups] == [momentum(WAVE, scheduler.progress)] * 3


def test_only_the_first_beta_cycles() -> None:
    optimizer = AdamW([parameter()], betas=(0.9, 0.98))
    assert apply_policy(optimizer, WAVE, 1.5) == (0.1, pytest.approx(0.8))
    assert optimizer.param_groups[0]["betas"] == (pytest.approx(0.8), 0.98)


def test_a_rate_held_in_a_tensor_stays_that_tensor() -> None:
    held = torch.tensor(0.5)
    scheduler = PolicyScheduler(Adam([parameter()], lr=held), WAVE, steps_per_epoch=10)
    walk(scheduler, 16)
    assert scheduler.optimizer.param_groups[0]["lr"] is held
    assert held.item() == pytest.approx(learning_rate(WAVE, 1.6))


@pytest.mark.parametrize(
    ("make", "expected"),
    [(sgd, 0.9), (adam, 0.9), (rmsprop, 0.0), (lambda: Adagrad([parameter()]), None)],
)
def test_without_momentum_cycling_the_optimizers_own_stays(
    make: Callable[[], Optimizer], expected: float | None
) -> None:
    assert apply_policy(make(), Exponential(lr_max=0.1, gamma=0.25), 0.5) == (0.05, expected)


def test_an_optimizer_without_momentum_is_refused_before_anything_is_set() -> None:
    optimizer = Adagrad([parameter()], lr=0.5)
    with pytest.raises(ValueError, match=r"Adagrad has neither momentum nor betas; leave out momentum_min"):
        PolicyScheduler(optimizer, WAVE, steps_per_epoch=10)
    assert optimizer.param_groups[0]["lr"] == 0.5


def test_rmsprop_takes_up_momentum_after_training_without() -> None:
    optimizer = rmsprop()
    optimizer.step()
    scheduler = PolicyScheduler(optimizer, WAVE, steps_per_epoch=10)
    walk(scheduler, 2)
    buffer = optimizer.state[optimizer.param_groups[0]["params"][0]]["momentum_buffer"]
    assert torch.all(buffer > 0)


def test_rmsprop_keeps_its_momentum_through_a_peak_without() -> None:
    policy = Triangular(lr_min=0.01, lr_max=0.1, half_cycle_epochs=0.5, momentum_min=0.0, momentum_max=0.9)
    scheduler = PolicyScheduler(rmsprop(), policy, steps_per_epoch=10)
    walk(scheduler, 5)
    assert in_force(scheduler.optimizer) == (0.1, 0.0)
    state = scheduler.optimizer.state[scheduler.optimizer.param_groups[0]["params"][0]]
    before = state["momentum_buffer"].clone()
    scheduler.step()
    assert torch.equal(state["momentum_buffer"], before)
    assert torch.all(before > 0)


def warmed_up() -> SequentialLR:
    optimizer = sgd(lr=0.1)
    warmup = LinearLR(optimizer, start_factor=0.1, total_iters=5)
    return SequentialLR(optimizer, [warmup, PolicyScheduler(optimizer, WAVE, 10)], milestones=[5])


@pytest.mark.parametrize("cut", [3, 5, 12])
@pytest.mark.parametrize("optimizer_first", [True, False])
def test_a_sequence_is_resumed_before_and_after_the_warm_up(cut: int, optimizer_first: bool) -> None:
    whole = walk(warmed_up(), cut + 20)
    first, second = warmed_up(), warmed_up()
    before = walk(first, cut)
    optimizer_state, sequence_state = saved(first)
    if optimizer_first:
        second.optimizer.load_state_dict(optimizer_state)
    second.load_state_dict(sequence_state)
    if not optimizer_first:
        second.optimizer.load_state_dict(optimizer_state)
    assert before + walk(second, 20) == whole


def test_after_a_warm_up_in_a_sequence() -> None:
    sequence = warmed_up()
    taken = walk(sequence, 25)
    assert [lr for lr, _ in taken[:5]] == pytest.approx([0.01, 0.028, 0.046, 0.064, 0.082])
    assert taken[5:] == walk(PolicyScheduler(sgd(), WAVE, steps_per_epoch=10), 20)
    assert sequence.get_last_lr() == [sequence.optimizer.param_groups[0]["lr"]]


def test_a_skipped_first_optimizer_step_raises_no_warning() -> None:
    """Mixed-precision scalers skip steps; torch's own schedulers warn then, and here a warning is an error."""
    scheduler = PolicyScheduler(sgd(), WAVE, steps_per_epoch=10)
    scheduler.step()
    assert scheduler.last_epoch == 1


@pytest.mark.parametrize("steps_per_epoch", [0, -1, math.nan, math.inf])
def test_unusable_steps_per_epoch_are_refused(steps_per_epoch: float) -> None:
    with pytest.raises(ValueError, match=rf"steps_per_epoch={steps_per_epoch} must be positive and finite"):
        PolicyScheduler(sgd(), WAVE, steps_per_epoch)


def test_other_things_than_policies_and_optimizers_are_refused() -> None:
    with pytest.raises(TypeError, match="policy='triangular' must be one of"):
        PolicyScheduler(sgd(), "triangular", steps_per_epoch=10)
    with pytest.raises(TypeError, match="not an Optimizer"):
        PolicyScheduler(torch.nn.Linear(2, 1), WAVE, steps_per_epoch=10)
