"""The network that the authors of Deep SVDD train on CIFAR-10: small, and fit for small images."""

from itertools import pairwise

from torch import Tensor, nn

CHANNELS = (1, 32, 64, 128)
SIDE = 4
"""Of the map that the linear layer takes: that of images of 32 × 32, and the mean over places of larger ones."""


class LeNet(nn.Module):
    """Three convolutions of 5 × 5, each with batch norm, leaky ReLU and a pooling by 2, and a linear layer.

    Ruff et al. 2018, ICML, PMLR 80:4393-4402, section 4.3; with batch norm as in their code.
    """

    def __init__(self, num_classes: int) -> None:
        """Draw the weights."""
        super().__init__()
        layers: list[nn.Module] = []
        for inputs, outputs in pairwise(CHANNELS):
            layers += [
                nn.Conv2d(inputs, outputs, 5, padding=2),
                nn.BatchNorm2d(outputs, eps=1e-4),
                nn.LeakyReLU(),
                nn.MaxPool2d(2),
            ]
        self.features = nn.Sequential(*layers)
        self.pool = nn.AdaptiveAvgPool2d(SIDE)
        self.classifier = nn.Linear(CHANNELS[-1] * SIDE**2, num_classes)

    def forward(self, images: Tensor) -> Tensor:
        """Map images ``(B, 1, H, W)`` to ``(B, num_classes)``."""
        pooled: Tensor = self.pool(self.features(images))
        logits: Tensor = self.classifier(pooled.flatten(1))
        return logits
