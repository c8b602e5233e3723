"""Whether a loss has diverged: pure, so that a run that goes on decides as one that was never interrupted."""

import math
from collections.abc import Sequence

WARM_RECORDS = 10
"""The mean of so many losses is the level that a test starts from."""
SMOOTHING = 0.8
"""The weight that the past has in the smoothed loss."""
FACTOR = 4.0
"""How many times its starting level the smoothed loss must reach to count as diverged: single batches of a rare
finding reach twice that level, and means over some of them don't."""


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
