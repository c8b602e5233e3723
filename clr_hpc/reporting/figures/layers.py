"""A drawing of a network from architecture.json: its layers, their shapes and parameters."""

from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.patches import Rectangle

from clr_hpc.reporting.figures.picture import Picture
from clr_hpc.reporting.figures.svg import BAR, INK, MUTED, drawing_style, new_figure

TALLEST, GAP = 150.0, 16.0
"""Pixels: the height of the input's box, and the space between boxes."""
SIZE, LINE = 10.5, 13.0
"""Of labels: letters and distance of lines."""
LETTER = 5.9
"""Pixels that a letter of a label takes, rounded up; labels run upwards below the boxes."""


def layers(network: Mapping[str, Any], architecture: str) -> Picture:
    """Draw one box per layer: as tall as its output's side (square root), as wide as its channels (logarithm)."""
    boxes = [
        {"kind": "Image", "output": network["input"], "parameters": None},
        *network["layers"],
    ]
    sides = [_side(box["output"]) for box in boxes]
    widths = [5 + 4.2 * float(np.log2(1 + box["output"][0])) for box in boxes]
    width = max(520.0, sum(widths) + GAP * (len(boxes) + 1))
    below = 16 + LETTER * max(len(line) for box in boxes for line in _label(box).split("\n"))
    with mpl.rc_context(drawing_style()):
        figure, axes = new_figure(width, 34 + TALLEST + below, bottom=0, left=0)
        axes.set_position((0, 0, 1, 1))
        axes.set_axis_off()
        axes.set_xlim(0, width)
        axes.set_ylim(-below, TALLEST + 34)
        left = GAP
        for box, side, wide in zip(boxes, sides, widths, strict=True):
            tall = max(4.0, TALLEST * float(np.sqrt(side / max(sides))))
            lower = (TALLEST - tall) / 2
            axes.add_patch(Rectangle((left, lower), wide, tall, facecolor=BAR, edgecolor="none", alpha=0.75))
            middle = left + wide / 2
            lines = _label(box).split("\n")
            for line, shift in zip(lines, (-LINE / 2, LINE / 2), strict=True):
                # anchored at its end, so that it meets the box in whatever font the page has
                axes.text(
                    middle + shift,
                    -8,
                    line,
                    rotation=90,
                    rotation_mode="anchor",
                    ha="right",
                    va="center",
                    size=SIZE,
                )
            left += wide + GAP
        axes.text(
            GAP, TALLEST + 14, f"{architecture}: {network['parameters']:,} parameters", color=INK, weight="bold"
        )
        axes.text(width - GAP, TALLEST + 14, "channels × height × width", color=MUTED, ha="right", fontsize=SIZE)
        described = "; ".join(_label(box).replace("\n", ", ") for box in boxes)
        return Picture(figure, f"layers {architecture}", f"Layers of {architecture}", described)


def _side(output: Sequence[int]) -> int:
    return output[1] if len(output) == 3 else 1


def _label(box: Mapping[str, Any]) -> str:
    shape = " × ".join(map(str, box["output"]))
    if box["parameters"] is None:
        return f"{box['kind']}\n{shape}"
    parameters = f", {box['parameters']:,} parameters" if box["parameters"] else ""
    return f"{box['kind']}\n{shape}{parameters}"
