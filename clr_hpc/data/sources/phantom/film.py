"""From what the beam lost to the gray film: position, exposure, noise, marker."""

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from clr_hpc.data.sources.phantom.canvas import FILM_PIXELS, MARGIN_PIXELS, Field

_LEVELS = 4096
_RANKING_REDUCTION = 4
_TYPICAL_FILM = (0, 0.04, 0.13, 0.22, 0.32, 0.42, 0.52, 0.61, 0.69, 0.77, 0.90)
"""The gray at the darkest 0, 10, ... 100 % of the pixels of a typical film."""
_LETTERS: dict[str, list[tuple[float, ...]]] = {
    "R": [(0, 4, 0, 0, 2, 0, 2, 2, 0, 2), (1, 2, 2, 4)],
    "L": [(0, 0, 0, 4, 2, 4)],
}
"""Polylines x, y, x, y, ... on a grid of 2 by 4."""


def expose(attenuation: Field, rng: np.random.Generator) -> NDArray[np.uint8]:
    """Return the film ``(FILM_PIXELS, FILM_PIXELS)`` that one exposure makes.

    As a digital detector's auto-ranging does, grays are given by rank: the film's histogram is drawn at random,
    apart from what it shows. So brightness, contrast and any other statistic of grays without their place says
    next to nothing about the findings.
    """
    film = _position(attenuation, rng)
    tone = _tone_curve(rng)
    # Averaging over blocks and giving grays don't commute; a second pass undoes most of what the first one missed.
    gray = _by_rank(_by_rank(film, tone), tone)
    dose = rng.lognormal(0.0, 0.5)
    grain = rng.standard_normal(film.shape, dtype=np.float32) * (0.4 + 0.6 * gray)
    developed = Image.fromarray(np.clip(255 * (gray + 0.03 / np.sqrt(dose) * grain), 0, 255).astype(np.uint8))
    _mark(developed, rng)
    return np.array(developed)


def _position(attenuation: Field, rng: np.random.Generator) -> Field:
    """Cut the film from the canvas: the patient is tilted, shifted and nearer or farther, all by a little."""
    angle, scale = rng.normal(0, 0.025), rng.uniform(0.96, 1.08)
    shift = rng.uniform(-6, 6, 2) + MARGIN_PIXELS + FILM_PIXELS / 2
    cos, sin, half = np.cos(angle) / scale, np.sin(angle) / scale, FILM_PIXELS / 2
    matrix = (cos, -sin, shift[0] - half * (cos - sin), sin, cos, shift[1] - half * (sin + cos))
    canvas = Image.fromarray(attenuation.astype(np.float32))
    size = (FILM_PIXELS, FILM_PIXELS)
    return np.asarray(canvas.transform(size, Image.Transform.AFFINE, matrix, Image.Resampling.BILINEAR))


def _by_rank(film: Field, tone: Field) -> Field:
    """Give each pixel the gray that ``tone`` has at its rank.

    Ranks are those of the film averaged over blocks: with single pixels, the texture of a flat region would spend
    grays that are lost again when the film is shrunk, and the shrunk film's histogram would tell how much is flat.
    """
    blocks = np.sort(np.asarray(Image.fromarray(film).reduce(_RANKING_REDUCTION)).ravel())
    levels = np.linspace(blocks[0], blocks[-1], _LEVELS)
    ranks = np.searchsorted(blocks, levels) * ((_LEVELS - 1) / len(blocks))
    nearest = (film - blocks[0]) * ((_LEVELS - 1) / (blocks[-1] - blocks[0]))
    gray: Field = tone[ranks.astype(np.intp)][np.clip(nearest, 0, _LEVELS - 1).astype(np.intp)]
    return gray


def _tone_curve(rng: np.random.Generator) -> Field:
    """Draw a film's gray, from 0 to 1, for each of ``_LEVELS`` ranks."""
    rank = np.linspace(0, 1, _LEVELS)
    typical = np.interp(rank, np.linspace(0, 1, len(_TYPICAL_FILM)), _TYPICAL_FILM)
    gamma, contrast, offset = rng.lognormal(0, 0.25), rng.uniform(0.8, 1.05), rng.uniform(0.0, 0.1)
    return (offset + contrast * typical**gamma).astype(np.float32)


def _mark(film: Image.Image, rng: np.random.Generator) -> None:
    """Draw the lead letter of the side in its corner, or none."""
    letter = ("R", "L", "")[rng.integers(3)]
    unit, margin = rng.uniform(2.0, 3.5), rng.uniform(6, 16)
    left = margin if letter == "R" else FILM_PIXELS - margin - 2 * unit
    pen = ImageDraw.Draw(film)
    for line in _LETTERS.get(letter, []):
        corners = [(left if i % 2 == 0 else margin) + unit * position for i, position in enumerate(line)]
        pen.line(corners, fill=235, width=2)
