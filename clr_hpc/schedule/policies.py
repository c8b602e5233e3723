"""What each policy of ``clr_hpc.config.policy`` computes: rate and momentum as pure functions of progress.

Progress counts samples seen since the stage began, in epochs. Nothing here has a state, so every worker of a run
agrees without talking and a resumed run continues the same wave. ``docs/reference/policies.md`` shows every curve.
"""

import math

from clr_hpc.config.policy import (
    ExpRange,
    MomentumCycle,
    OneCycle,
    Policy,
    Ramp,
    Triangular,
    Triangular2,
    Triangular2Modified,
)

Wave = Triangular | Triangular2 | Triangular2Modified | ExpRange | OneCycle

# Rounding can put a boundary a hair above the step that lies on it: ten steps an epoch put the third at 0.3, and
# 0.3 / 0.1 is 2.9999999999999996. Without the slack that drop would come one step late.
_BOUNDARY_SLACK = 1e-9


def learning_rate(policy: Policy, progress: float) -> float:
    """Return the rate of ``policy`` after ``progress`` epochs. It never leaves the bounds that the policy states.

    Cosine, one-cycle and ramp keep their last rate after ``total_epochs``.

    Raises:
        ValueError: ``progress`` is negative or not finite.
    """
    if not 0 <= progress < math.inf:
        raise _unusable(progress)
    match policy.name:
        case "constant":
            return policy.lr_max
        case "step":
            drops = math.floor(progress / policy.step_epochs + _BOUNDARY_SLACK)
            return policy.lr_max * policy.gamma**drops
        case "exponential":
            return policy.lr_max * math.pow(policy.gamma, progress)
        case "inverse_time":
            return policy.lr_max / (1 + policy.decay * progress)
        case "cosine":
            lr_low, height = policy.lr_min, _half_cosine(progress / policy.total_epochs)
        case "ramp":
            return _ramp(policy, min(progress / policy.total_epochs, 1.0))
        case "one_cycle":
            warm = progress >= policy.warmup_fraction * policy.total_epochs
            lr_low, height = policy.lr_min / (policy.final_divisor if warm else 1), _height(policy, progress)
        case _:
            lr_low, height = policy.lr_min, _height(policy, progress)
    # lr_low + (lr_max - lr_low) can round to a hair above lr_max.
    return min(policy.lr_max, lr_low + (policy.lr_max - lr_low) * height)


def momentum(policy: Policy, progress: float) -> float | None:
    """Return the momentum (or beta1) of ``policy`` after ``progress`` epochs, None if the policy has none.

    It moves against the rate: ``momentum_max`` where the rate is lowest, ``momentum_min`` at the first peak.

    Raises:
        ValueError: ``progress`` is negative or not finite.
    """
    if not 0 <= progress < math.inf:
        raise _unusable(progress)
    if not isinstance(policy, MomentumCycle) or policy.momentum_min is None or policy.momentum_max is None:
        return None
    depth = (policy.momentum_max - policy.momentum_min) * _height(policy, progress)
    return max(policy.momentum_min, policy.momentum_max - depth)


def _height(policy: Wave, progress: float) -> float:
    """Return how high the wave stands: 0 at its foot, 1 at its first peak."""
    if policy.name == "one_cycle":
        peak = policy.warmup_fraction * policy.total_epochs
        if progress < peak:
            return 1 - _half_cosine(progress / peak)
        return _half_cosine((progress - peak) / (policy.total_epochs * (1 - policy.warmup_fraction)))
    cycle, phase = divmod(progress, 2 * policy.half_cycle_epochs)
    triangle = 1 - abs(phase / policy.half_cycle_epochs - 1)
    match policy.name:
        case "triangular":
            return triangle
        case "triangular2":
            return triangle * math.exp2(-cycle)
        case "triangular2_modified":
            return triangle * max(policy.floor, math.exp2(-cycle))
        case "exp_range":
            return triangle * math.pow(policy.gamma, progress)


def _ramp(policy: Ramp, fraction: float) -> float:
    if policy.scale == "linear":
        rate = policy.lr_min + (policy.lr_max - policy.lr_min) * fraction
    else:
        rate = policy.lr_min * (policy.lr_max / policy.lr_min) ** fraction
    return max(policy.lr_min, min(policy.lr_max, rate))


def _half_cosine(fraction: float) -> float:
    """Return 1 at 0, 0 from 1 on, and half a cosine between."""
    return (1 + math.cos(math.pi * min(fraction, 1.0))) / 2


def _unusable(progress: float) -> ValueError:
    return ValueError(
        f"progress={progress} must be a finite number of epochs, 0 or more; "
        "it is samples seen since the stage began / samples of one epoch"
    )
