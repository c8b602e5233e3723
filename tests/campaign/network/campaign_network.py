"""A network of some hundred weights: a run takes a second, and its checkpoints are written in no time."""

from typing import Any

from clr_hpc import Network

SMALL = Network("Small network", build="campaign_network:build", smallest_image_size=8)


def build(num_classes: int) -> Any:
    """Return one convolution with what else keeps a state or draws random numbers."""
    from torch import nn

    layers = nn.Conv2d(3, 4, 3, stride=2), nn.BatchNorm2d(4), nn.ReLU(), nn.AdaptiveAvgPool2d(4), nn.Flatten()
    return nn.Sequential(*layers, nn.Dropout(0.3), nn.Linear(64, num_classes))
