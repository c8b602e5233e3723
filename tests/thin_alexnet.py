"""AlexNet with few weights: its dropout and its lack of batch norm are what tests of training need of it."""

from dataclasses import replace
from typing import Any

import pytest
from torch import nn

from clr_hpc.config.network import NETWORKS


def thin_alexnet(num_classes: int) -> nn.Module:
    """Build torchvision's AlexNet with an eighth of the channels and 32 units in place of 4,096."""

    def convolution(inputs: int, outputs: int, kernel: int, **shape: Any) -> list[nn.Module]:
        return [nn.Conv2d(inputs, outputs, kernel, **shape), nn.ReLU(inplace=True)]

    def pool() -> nn.Module:
        return nn.MaxPool2d(kernel_size=3, stride=2)

    return nn.Sequential(
        *convolution(3, 8, 11, stride=4, padding=2),
        pool(),
        *convolution(8, 24, 5, padding=2),
        pool(),
        *convolution(24, 48, 3, padding=1),
        *convolution(48, 32, 3, padding=1),
        *convolution(32, 32, 3, padding=1),
        pool(),
        nn.AdaptiveAvgPool2d((6, 6)),
        nn.Flatten(),
        nn.Dropout(0.5),
        nn.Linear(32 * 6 * 6, 32),
        nn.ReLU(inplace=True),
        nn.Dropout(0.5),
        nn.Linear(32, 32),
        nn.ReLU(inplace=True),
        nn.Linear(32, num_classes),
    )


def use_thin_alexnet(patch: pytest.MonkeyPatch) -> None:
    """Let ``alexnet`` name the thin one."""
    patch.setitem(NETWORKS, "alexnet", replace(NETWORKS["alexnet"], build="thin_alexnet:thin_alexnet"))
