"""Whether training has diverged, and up to which rate its steps would have been stable."""

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

WARM_RECORDS = 10
"""The mean of so many losses is the level that a test starts from."""
SMOOTHING = 0.8
"""The weight that the past has in the smoothed loss."""
FACTOR = 4.0
"""How many times its starting level the smoothed loss must reach to count as diverged: single batches of a rare
finding reach twice that level, and means over some of them don't."""
NOISE = 2.0
"""Mean absolute differences of neighbouring losses, below which an excess over the floor is noise."""


def has_diverged(losses: Sequence[float]) -> bool:
    """Say whether the last loss is not finite, or their smoothed value is above four times the first ones' mean.

    Smoothed is the exponential mean of the last losses, divided by the sum of its weights, so that it is unbiased
    from the first (Kingma & Ba 2015, section 3). Losses may be of any scale but must not be negative.

    Args:
        losses: (N,) all that were recorded, in their order.
    """
    if not losses:
        return False
    if not math.isfinite(losses[-1]):
        return True
    if len(losses) <= WARM_RECORDS:
        return False
    start = math.fsum(losses[:WARM_RECORDS]) / WARM_RECORDS
    weighted = weights = 0.0
    for age, loss in enumerate(reversed(losses[-5 * WARM_RECORDS :])):  # what is older weighs nothing
        weighted += SMOOTHING**age * loss
        weights += SMOOTHING**age
    return weighted / weights > FACTOR * start


def stable_rate(
    rates: NDArray[np.float64], levels: NDArray[np.float64], steps_per_record: int, floor: float, half: float
) -> float:
    """Return the highest rate at which steps would not have diverged, from how fast the loss grew when they did.

    Near a minimum of curvature c, a step of gradient descent multiplies the distance from it by 1 - lr * c (LeCun
    et al. 1998, "Efficient BackProp", section 4.3). Beyond the limit 2 / c the loss so grows by r² per step, with
    r = lr * c - 1, and the limit is 2 * lr / (1 + r). When growth is seen says less: the deeper a loss had fallen,
    the longer it takes to come back. A noiseless one is back at 12.6 times the limit, where the dilogarithm is
    imaginary, whatever the curvature and the number of steps. With momentum m the limit is 2 * (1 + m) / c, and
    the estimate 0.5 to 1 times that.

    Args:
        rates: ``(N,)`` of a test that diverged.
        levels: ``(N,)`` its losses, as shares of the untrained one.
        steps_per_record: optimizer steps whose mean loss is one of them.
        floor: the lowest level.
        half: the level at which half of the fall is lost.
    """
    last = int(np.flatnonzero(levels <= half)[-1])
    noise = NOISE * float(np.abs(np.diff(levels[: last + 1])).mean())
    excess = np.maximum(levels - floor, max(noise, 1e-12))
    if last + 1 == len(levels):  # the next loss was not finite, which says not how fast it grew
        excess = np.append(np.maximum(excess, half - floor), FACTOR)
    end = len(excess) - 1
    first = last + 1 if last + 1 < end else last  # what is below half is near the noise
    growth = math.log(excess[end] / excess[first]) / (end - first) / steps_per_record
    grew_at = math.exp(float(np.log(rates[first:end]).mean()))
    return min(float(rates[last]), 2 * grew_at / (1 + math.exp(max(growth, 0.0) / 2)))
