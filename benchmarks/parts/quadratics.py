"""LR range tests of gradient descent on quadratics, whose highest stable rate is known."""

from collections.abc import Sequence

import numpy as np

from clr_hpc.schedule.divergence import has_diverged
from clr_hpc.schedule.lr_range import Curve

RATES = 1e-7, 10.0


def limit(curvatures: Sequence[float], momentum: float = 0.0) -> float:
    """Return the rate above which steps diverge: 2 (1 + momentum) / the highest curvature."""
    return 2 * (1 + momentum) / max(curvatures)


def range_test(
    curvatures: Sequence[float],
    steps: int,
    momentum: float = 0.0,
    noise: float = 0.0,
    floor: float = 0.0,
    seed: int = 0,
) -> Curve:
    """Return the curve of a test on ``sum(c * x**2) / 2 + floor``, which ends as a run's test does.

    Args:
        curvatures: one per dimension; all have the same share of the first loss, which is 1.
        steps: in which the rate rises from 1e-7 to 10, exponentially.
        momentum: of gradient descent.
        noise: the loss that the noise of gradients keeps up at half of the limit. It grows with the curvature, as
            that of batches does in least squares.
        floor: what no rate removes.
        seed: of the noise.
    """
    curvature = np.array(curvatures)
    random = np.random.default_rng(seed)
    spread = np.sqrt(2 * noise * curvature * curvature.max() / curvature.sum())
    position, velocity = np.sqrt(2 / len(curvature) / curvature), np.zeros(len(curvature))
    rates, losses, diverged = np.geomspace(*RATES, steps, endpoint=False), list[float](), False
    for rate in rates:
        losses.append(float(curvature @ position**2) / 2 + floor)
        diverged = has_diverged(losses)
        if diverged:
            break
        gradient = curvature * position + spread * random.standard_normal(len(curvature))
        velocity = momentum * velocity + gradient
        position = position - rate * velocity
    return Curve(rates[: len(losses)], np.array(losses), np.full(len(losses), 1 + floor), diverged)
