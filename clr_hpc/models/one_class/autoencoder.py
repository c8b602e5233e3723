"""A convolutional autoencoder: what it has not learned to draw is anomalous."""

from collections.abc import Iterable
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate, mse_loss, pad

from clr_hpc.models.one_class.base import OneClassModel

CHANNELS = (32, 64, 128, 128)
"""After each halving of the sides."""
SMALLEST_SPREAD = 1e-3
"""Standard deviation below which an image stays blank: a quarter of a gray level with the usual normalisation."""
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
                *(nn.Sequential(*_convolution(*pair, stride=2)) for pair in pairwise((1, *CHANNELS))),
                nn.Conv2d(CHANNELS[-1], code_channels, 1),
            )
            back = (code_channels, *reversed(CHANNELS))
            self.decoder = nn.Sequential(
                *(nn.Sequential(*_convolution(*pair), nn.Upsample(scale_factor=2)) for pair in pairwise(back)),
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


def _convolution(inputs: int, outputs: int, stride: int = 1) -> tuple[nn.Module, ...]:
    convolution = nn.Conv2d(inputs, outputs, 3, stride=stride, padding=1, bias=False)
    return convolution, nn.BatchNorm2d(outputs), nn.LeakyReLU(0.1)


LEARNING_RATE = 1e-4
"""The authors' rate; at 1e-3 AlexNet, which has no batch norm, ends with outputs in the thousands."""
BATCH_SIZE = 32


class _Decoder(nn.Module):
    """Draws an image from a point."""

    def __init__(self, inputs: int, channels: int = 128) -> None:
        super().__init__()
        self.first = nn.Linear(inputs, channels * 16)
        self.blocks = nn.Sequential(
            *(
                nn.Sequential(nn.Upsample(scale_factor=2), *_convolution(channels >> i, channels >> (i + 1)))
                for i in range(4)
            ),
            nn.Conv2d(channels >> 4, 1, 3, padding=1),
        )

    def forward(self, points: Tensor, side: int) -> Tensor:
        """Map points ``(B, inputs)`` to images ``(B, 1, side, side)``."""
        small = self.blocks(self.first(points).unflatten(1, (-1, 4, 4)))
        return interpolate(small, size=(side, side), mode="bilinear", align_corners=False)


@torch.enable_grad()
def pretrain_as_encoder(
    encoder: nn.Module, outputs: int, batches: Iterable[Tensor], epochs: int, seed: int
) -> None:
    """Train an encoder together with a decoder, which is thrown away, by Adam on the mean squared error.

    Args:
        encoder: maps images ``(B, 1, side, side)`` to ``(B, outputs)``; it is trained in place.
        outputs: of the encoder.
        batches: training images, iterated once per epoch.
        epochs: how often.
        seed: of the decoder's weights, the order of images and dropout; the global generator is left as it was.
    """
    device = next(encoder.parameters()).device
    encoder.train()
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        decoder = _Decoder(outputs).to(device)
        optimizer = torch.optim.Adam([*encoder.parameters(), *decoder.parameters()], LEARNING_RATE)
        for _ in range(epochs):
            for batch in (batch for batch in batches if len(batch) > 1):
                order = torch.randperm(len(batch)).to(device)
                # chunk rather than split, and no batch of one: batch norm can't take a single image
                for images in batch[order].chunk(max(1, len(batch) // BATCH_SIZE)):
                    loss = mse_loss(decoder(encoder(images), images.shape[-1]), images)
                    optimizer.zero_grad(set_to_none=True)
                    loss.backward()  # type: ignore[no-untyped-call]
                    optimizer.step()
