"""``fit_square`` and ``prepare`` as operations that an exported graph can hold, for images of any shape.

Pillow's arithmetic is done again, so that squares are the same bytes: the mean over the pixels whose centres lie
in a box, first along rows and then along columns, each rounded to a gray level; or, where a square is shrunk by a
whole number, the mean over both at once. Sums of whole numbers are exact in float32, so windows are matrices of 0
and 1, and only the division is done in float64.
"""

import torch
from torch import Tensor, nn

from clr_hpc.config.run import Normalisation

ONE = float(1 << 22)
"""Pillow's weights are fractions of this (its ``PRECISION_BITS`` for 8 bits a pixel)."""


class FitSquare(nn.Module):
    """Maps uint8 ``(N, H, W)`` to whole gray levels ``(N, size, size)`` float32, as ``fit_square`` does.

    Where an image is more than twice as high as wide, some versions of Pillow begin with the columns; a few pixels
    in a hundred then differ by one gray level.
    """

    def __init__(self, size: int) -> None:
        """Fit images into squares of ``size`` pixels a side."""
        super().__init__()
        self.size = size

    def forward(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        """Return the squares, and whether the images are as large as ``fit_square`` asks for: bool ``()``."""
        height, width = (_number(side) for side in pixels.shape[1:])
        longer = torch.maximum(height, width)
        rows, part_of_rows = self._windows(pixels.shape[1], height, longer)
        columns, part_of_columns = self._windows(pixels.shape[2], width, longer)
        sums = torch.matmul(pixels.float(), columns.T)
        across = _rounded(sums.double() * part_of_columns / ONE).float()
        resized, total = torch.matmul(rows, torch.stack([across, sums])).double().unbind()
        resized = _rounded(resized * part_of_rows[:, None] / ONE)
        factor = torch.round(longer / self.size)
        is_reduced = (height == width) & (factor * self.size == longer)
        return torch.where(is_reduced, _mean_of_blocks(total, factor), resized).float(), longer >= self.size

    def _windows(self, pixels: int, length: Tensor, longer: Tensor) -> tuple[Tensor, Tensor]:
        """Return which pixels each of the square's takes, along one side.

        Args:
            pixels: along this side of the image.
            length: the same as a tensor ``()`` float64.
            longer: the longer side.

        Returns:
            ``(size, pixels)`` float32, 0 or 1, all 0 in the black border; and the weight of each, ``(size,)``
            float64 in parts of ``ONE``.
        """
        fitted = torch.clamp(torch.round(length * self.size / longer), min=1.0)
        border = torch.floor((self.size - fitted) / 2)
        own = torch.arange(self.size, dtype=torch.float64)[:, None] - border
        at = torch.arange(pixels, dtype=torch.float64)
        scale = length / fitted
        support = torch.clamp(scale, min=1.0)
        centre = (own + 0.5) * scale
        begin = torch.floor(torch.clamp(centre - support / 2 + 0.5, min=0.0))
        end = torch.floor(centre + support / 2 + 0.5)
        distance = (at - centre + 0.5) * (1.0 / support)
        is_in_box = (at >= begin) & (at < end) & (distance > -0.5) & (distance <= 0.5)
        taken = (is_in_box & (own >= 0) & (own < fitted)).float()
        count = torch.clamp(taken.sum(dim=1).double(), min=1.0)
        return taken, _rounded(ONE / count)


class Prepare(nn.Module):
    """Maps gray levels ``(N, S, S)`` to inputs ``(N, 1, image_size, image_size)``, as ``prepare`` does."""

    averages: Tensor | None

    def __init__(self, size: int, image_size: int, normalisation: Normalisation) -> None:
        """Shrink squares of ``size`` to ``image_size`` by averaging areas, and normalise."""
        super().__init__()
        self.register_buffer("averages", None if size == image_size else _averages(size, image_size))
        self.scale = 1 / (255 * normalisation.std)
        self.offset = -normalisation.mean / normalisation.std

    def forward(self, squares: Tensor) -> Tensor:
        """Return the input of a network."""
        if self.averages is not None:
            squares = torch.matmul(torch.matmul(self.averages, squares), self.averages.T)
        return squares.unsqueeze(1) * self.scale + self.offset


def _averages(size: int, image_size: int) -> Tensor:
    """Return ``(image_size, size)``: rows that average what torch's ``area`` interpolation averages."""
    first = torch.arange(image_size) * size // image_size
    last = -(-(torch.arange(image_size) + 1) * size // image_size)
    at = torch.arange(size)
    taken = ((at >= first[:, None]) & (at < last[:, None])).double()
    return (taken / taken.sum(dim=1, keepdim=True)).float()


def _number(side: int) -> Tensor:
    """Return a side that is known only when the graph is run, as float64 ``()``."""
    return torch.scalar_tensor(side, dtype=torch.float64)


def _rounded(values: Tensor) -> Tensor:
    """Round to the nearest whole number, halves up."""
    return torch.floor(values + 0.5)


def _mean_of_blocks(total: Tensor, factor: Tensor) -> Tensor:
    """Divide sums over ``factor`` × ``factor`` pixels as Pillow's ``reduce`` does: by a fraction of 24 bits."""
    pixels = factor * factor
    fraction = torch.floor(2.0**32 / (256 * pixels).float()).double()
    return torch.floor((total + torch.floor(pixels / 2)) * fraction / 2.0**24)
