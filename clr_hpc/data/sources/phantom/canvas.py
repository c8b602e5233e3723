"""The sheet that everything is drawn on: coordinates, soft edges, smooth noise and strokes.

Positions are ``(u, v)``: ``u`` runs from the image's left to its right, ``v`` from top to bottom, and the film
covers -1 to 1 in both. The canvas is larger than the film by a margin, so that a tilted patient still fills it.
One unit is about 20 cm. The patient's right side lies on the image's left, as on every frontal film.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

Field = NDArray[np.floating[Any]]
"""A gray field on the canvas, ``(CANVAS_PIXELS, CANVAS_PIXELS)``, or a row or column that broadcasts to it."""
Strokes = Sequence[tuple[Field, float, float]]
"""Polylines: points ``(N, 2)`` as (u, v), width in units, strength from 0 to 1."""

FILM_PIXELS = 256
MARGIN_PIXELS = 16
CANVAS_PIXELS = FILM_PIXELS + 2 * MARGIN_PIXELS
PIXELS_PER_UNIT = FILM_PIXELS / 2
_OVERSAMPLING = 2

_axis = ((np.arange(CANVAS_PIXELS, dtype=np.float32) + 0.5) - CANVAS_PIXELS / 2) / np.float32(PIXELS_PER_UNIT)
U: Field = _axis[None, :]
V: Field = _axis[:, None]
U.flags.writeable = V.flags.writeable = False


def above(value: Field, softness: float = 0.012) -> Field:
    """Return 1 where ``value`` is above 0, 0 where it is below, and a ramp 2 × ``softness`` wide between them."""
    ramp = value * (0.5 / softness)
    ramp += 0.5
    return np.clip(ramp, 0, 1, out=ramp)


def ellipse(u: float, v: float, half_width: float, half_height: float, softness: float = 0.012) -> Field:
    """Return 1 inside the ellipse around ``(u, v)`` and 0 outside; the edge is ``softness`` wide."""
    radius = np.sqrt(((U - u) / half_width) ** 2 + ((V - v) / half_height) ** 2)
    return above((1 - radius) * min(half_width, half_height), softness)


def blob(u: float, v: float, half_width: float, half_height: float) -> Field:
    """Return a Gaussian bump of height 1 around ``(u, v)``."""
    across: Field = np.exp(-(((U - u) / half_width) ** 2))
    down: Field = np.exp(-(((V - v) / half_height) ** 2))
    return across * down


def smooth_noise(rng: np.random.Generator, cells: int) -> Field:
    """Return noise of about unit variance whose grains are as wide as the canvas / ``cells``."""
    coarse = Image.fromarray(rng.standard_normal((cells, cells), dtype=np.float32))
    return np.asarray(coarse.resize((CANVAS_PIXELS, CANVAS_PIXELS), Image.Resampling.BICUBIC))


def draw_strokes(strokes: Strokes) -> Field:
    """Return the strokes as a field from 0 to 1, antialiased. Later strokes cover earlier ones."""
    scale = PIXELS_PER_UNIT * _OVERSAMPLING
    sheet = Image.new("L", (CANVAS_PIXELS * _OVERSAMPLING,) * 2)
    pen = ImageDraw.Draw(sheet)
    for points, width, strength in strokes:
        corners = (points * scale + CANVAS_PIXELS * _OVERSAMPLING / 2).ravel().tolist()
        pen.line(corners, fill=round(255 * strength), width=max(1, round(width * scale)), joint="curve")
    return np.asarray(sheet.reduce(_OVERSAMPLING), dtype=np.float32) / np.float32(255)
