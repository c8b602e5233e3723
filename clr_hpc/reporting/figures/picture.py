"""A figure of the report: in the page, and as an SVG and a PDF file that a paper can include.

The files stand alone: their colours are the page's light ones, their legend is inside, and they have a title. Text
stays text. An SVG names its font, with others for machines that don't have it; a PDF holds its letters as TrueType
fonts, which journals ask for.
"""

import io
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from html import escape
from typing import Any

import matplotlib as mpl
from markupsafe import Markup
from matplotlib.artist import Artist
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.transforms import Bbox

from clr_hpc.reporting.figures.fonts import FAMILY, small_family
from clr_hpc.reporting.figures.svg import LETTER, MUTED, POINTS, VARIABLES, Styles, drawing_style, to_svg

WRITER = "clr-hpc report"
"""Stands in each file, so that a later report knows which it may remove."""
Legend = Mapping[str, Mapping[str, Any]]
"""By its name, how matplotlib draws an entry's line."""
ROW, EDGE, SWATCH, GAP, SPACE = 20.0, 12.0, 44.0, 7.0, 22.0
"""Pixels of a legend: height of a row, margins, line of an entry, space before its name and after it."""


def legend_of(styles: Styles, shown: Iterable[str]) -> Legend:
    """Return the legend of the arms that a figure shows, in the order of ``styles``."""
    drawn = set(shown)
    return {
        arm: {"color": style.colour, "linestyle": style.dash, "marker": style.marker, "linewidth": 1.8}
        for arm, style in styles.items()
        if arm in drawn
    }


def gray(linestyle: str, linewidth: float = 1) -> Mapping[str, Any]:
    """Return the entry of a line that belongs to no arm."""
    return {"color": MUTED, "linestyle": linestyle, "linewidth": linewidth}


@dataclass(frozen=True)
class Picture:
    """A figure, drawn under ``drawing_style``, and what is said of it."""

    figure: Figure
    key: str
    """Unlike that of any other figure of the report: ids and the names of files are made of it."""
    title: str
    details: str = ""
    legend: Legend = field(default_factory=dict)
    """What the files say of its lines; the page has one legend for all figures of a section."""

    @cached_property
    def inline(self) -> Markup:
        """The figure as an element of the page."""
        return to_svg(self.figure, self.key, "; ".join(filter(None, (self.title, self.details))))

    def __html__(self) -> str:
        """Return what templates insert."""
        return self.inline

    def svg(self) -> str:
        """Return the text of a file."""
        width, height, below = self._sizes
        body = _inside(self.inline)
        if self.legend:
            with mpl.rc_context(drawing_style()):
                drawn = Figure(figsize=(width / POINTS, below / POINTS))
                _draw(self.legend, drawn, width, below)
            body += (
                f'\n<g transform="translate(0 {height:g})">{_inside(to_svg(drawn, f"legend {self.key}", ""))}</g>'
            )
        for colour, variable in VARIABLES.items():
            body = body.replace(f"var(--{variable})", colour)
        size = f"{width:g} {height + below:g}"
        across, down = size.split()
        return (
            '<?xml version="1.0" encoding="UTF-8"?>\n'
            f"<!-- {WRITER} -->\n"
            '<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" '
            f'width="{across}" height="{down}" viewBox="0 0 {size}" font-family="{FAMILY}" '
            'stroke-linejoin="round" role="img" aria-labelledby="title desc">\n'
            f'<title id="title">{escape(self.title)}</title>\n<desc id="desc">{escape(self._described)}</desc>\n'
            f'<rect width="{across}" height="{down}" fill="#ffffff"/>\n{body}\n</svg>\n'
        )

    def pdf(self) -> bytes:
        """Return the content of a file."""
        width, height, below = self._sizes
        buffer = io.BytesIO()
        style = drawing_style() | {"pdf.fonttype": 42, "font.sans-serif": [small_family()]}
        about = {"Title": self.title, "Subject": self._described, "Creator": WRITER, "CreationDate": None}
        self.inline  # noqa: B018  # of the figure without the legend
        with mpl.rc_context(style):
            added = _draw(self.legend, self.figure, width, 0)
            page = Bbox.from_bounds(0, -below / POINTS, width / POINTS, (height + below) / POINTS)
            self.figure.savefig(buffer, format="pdf", bbox_inches=page, metadata=about)
        for artist in added:
            artist.remove()
        return buffer.getvalue()

    @property
    def _sizes(self) -> tuple[float, float, float]:
        """Width, height of the figure and height of the legend below it, in pixels."""
        width, height = (POINTS * float(inches) for inches in self.figure.get_size_inches())
        if not self.legend:
            return width, height, 0
        widest = max(map(_width, self.legend)) + 2 * EDGE - SPACE
        width = max(width, widest)
        rows = _places(self.legend, width)[-1][1] + 1
        return width, height, rows * ROW + EDGE

    @property
    def _described(self) -> str:
        names = f"Legend: {', '.join(self.legend)}" if self.legend else ""
        return ". ".join(filter(None, (self.details, names)))


def _inside(svg: str) -> str:
    """Return what an ``<svg>`` element holds."""
    return str(svg)[svg.index(">") + 1 : svg.rindex("</svg>")].strip()


def _width(name: str) -> float:
    return SWATCH + GAP + LETTER * len(name) + SPACE


def _places(legend: Legend, width: float) -> list[tuple[float, int]]:
    """Return for each entry its left edge and its row; entries follow each other like words."""
    places, left, row = [], EDGE, 0
    for name in legend:
        if left > EDGE and left + _width(name) - SPACE > width - EDGE:
            left, row = EDGE, row + 1
        places.append((left, row))
        left += _width(name)
    return places


def _draw(legend: Legend, figure: Figure, width: float, top: float) -> list[Artist]:
    """Add a legend to a figure, from ``top`` pixels above its bottom downwards, and return what was added."""
    added: list[Artist] = []
    across, down = (POINTS * float(inches) for inches in figure.get_size_inches())
    for (name, line), (left, row) in zip(legend.items(), _places(legend, width), strict=True):
        y = (top - ROW * (row + 0.5)) / down
        xs = [(left + part * SWATCH) / across for part in (0, 0.5, 1)]
        added.append(
            figure.add_artist(Line2D(xs, [y] * 3, markevery=[1], markersize=6, markeredgewidth=0, **line))
        )
        added.append(figure.text(xs[-1] + GAP / across, y, name, va="center_baseline"))
    return added
