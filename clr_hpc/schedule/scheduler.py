"""The policies in anybody's training loop: a call that sets an optimizer, and a torch ``LRScheduler``."""

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from clr_hpc.config.base import FrozenSpec
from clr_hpc.config.policy import Policy
from clr_hpc.schedule.policies import learning_rate, momentum


def apply_policy(optimizer: Optimizer, policy: Policy, progress: float) -> tuple[float, float | None]:
    """Set the rate, and the momentum if the policy cycles it, that ``policy`` has after ``progress`` epochs.

    Every parameter group gets the policy's rate times the group's own ``lr_scale``, which is 1 where the group has
    none. Rates are set, never multiplied onto the ones before, so nothing that an earlier scheduler left matters.
    Momentum is ``betas[0]`` in optimizers of the Adam family, the same for all groups.

    Returns:
        The policy's rate, and the momentum now in force in the first group, None where the optimizer has none.

    Raises:
        ValueError: ``progress`` is negative or not finite, or the policy cycles a momentum that the optimizer
            lacks.
    """
    rate = learning_rate(policy, progress)
    cycled = momentum(policy, progress)
    for group in optimizer.param_groups:
        if cycled is not None:
            _set_momentum(optimizer, group, cycled)
        group_rate = rate * group.get("lr_scale", 1.0)
        if isinstance(group["lr"], Tensor):
            group["lr"].fill_(group_rate)
        else:
            group["lr"] = group_rate
    first = optimizer.param_groups[0]
    return rate, first["betas"][0] if "betas" in first else first.get("momentum")


def _set_momentum(optimizer: Optimizer, group: dict[str, Any], value: float) -> None:
    if "betas" in group:
        group["betas"] = (value, *group["betas"][1:])
    elif "momentum" in group:
        if not group["momentum"] and isinstance(optimizer, torch.optim.RMSprop):
            _give_momentum_buffers(optimizer, group)
        group["momentum"] = value
    else:
        raise ValueError(
            f"the policy cycles momentum (now {value:g}), but {type(optimizer).__name__} has neither momentum nor "
            "betas; leave out momentum_min and momentum_max, or use SGD, RMSprop or one of the Adam family"
        )


def _give_momentum_buffers(optimizer: torch.optim.RMSprop, group: dict[str, Any]) -> None:
    """Add the buffers that RMSprop makes only in its first step, and only if it has momentum by then.

    Without them an optimizer that trained without momentum fails with a ``KeyError`` once it gets some.
    """
    for parameter in group["params"]:
        state = optimizer.state.get(parameter)
        if state and "momentum_buffer" not in state:
            state["momentum_buffer"] = torch.zeros_like(parameter, memory_format=torch.preserve_format)


class PolicyScheduler(LRScheduler):
    """A policy as a torch scheduler; call ``step()`` after every ``optimizer.step()``.

    The rate is computed from the number of steps alone, whatever rate or ``initial_lr`` the optimizer brings and
    however often the run was interrupted. Parameter groups keep ratios by ``lr_scale``: see ``apply_policy``.

    ``last_epoch`` counts steps, as in torch's own schedulers that step once per batch.
    """

    def __init__(self, optimizer: Optimizer, policy: Policy, steps_per_epoch: float) -> None:
        """Set the optimizer to the policy's start.

        Args:
            optimizer: whose rate, and momentum if the policy cycles it, is set.
            policy: one of ``clr_hpc.config.policy``.
            steps_per_epoch: optimizer steps in one pass over the training data, such as ``len(loader)``; a
                fraction where gradient accumulation doesn't divide the pass evenly.

        Raises:
            TypeError: ``optimizer`` or ``policy`` is something else.
            ValueError: ``steps_per_epoch`` isn't positive and finite, or the policy cycles a momentum that the
                optimizer lacks.
        """
        if not isinstance(policy, FrozenSpec):
            raise TypeError(f"policy={policy!r} must be one of clr_hpc.config.policy, such as Triangular(...)")
        if not 0 < steps_per_epoch < math.inf:
            raise ValueError(
                f"steps_per_epoch={steps_per_epoch} must be positive and finite; len(loader) is the usual value"
            )
        self.policy = policy
        self._in_steps = policy.in_steps(1 / steps_per_epoch)
        self.steps_per_epoch = steps_per_epoch
        super().__init__(optimizer)

    @property
    def progress(self) -> float:
        """Epochs since the start."""
        return self.last_epoch / self.steps_per_epoch

    def step(self) -> None:  # type: ignore[override]
        """Go one step on. Torch's deprecated argument ``epoch`` isn't taken."""
        self.last_epoch += 1
        apply_policy(self.optimizer, self._in_steps, self.progress)

    def get_lr(self) -> list[float | Tensor]:
        """Set the optimizer to the present step and return the rate of every parameter group.

        It has this side effect, like ``CyclicLR``'s, since ``SequentialLR`` starts a scheduler by this call alone.
        """
        apply_policy(self.optimizer, self._in_steps, self.progress)
        return self.get_last_lr()

    def get_last_lr(self) -> list[float | Tensor]:
        """Return the rate now in force in every parameter group."""
        return [float(group["lr"]) for group in self.optimizer.param_groups]

    def state_dict(self) -> dict[str, Any]:
        """Return how far it is. The policy isn't part of it: what was constructed is what runs."""
        return {"progress": self.progress}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Continue the wave where ``state_dict`` left it, also with another ``steps_per_epoch``.

        It sets the optimizer, so it doesn't matter whether the optimizer's own state is loaded before or after.
        """
        self.last_epoch = round(state_dict["progress"] * self.steps_per_epoch)
        if self.last_epoch >= 0:
            self.get_lr()
