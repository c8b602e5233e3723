"""From an optimizer's spec to torch's own, without a rate: the policy sets it before every step."""

from collections.abc import Iterator

import torch
from torch.nn import Parameter

from clr_hpc.config.optimizer import Adagrad, Adam, AdamW, Optimizer, RmsProp, Sgd


def build_optimizer(spec: Optimizer, parameters: Iterator[Parameter]) -> torch.optim.Optimizer:
    """Build torch's optimizer over those of ``parameters`` that learn; they are already on their device.

    Where torch has a fused update it is used: it changes all parameters in one kernel.
    """
    every = [parameter for parameter in parameters if parameter.requires_grad]
    decay = spec.weight_decay
    match spec:
        case Sgd():
            return torch.optim.SGD(
                every, lr=0.0, momentum=spec.momentum, nesterov=spec.nesterov, weight_decay=decay, fused=True
            )
        case Adam() | AdamW():
            kind = torch.optim.Adam if isinstance(spec, Adam) else torch.optim.AdamW
            betas = (spec.beta1, spec.beta2)
            return kind(every, lr=0.0, betas=betas, eps=spec.epsilon, weight_decay=decay, fused=True)
        case RmsProp():
            return torch.optim.RMSprop(
                every, lr=0.0, alpha=spec.smoothing, momentum=spec.momentum, eps=spec.epsilon, weight_decay=decay
            )
        case Adagrad():
            return torch.optim.Adagrad(every, lr=0.0, eps=spec.epsilon, weight_decay=decay)
