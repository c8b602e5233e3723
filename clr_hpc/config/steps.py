"""What becomes of a run's settings in whole steps: the batch in force, and whether the rate follows its wave."""

from collections.abc import Callable, Iterable, Iterator
from itertools import pairwise

from clr_hpc.config.policy import Policy
from clr_hpc.config.run import RunSpec

LEAST_HEIGHT = 0.9
"""Part of the way from the lowest to the highest rate that a wave's steps have to reach."""
LARGEST_JUMP = 0.4
"""Part of that way between two steps; half a cycle of three steps has jumps of a third."""


def step_remarks(runs: Iterable[RunSpec], images_of: Callable[[RunSpec], int | None]) -> list[str]:
    """Return a sentence for each setting that the steps of these runs can't follow.

    Args:
        runs: of a study.
        images_of: returns how many images a run is trained on; None where that isn't known.
    """
    tasks_of: dict[str, dict[str, None]] = {}
    known: dict[object, list[str]] = {}
    for spec in runs:
        images = images_of(spec)
        if not images or spec.is_fitted:
            continue
        training = spec.training
        like = (images, training.batch_size, training.rate_scaling, training.epochs, spec.policy, spec.stage)
        if like not in known:
            known[like] = list(_remarks(spec, images))
        for remark in known[like]:
            tasks_of.setdefault(remark, {})[spec.task.name] = None
    return [f"{_some(list(tasks))}: {remark}" for remark, tasks in tasks_of.items()]


def _remarks(spec: RunSpec, images: int) -> Iterator[str]:
    training = spec.training
    batch = min(training.batch_size, images)
    if batch < training.batch_size:
        scaled = (
            "" if training.rate_scaling is None else f", and rates are scaled by {training.rate_scale(batch):g}"
        )
        yield (
            f"batch_size={training.batch_size} is more than the {images:,} training images, so a batch has "
            f"{batch:,}{scaled}; lower batch_size to {batch}"
        )
    if spec.policy.is_cyclical and spec.stage != "range_test":
        found = unfollowed(spec.policy, images // batch, training.epochs)
        if found is not None:
            yield f"{spec.stage}, {spec.policy.name}: {found}"


def unfollowed(policy: Policy, steps_per_epoch: int, epochs: int) -> str | None:
    """Return how the rates at a run's steps differ from the wave that they are of; None where they follow it.

    Args:
        policy: a cyclical one.
        steps_per_epoch: of the run.
        epochs: of the run.
    """
    wave = policy.in_steps(1 / steps_per_epoch)
    rise = wave.rise_epochs
    lowest, highest = wave.rate(0.0), wave.rate(rise)
    reached, largest_jump = lowest, 0.0
    rates = (wave.rate(step / steps_per_epoch) for step in range(steps_per_epoch * epochs))
    for step, (before, rate) in enumerate(pairwise(rates), start=1):
        reached, largest_jump = max(reached, rate), max(largest_jump, abs(rate - before))
        if step > 2 * rise * steps_per_epoch and _is_high(reached, lowest, highest):
            break  # later cycles are no steeper
    if _is_high(reached, lowest, highest) and largest_jump <= LARGEST_JUMP * (highest - lowest):
        return None
    rise_steps, length = _counted(rise * steps_per_epoch, "step"), _counted(rise, "epoch")
    if rise > epochs:
        return (
            f"the rate rises for {length} and the stage has {epochs}, so it ends at {reached:.2g}; "
            "shorten the rise or lengthen the stage"
        )
    if reached == lowest:
        what = f"the rate never leaves {lowest:.2g}"
    elif not _is_high(reached, lowest, highest):
        what = f"the rate never exceeds {reached:.2g} of {highest:.2g}"
    else:
        what = f"the rate jumps by up to {largest_jump:.2g} from one step to the next"
    return f"a rise of {length} is {rise_steps}, and {what}; give it 5 or more, or lower batch_size"


def _is_high(rate: float, lowest: float, highest: float) -> bool:
    return rate - lowest >= LEAST_HEIGHT * (highest - lowest)


def _counted(number: float, noun: str) -> str:
    return f"{number:.3g} {noun}{'' if number == 1 else 's'}"


def _some(names: list[str]) -> str:
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
