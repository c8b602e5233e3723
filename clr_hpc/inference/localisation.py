"""How well a heat map finds a box: pointing game, share of heat inside, overlap, each next to its chance."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

THRESHOLD = 0.5
"""Of a map's maximum; the region from there on is compared with the box."""
Floats = NDArray[np.float32]
Mask = NDArray[np.bool_]
Box = tuple[float, float, float, float]
"""Left, top, width and height in pixels."""


@dataclass(frozen=True)
class Localised:
    """One map against one mask, each figure in [0, 1]."""

    pointing: float
    """Whether the hottest place lies inside (pointing game, Zhang et al. 2018, arXiv:1608.00507, without a
    tolerance). Of several equally hot pixels, the share that does."""
    inside: float
    """Share of all heat that lies inside."""
    overlap: float
    """Intersection over union with the region from ``THRESHOLD`` of the maximum on."""


@dataclass(frozen=True)
class Chance:
    """What maps that know nothing of the image would come to."""

    area: float
    """Share of the image inside: what a random place, and heat spread evenly, come to."""
    overlap: float
    """Mean overlap of the map's region laid anywhere, over all shifts by rows and columns. What leaves the image
    on one side enters it on the other."""
    centre: float
    """What always pointing at the middle of the image comes to."""


def mask_of(boxes: Iterable[Box], size: int) -> Mask:
    """Return ``(size, size)``: the pixels whose centres lie in one of the boxes."""
    mask = np.zeros((size, size), bool)
    centres = np.arange(size) + 0.5
    for left, top, width, height in boxes:
        rows = (centres >= top) & (centres < top + height)
        columns = (centres >= left) & (centres < left + width)
        mask |= rows[:, None] & columns
    return mask


def localise(heat: Floats, mask: Mask) -> Localised:
    """Measure a map ``(S, S)`` against a mask ``(S, S)``.

    A map without heat is as good as one of the same heat everywhere, which comes to chance.
    """
    if not heat.any():
        heat = np.ones_like(heat)
    region = _region(heat)
    return Localised(
        pointing=float(mask[heat == heat.max()].mean()),
        inside=min(1.0, float(heat[mask].sum(dtype=np.float64) / heat.sum(dtype=np.float64))),
        overlap=float((region & mask).sum() / (region | mask).sum()),
    )


def chance(heat: Floats, mask: Mask) -> Chance:
    """Return what chance comes to for a map ``(S, S)`` and a mask ``(S, S)``."""
    region = _region(heat)
    # of every shift at once, by Fourier transforms
    common = np.fft.irfft2(np.fft.rfft2(region).conj() * np.fft.rfft2(mask), mask.shape).round()
    overlap = float((common / (region.sum() + mask.sum() - common)).mean())
    middle = slice((len(mask) - 1) // 2, len(mask) // 2 + 1)
    return Chance(float(mask.mean()), overlap, float(mask[middle, middle].mean()))


def rank_correlation(one: Floats, other: Floats) -> float | None:
    """Return Spearman's rank correlation of maps ``(rows, columns)``; None where one is the same everywhere."""
    from scipy.stats import spearmanr

    if np.ptp(one) == 0 or np.ptp(other) == 0:
        return None
    return float(spearmanr(one.ravel(), other.ravel()).statistic)


def _region(heat: Floats) -> Mask:
    region: Mask = heat >= THRESHOLD * heat.max()
    return region
