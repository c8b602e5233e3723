"""A matplotlib figure as inline SVG that takes its colours and fonts from the page around it.

Figures are drawn in the page's light colours, each of which becomes a CSS variable: one drawing serves light, dark
and print, and files of its own (``picture.py``). The colours of policies are Okabe and Ito's
(https://jfly.uni-koeln.de/color), distinguishable for colour-blind readers, with a dash pattern and a marker each,
for print in gray.
"""

import io
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

import matplotlib as mpl
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from clr_hpc.reporting.stats.bootstrap import Interval

INK, MUTED, GRID, BAR = "#1b1f24", "#5a636e", "#e3e6ea", "#3f6e9a"
_OF_POLICIES = ("#0072b2", "#d55e00", "#008a64", "#b4578c", "#a87300", "#2b3137", "#3390c4")
POLICY_COLOURS = len(_OF_POLICIES)
VARIABLES = {INK: "ink", MUTED: "muted", GRID: "grid", BAR: "accent"} | {
    colour: f"policy-{number}" for number, colour in enumerate(_OF_POLICIES)
}
"""The CSS variable of each colour, whose light value in report.css it is."""
_DASHES = ("-", "--", "-.", (0, (1, 1.2)), (0, (6, 1.5, 1, 1.5, 1, 1.5)), (0, (9, 3)), (0, (3, 1)))
_MARKERS = ("o", "s", "^", "D", "v", "P", "X")
_SPARE_DIGITS = re.compile(r"(\d\.\d)\d+")
"""A tenth of a pixel is all that a screen shows; matplotlib writes six digits."""
_STYLE = {
    "svg.fonttype": "none",
    "font.family": ["sans-serif", "DejaVu Sans"],  # of letters that the first lacks, those of the second are taken
    "font.size": 12,
    "text.color": INK,
    "axes.edgecolor": MUTED,
    "axes.facecolor": "none",
    "axes.labelcolor": INK,
    "axes.linewidth": 0.8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlelocation": "left",
    "axes.titlesize": 13,
    "axes.titleweight": "bold",
    "axes.axisbelow": True,
    "figure.facecolor": "none",
    "grid.color": GRID,
    "grid.linewidth": 0.8,
    "xtick.color": MUTED,
    "xtick.labelcolor": INK,
    "ytick.color": MUTED,
    "ytick.labelcolor": INK,
    "lines.linewidth": 1.8,
    "legend.frameon": False,
}


@dataclass(frozen=True, slots=True)
class ArmStyle:
    """How one arm is drawn, everywhere."""

    colour: str
    dash: object
    marker: str


def arm_styles(arms: Mapping[str, str]) -> dict[str, ArmStyle]:
    """Give each arm a colour by its policy, and a dash pattern and a marker of its own.

    Args:
        arms: the policy of each arm. Arms of one policy, such as a baseline and its control, share the colour and
            differ in the rest; beyond seven policies, colours return.
    """
    policies = list(dict.fromkeys(arms.values()))
    several_arms_of_a_policy = len(policies) < len(arms)
    styles = {}
    of_policy: Counter[str] = Counter()
    for position, (arm, policy) in enumerate(arms.items()):
        place = policies.index(policy)
        colour, lap = place % POLICY_COLOURS, position // POLICY_COLOURS
        dash = of_policy[policy] if several_arms_of_a_policy else position + lap
        of_policy[policy] += 1
        marker = _MARKERS[(position + lap) % POLICY_COLOURS]
        styles[arm] = ArmStyle(_OF_POLICIES[colour], _DASHES[dash % POLICY_COLOURS], marker)
    return styles


def drawing_style() -> dict[str, object]:
    """Return the rc parameters under which figures are drawn."""
    return dict(_STYLE)


def to_svg(figure: Figure, key: str, description: str) -> Markup:
    """Return ``figure`` as an ``<svg>`` element for the middle of a page.

    Args:
        figure: drawn under ``drawing_style``.
        key: unlike that of any other figure of the page: ids in the SVG are made of it.
        description: what a screen reader reads out.
    """
    buffer = io.StringIO()
    nothing = dict.fromkeys(("Creator", "Date", "Format", "Type"))
    with mpl.rc_context({**_STYLE, "svg.hashsalt": key}):
        figure.savefig(buffer, format="svg", metadata=nothing)
    text = buffer.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<style.*?</style>", "", text, count=1, flags=re.DOTALL)
    text = re.sub(r"<g id=\"[^\"]*\"", "<g", text)
    text = re.sub(r"font(-family)?: ([^;\"]*?)[^;\"]*'DejaVu Sans'[^;\"]*", _font_without_family, text)
    text = re.sub(r" (d|x|y|transform)=\"[^\"]*\"", lambda match: _SPARE_DIGITS.sub(r"\1", match[0]), text)
    text = re.sub(r"\s*\n\s*", " ", text).replace("> <", "><")
    for colour, variable in VARIABLES.items():
        text = text.replace(colour, f"var(--{variable})")
    _, _, inside = text.partition(">")
    width, height = (72 * inches for inches in figure.get_size_inches())
    # matplotlib's own <svg> tag fixes the size in points and declares what HTML knows
    opening = (
        f'<svg viewBox="0 0 {width:g} {height:g}" style="max-width: {width:g}px" role="img" '
        f'aria-label="{escape(description)}">'
    )
    return Markup(opening + inside.strip())


def _font_without_family(match: re.Match[str]) -> str:
    """Keep size and weight of a font and leave its family to the page."""
    size = re.search(r"[\d.]+px", match[0])
    weight = re.search(r"\b(\d{3}|bold)\b", match[0])
    parts = [f"font-size: {size[0]}" if size else "", f"font-weight: {weight[0]}" if weight else ""]
    return "; ".join(part for part in parts if part)


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
    """Draw a short piece of each arm's line; ``section`` keeps the ids of several legends apart."""
    swatches = {}
    with mpl.rc_context(drawing_style()):
        for policy, style in styles.items():
            figure = Figure(figsize=(44 / POINTS, 12 / POINTS))
            # without axes, which take five times as long
            figure.add_artist(Line2D((0, 1), (0.5, 0.5), color=style.colour, linestyle=style.dash))
            dot = Line2D((0.5,), (0.5,), linestyle="", marker=style.marker, color=style.colour)
            dot.set(markersize=6, markeredgewidth=0)
            figure.add_artist(dot)
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

    Margins are fixed: figures side by side line up, and drawing takes half the time of a computed layout.
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
        style, line, group = styles[entry.contender], lines.index(entry.line), contenders[entry.line]
        y = line + (group.index(entry.contender) - (len(group) - 1) / 2) * step
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
