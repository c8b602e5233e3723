"""What the LR range tests of several seeds say together."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from clr_hpc.schedule.lr_range import Curve, Refusal, Suggestion, suggest

LARGEST_SPREAD = 10.0
"""Highest / lowest of the seeds' suggestions for one rate."""


@dataclass(frozen=True)
class Agreement:
    """What the tests of several seeds say together."""

    suggestion: Suggestion
    """Read off the mean of the curves, which shows a fall that noise hides in a single one."""
    lowest: Suggestion
    highest: Suggestion
    """Each rate's lowest and highest, over that mean and those that leave one seed out."""
    refused: tuple[str, ...]
    """Reasons of the leave-one-out means that suggest nothing."""


def agree(curves: Sequence[Curve]) -> Agreement | Refusal:
    """Read rates off the mean of several seeds' curves, which must not hang on one of them.

    How far they do is seen on the means that leave one seed out, a jackknife: single seeds are too noisy.

    Args:
        curves: one per seed, tested with the same rates; the mean ends where the first of them does.
    """
    curves = _of_one_length(curves)
    together = suggest(_mean(curves))
    if isinstance(together, Refusal):
        return together
    others = [[*curves[:place], *curves[place + 1 :]] for place in range(len(curves))]
    without_one = [suggest(_mean(left), together.then) for left in others if left]
    made = [together, *(one for one in without_one if isinstance(one, Suggestion))]
    table = np.array([(one.lr_min, one.lr, one.lr_max, one.fall) for one in made])
    for name, values in zip(("lr_min", "lr", "lr_max"), table.T, strict=False):
        if values.max() > LARGEST_SPREAD * values.min():
            return Refusal(
                f"{name} is {values.min():.2g} by some seeds and {values.max():.2g} by others, more than a factor "
                f"of {LARGEST_SPREAD:g} apart; add range_test.seeds or raise range_test.epochs"
            )
    low, high = (
        Suggestion(values[0], values[1], values[2], values[3], together.then, together.reason)
        for values in (which(table, axis=0).tolist() for which in (np.min, np.max))
    )
    refused = tuple(one.reason for one in without_one if isinstance(one, Refusal))
    return Agreement(together, low, high, refused)


def _of_one_length(curves: Sequence[Curve]) -> list[Curve]:
    """Return the curves up to the end of the shortest."""
    count = min(len(curve.rates) for curve in curves)
    return [
        replace(one, rates=one.rates[:count], losses=one.losses[:count], untrained=one.untrained[:count])
        for one in curves
    ]


def _mean(curves: Sequence[Curve]) -> Curve:
    """Return the curve of all seeds' batches together; all are equally long."""
    constants = [curve.constant_answer for curve in curves if curve.constant_answer is not None]
    return replace(
        curves[0],
        losses=np.mean([curve.losses for curve in curves], axis=0),
        untrained=np.mean([curve.untrained for curve in curves], axis=0),
        diverged=any(curve.diverged for curve in curves),
        constant_answer=float(np.mean(constants)) if constants else None,
    )
