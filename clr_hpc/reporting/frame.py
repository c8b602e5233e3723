"""What all pictures share: their sizes and margins, a legend, and lines of dots with intervals."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib as mpl
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from clr_hpc.reporting.statistics import Interval
from clr_hpc.reporting.svg import GRID, MUTED, ArmStyle, drawing_style, to_svg

POINTS = 72
"""An inch holds this many points; a point of a figure is a pixel of the page."""
LEFT_MARGIN_OF_NUMBERS = 62
LETTER = 6.9
"""Pixels that a letter of a name takes, on average and rounded up."""
Styles = Mapping[str, ArmStyle]


@dataclass(frozen=True, slots=True)
class Dot:
    """One number with its interval in a line of a figure of dots."""

    line: str
    contender: str
    value: float
    """NaN: no dot."""
    interval: Interval | None
    mark: float | None = None
    """Where a gray mark stands, for comparison."""
    gap: str = ""
    """Written into a line of which no dot has a value."""


def legend(styles: Styles, section: str) -> dict[str, Markup]:
    """Draw a short piece of each arm's line; ``section`` keeps the pictures of several legends apart."""
    swatches = {}
    with mpl.rc_context(drawing_style()):
        for policy, style in styles.items():
            figure = Figure(figsize=(44 / POINTS, 12 / POINTS))
            axes = figure.add_axes((0, 0, 1, 1))
            axes.set_axis_off()
            axes.set_xlim(-1, 1)
            axes.plot((-1, 1), (0, 0), color=style.colour, linestyle=style.dash)
            axes.plot(0, 0, style.marker, color=style.colour, markersize=6, markeredgewidth=0)
            swatches[policy] = to_svg(figure, f"legend {section} {policy}", f"Line of {policy}")
    return swatches


def new_figure(
    width: float,
    height: float,
    panels: tuple[int, ...] = (1,),
    bottom: float = 42,
    left: float = LEFT_MARGIN_OF_NUMBERS,
) -> tuple[Figure, Any]:
    """Return a figure and its axes, one above the other in the ratio of ``panels``; sizes are in pixels.

    Margins are fixed: pictures side by side line up, and drawing takes half the time of a computed layout.
    """
    figure = Figure(figsize=(width / POINTS, height / POINTS))
    grid = {
        "left": left / width,
        "right": 1 - 8 / width,
        "top": 1 - 26 / height,
        "bottom": bottom / height,
        "hspace": 0.32,
    }
    axes = figure.subplots(len(panels), 1, sharex=True, height_ratios=panels, gridspec_kw=grid)
    return figure, axes


def dots(entries: Sequence[Dot], styles: Styles, width: float = 540) -> tuple[Figure, Axes]:
    """Draw a line of dots for each of the entries' lines, those of several contenders one below the other."""
    lines = list(dict.fromkeys(entry.line for entry in entries))
    contenders = {
        line: list(dict.fromkeys(entry.contender for entry in entries if entry.line == line)) for line in lines
    }
    most = max(map(len, contenders.values()))
    line_height = max(26, 8 * most + 6)
    left = 16 + LETTER * max(map(len, lines))
    figure, axes = new_figure(width, 76 + line_height * len(lines), left=left)
    step = min(0.25, 0.56 / max(most - 1, 1))
    for entry in entries:
        style, line, beside = styles[entry.contender], lines.index(entry.line), contenders[entry.line]
        y = line + (beside.index(entry.contender) - (len(beside) - 1) / 2) * step
        axes.plot(entry.value, y, style.marker, color=style.colour, markersize=5.5, markeredgewidth=0)
        if entry.interval is not None:
            ends = (entry.interval.low, entry.interval.high)
            axes.plot(ends, (y, y), color=style.colour, linewidth=1.6, solid_capstyle="butt")
        if entry.mark is not None:
            axes.plot(entry.mark, line, "|", color=MUTED, markersize=16, markeredgewidth=1.5)
    for boundary in range(1, len(lines)):
        axes.axhline(boundary - 0.5, color=GRID, linewidth=0.8)
    axes.set_yticks(range(len(lines)), lines)
    axes.set_ylim(len(lines) - 0.5, -0.5)
    axes.grid(axis="x")
    axes.xaxis.set_major_locator(MaxNLocator(nbins=6, steps=[1, 2, 5, 10]))
    axes.tick_params(length=0)
    axes.spines["left"].set_visible(False)
    _name_gaps(axes, entries, lines)
    return figure, axes


def _name_gaps(axes: Axes, entries: Sequence[Dot], lines: Sequence[str]) -> None:
    """Write into the lines that have no dot why that is."""
    for y, line in enumerate(lines):
        group = [entry for entry in entries if entry.line == line]
        if all(entry.value != entry.value for entry in group):
            why = next((entry.gap for entry in group if entry.gap), "not done")
            axes.text(0.02, y, why, color=MUTED, va="center", transform=axes.get_yaxis_transform())
