"""A heat map as a picture: the image, and next to it the same under the map, with the scale of its colours."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from numpy.typing import NDArray

from clr_hpc.inference.localisation import Box

COLOURS = "viridis"
"""Perceptually uniform, readable for colour-blind people, and without gray, which is the image's."""
MOST_COVERED = 0.6
"""Opacity of the hottest place; where there is no heat, the image shows as it is."""
SIDE, BAR, ABOVE = 3.6, 0.75, 0.4
"""Inches: of each picture, of the scale at the right, of the words above."""
DPI = 100


def save_overlay(
    path: Path,
    pixels: NDArray[np.uint8],
    heat: NDArray[np.float32],
    words: str,
    boxes: Sequence[Box] = (),
) -> None:
    """Draw an image and its heat map as PNG.

    Args:
        path: to write.
        pixels: ``(S, S)``.
        heat: ``(S, S)``; colours run from 0 to its maximum.
        words: above the pictures.
        boxes: in pixels of the image, drawn in both pictures.
    """
    wide, high = 2 * SIDE + BAR, SIDE + ABOVE
    figure = Figure(figsize=(wide, high), dpi=DPI)
    # no markup, and no letters that the font may lack
    text = words.encode("ascii", "replace").decode()
    figure.text(0.01, 1 - ABOVE / high / 2, text, parse_math=False, va="center", fontsize=9)
    relative = heat / (heat.max() or 1)
    for number in range(2):
        axes = figure.add_axes((number * SIDE / wide, 0, SIDE / wide, SIDE / high))
        axes.set_axis_off()
        axes.imshow(pixels, cmap="gray", vmin=0, vmax=255)
        _draw_boxes(axes, boxes)
    axes.imshow(relative, cmap=COLOURS, vmin=0, vmax=1, alpha=MOST_COVERED * relative)
    bar = figure.add_axes(((2 * SIDE + 0.12) / wide, 0.1, 0.12 / wide, 0.65))
    figure.colorbar(ScalarMappable(Normalize(0, 1), COLOURS), cax=bar, ticks=[0, 0.5, 1])
    bar.tick_params(labelsize=7)
    bar.set_title("of its\nmaximum", fontsize=7, loc="left")
    figure.savefig(path, format="png")


def _draw_boxes(axes: Axes, boxes: Sequence[Box]) -> None:
    for left, top, width, height in boxes:
        # pixel 0 lies around 0 in matplotlib, and between 0 and 1 in a box
        for colour, line in (("black", 2.5), ("white", 1.2)):
            axes.add_patch(
                Rectangle((left - 0.5, top - 0.5), width, height, fill=False, edgecolor=colour, linewidth=line)
            )
