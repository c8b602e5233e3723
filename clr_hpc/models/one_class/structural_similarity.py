"""Structural similarity of two images at each place (Wang et al. 2004, doi:10.1109/TIP.2003.819861)."""

import torch
from torch import Tensor
from torch.nn.functional import conv2d, pad

WINDOW, SIGMA = 11, 1.5
"""Side and standard deviation of the Gaussian window, in pixels, as the authors have them."""
C1, C2 = 0.01**2, 0.03**2
"""Of the authors, for gray values from 0 to 1."""


def structural_similarity(one: Tensor, other: Tensor) -> Tensor:
    """Return the similarity ``(B, 1, H, W)`` of images ``(B, 1, H, W)``, at most 1 (their equation 13).

    Gray values lie between 0 and 1. At the rim images are mirrored. Computed in float32 also under autocast: a
    variance is the difference of two numbers that are nearly the same.

    Raises:
        RuntimeError: a side has fewer than six pixels.
    """
    with torch.autocast(one.device.type, enabled=False):
        # variances are differences, and these lose fewer digits around 0
        x, y = one.float() - 0.5, other.float() - 0.5
        mean_x, mean_y, square_x, square_y, product = _blurred(torch.cat([x, y, x * x, y * y, x * y], dim=1))
        variances = square_x - mean_x**2 + square_y - mean_y**2
        structure = (2 * (product - mean_x * mean_y) + C2) / (variances + C2)
        mean_x, mean_y = mean_x + 0.5, mean_y + 0.5
        return structure * (2 * mean_x * mean_y + C1) / (mean_x**2 + mean_y**2 + C1)


def _blurred(images: Tensor) -> tuple[Tensor, ...]:
    """Return the weighted means ``(B, 1, H, W)`` over windows of each channel of images ``(B, C, H, W)``."""
    distances = torch.arange(WINDOW, dtype=torch.float32, device=images.device) - WINDOW // 2
    weights = torch.exp(-0.5 * (distances / SIGMA) ** 2)
    weights = (weights / weights.sum()).expand(images.shape[1], 1, 1, WINDOW)
    padded = pad(images, (WINDOW // 2,) * 4, mode="reflect")
    rows = conv2d(padded, weights, groups=images.shape[1])
    return torch.split(conv2d(rows, weights.mT, groups=images.shape[1]), 1, dim=1)
