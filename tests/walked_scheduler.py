"""Optimizers of one weight, and the rates and momenta that a scheduler gives them step by step."""

import torch
from torch.optim import SGD, Adam, Optimizer, RMSprop
from torch.optim.lr_scheduler import LRScheduler

MOMENTA = {"momentum_min": 0.8, "momentum_max": 0.95}


def parameter() -> torch.nn.Parameter:
    weight = torch.nn.Parameter(torch.ones(2))
    weight.grad = torch.ones(2)
    return weight


def sgd(lr: float = 0.5) -> Optimizer:
    return SGD([parameter()], lr=lr, momentum=0.9)


def adam(lr: float = 0.5) -> Optimizer:
    return Adam([parameter()], lr=lr)


def rmsprop(lr: float = 0.5) -> Optimizer:
    return RMSprop([parameter()], lr=lr)


def in_force(optimizer: Optimizer) -> tuple[float, float]:
    group = optimizer.param_groups[0]
    return group["lr"], group["betas"][0] if "betas" in group else group["momentum"]


def walk(scheduler: LRScheduler, steps: int) -> list[tuple[float, float]]:
    """Return rate and momentum in force at each of ``steps`` training steps, which are really taken."""
    taken = []
    for _ in range(steps):
        taken.append(in_force(scheduler.optimizer))
        scheduler.optimizer.step()
        scheduler.step()
    return taken
