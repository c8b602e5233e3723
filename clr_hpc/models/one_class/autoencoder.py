"""A convolutional autoencoder: what it has not learned to draw is anomalous."""

from collections.abc import Iterable
from itertools import pairwise
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d, interpolate, mse_loss, pad

from clr_hpc.config.task import Autoencoder
from clr_hpc.models.one_class.base import OneClassModel
from clr_hpc.models.one_class.structural_similarity import structural_similarity

CHANNELS = (32, 64, 128, 128)
"""After each halving of the sides."""
SMALLEST_SPREAD = 1e-3
"""Standard deviation below which an image stays blank: a quarter of a gray level with the usual normalisation."""
SIDE_DIVISOR = 2 ** len(CHANNELS)
DEVIATIONS = 6
"""Standard deviations of an image from black to white: SSIM's constants suit gray values from 0 to 1."""
SMALLEST_USUAL = 0.01
"""Share of the mean over places that is added to each: where training images are black, nothing is left over."""


class AutoencoderModel(OneClassModel):
    """Scores an image by what its reconstruction leaves out, on average over pixels.

    Each image is brought to mean 0 and variance 1 first: exposure is no anomaly, and errors grow with contrast.
    What is left out at a pixel is the squared error or 1 - SSIM (Bergmann et al. 2019, arXiv:1807.02011), which is
    also the loss. Where it is ``normalised``, scores divide it by what is left out there of training images.

    Fully convolutional: images of any side go through a code of 1/16 of it with ``code_channels`` channels. A side
    that 16 does not divide is padded at the right and bottom by mirroring, and the padding does not count.
    """

    fitted_buffers: ClassVar[tuple[str, ...]] = ("usual",)
    usual: Tensor
    """``(H, W)``: what is left out of training images on average, smoothed. Of normalised residuals only; empty
    before the first epoch's end, until when scores are not divided."""

    def __init__(self, method: Autoencoder, seed: int) -> None:
        """Draw the weights from ``seed``; the global generator is left as it was."""
        super().__init__()
        code_channels = method.code_channels
        self._residual, self.fits_scores = method.residual, method.normalised
        if method.normalised:
            self.register_buffer("usual", torch.empty(0))
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

    def losses(self, outputs: Tensor, images: Tensor, labels: Tensor) -> Tensor:  # noqa: ARG002
        """Return mean residuals ``(B,)`` over pixels, not normalised."""
        return self._residuals(outputs, images).mean(dim=(1, 2, 3))

    def scores(self, outputs: Tensor, images: Tensor) -> Tensor:
        """Return mean residuals ``(B,)`` over pixels."""
        return self._normalised(self._residuals(outputs, images)).mean(dim=(1, 2, 3))

    def heat(self, images: Tensor) -> Tensor:
        """Return what each place ``(B, H, W)`` adds to the score, smoothed; if normalised, less what is usual."""
        found = self._normalised(_smoothed(self._residuals(self(images), images))).squeeze(1)
        return (found - 1).clamp_min(0) if self.fits_scores else found

    @torch.no_grad()
    def fit_scores(self, batches: Iterable[Tensor]) -> None:
        """Learn what reconstructions of the training images ``(B, 1, H, W)`` leave out at each place."""
        total, count = torch.zeros(()), 0
        for images in batches:
            residuals = self._residuals(self(images), images)
            total = total.to(residuals.device, torch.float64) + residuals.sum(dim=0, dtype=torch.float64)
            count += len(images)
        usual = _smoothed((total / count).float())
        self.usual = (usual + SMALLEST_USUAL * usual.mean()).squeeze(0)

    def _residuals(self, outputs: Tensor, images: Tensor) -> Tensor:
        wanted = _standardised(images)
        if self._residual == "squared":
            return (outputs - wanted).square()
        return 1 - structural_similarity(outputs / DEVIATIONS + 0.5, wanted / DEVIATIONS + 0.5)

    def _normalised(self, residuals: Tensor) -> Tensor:
        return residuals / self.usual if self.fits_scores and len(self.usual) else residuals


def _smoothed(residuals: Tensor) -> Tensor:
    """Return means over squares of some 1/16 of the sides: ribs do not lie at the same pixel in all films."""
    reach = max(residuals.shape[-2:]) // (2 * SIDE_DIVISOR)
    return avg_pool2d(residuals, 2 * reach + 1, 1, reach, count_include_pad=False)


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
