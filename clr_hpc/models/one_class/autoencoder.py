"""A convolutional autoencoder: what it has not learned to draw is anomalous."""

from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn.functional import pad

from clr_hpc.models.one_class.one_class_model import OneClassModel

CHANNELS = (32, 64, 128, 128)
"""After each halving of the sides."""
SMALLEST_SPREAD = 1e-3
"""In the images' units: a quarter of a gray with the usual normalisation. A blank image stays blank."""
SIDE_DIVISOR = 2 ** len(CHANNELS)


class AutoencoderModel(OneClassModel):
    """Scores an image by the share of its pixels' variance that its reconstruction leaves out.

    Each image is brought to mean 0 and variance 1 first: exposure is no anomaly, and errors grow with contrast.

    Fully convolutional: images of any side go through a code of 1/16 of it with ``code_channels`` channels. A side
    that 16 does not divide is padded at the right and bottom by mirroring, and the padding does not count.
    """

    def __init__(self, code_channels: int, seed: int) -> None:
        """Draw the weights from ``seed``; the global generator is left as it was."""
        super().__init__()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.encoder = nn.Sequential(
                *(_halve(inputs, outputs) for inputs, outputs in pairwise((1, *CHANNELS))),
                nn.Conv2d(CHANNELS[-1], code_channels, 1),
            )
            back = (code_channels, *reversed(CHANNELS))
            self.decoder = nn.Sequential(
                *(_double(inputs, outputs) for inputs, outputs in pairwise(back)),
                nn.Conv2d(back[-1], 1, 3, padding=1),
            )

    def forward(self, images: Tensor) -> Tensor:
        """Map images ``(B, 1, H, W)`` to reconstructions ``(B, 1, H, W)`` of what ``_standardised`` gives."""
        height, width = images.shape[-2:]
        padded = pad(_standardised(images), (0, -width % SIDE_DIVISOR, 0, -height % SIDE_DIVISOR), mode="reflect")
        drawn: Tensor = self.decoder(self.encoder(padded))
        return drawn[..., :height, :width].float()

    def scores(self, outputs: Tensor, images: Tensor) -> Tensor:
        """Return mean squared errors ``(B,)`` over pixels."""
        return (outputs - _standardised(images)).square().mean(dim=(1, 2, 3))


def _standardised(images: Tensor) -> Tensor:
    spread, mean = torch.std_mean(images, dim=(1, 2, 3), keepdim=True)
    return (images - mean) / spread.clamp_min(SMALLEST_SPREAD)


def _halve(inputs: int, outputs: int) -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, 3, stride=2, padding=1, bias=False),
        nn.BatchNorm2d(outputs),
        nn.LeakyReLU(0.1),
    )


def _double(inputs: int, outputs: int) -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, 3, padding=1, bias=False),
        nn.BatchNorm2d(outputs),
        nn.LeakyReLU(0.1),
        nn.Upsample(scale_factor=2),
    )
