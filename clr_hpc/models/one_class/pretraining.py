"""A network's weights from training it as the encoder of an autoencoder, as Ruff et al. 2018 start Deep SVDD."""

from collections.abc import Iterable

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate, mse_loss

LEARNING_RATE = 1e-4
"""As theirs; at 1e-3 AlexNet, which has no batch norm, ends up with outputs in the thousands."""
BATCH_SIZE = 32


class _Decoder(nn.Module):
    """Draws an image from a point."""

    def __init__(self, inputs: int, channels: int = 128) -> None:
        super().__init__()
        self.first = nn.Linear(inputs, channels * 16)
        self.blocks = nn.Sequential(
            *(_upsampling_block(channels >> i, channels >> (i + 1)) for i in range(4)),
            nn.Conv2d(channels >> 4, 1, 3, padding=1),
        )

    def forward(self, points: Tensor, side: int) -> Tensor:
        """Map points ``(B, inputs)`` to images ``(B, 1, side, side)``."""
        small = self.blocks(self.first(points).unflatten(1, (-1, 4, 4)))
        return interpolate(small, size=(side, side), mode="bilinear", align_corners=False)


def _upsampling_block(inputs: int, outputs: int) -> nn.Module:
    return nn.Sequential(
        nn.Upsample(scale_factor=2),
        nn.Conv2d(inputs, outputs, 3, padding=1, bias=False),
        nn.BatchNorm2d(outputs),
        nn.LeakyReLU(0.1),
    )


@torch.enable_grad()
def pretrain_as_encoder(
    encoder: nn.Module, outputs: int, batches: Iterable[Tensor], epochs: int, seed: int
) -> None:
    """Train an encoder together with a decoder, which is thrown away, by Adam on the mean squared error.

    Args:
        encoder: maps images ``(B, 1, side, side)`` to ``(B, outputs)``; it is trained in place.
        outputs: of the encoder.
        batches: training images, iterated once an epoch.
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
