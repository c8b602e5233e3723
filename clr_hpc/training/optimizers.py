"""From an optimizer's spec to torch's own, without a rate: the policy sets it before every step."""

from collections.abc import Iterator

import torch
from torch.nn import Parameter

from clr_hpc.config.optimizer import Optimizer


def build_optimizer(spec: Optimizer, parameters: Iterator[Parameter]) -> torch.optim.Optimizer:
    """Build torch's optimizer over those of ``parameters`` that learn; they are already on their device.

    Where torch has a fused update it is used: it changes all parameters in one kernel.
    """
    every = [parameter for parameter in parameters if parameter.requires_grad]
    build: type[torch.optim.Optimizer] = getattr(torch.optim, spec.torch_class)
    return build(every, lr=0.0, weight_decay=spec.weight_decay, **spec.arguments())  # type: ignore[call-arg]
