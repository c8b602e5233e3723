"""Rate and momentum of a policy as pure functions of progress: samples seen since the stage began, in epochs."""

import math

from clr_hpc.config.policy import Policy


def learning_rate(policy: Policy, progress: float) -> float:
    """Return the rate of ``policy`` after ``progress`` epochs. It never leaves the bounds that the policy states.

    Cosine, one-cycle and ramp keep their last rate after ``total_epochs``.

    Raises:
        ValueError: ``progress`` is negative or not finite.
    """
    _check(progress)
    # lr_min + (lr_max - lr_min) can round to a hair above lr_max
    return min(policy.lr_max, policy.rate(progress))


def momentum(policy: Policy, progress: float) -> float | None:
    """Return the momentum (or beta1) of ``policy`` after ``progress`` epochs, None if the policy has none.

    It moves against the rate: ``momentum_max`` where the rate is lowest, ``momentum_min`` at the first peak.

    Raises:
        ValueError: ``progress`` is negative or not finite.
    """
    _check(progress)
    return policy.momentum(progress)


def _check(progress: float) -> None:
    if not 0 <= progress < math.inf:
        raise ValueError(
            f"progress={progress} must be a finite number of epochs, 0 or more; "
            "it is samples seen since the stage began / samples of one epoch"
        )
