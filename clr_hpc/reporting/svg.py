"""A matplotlib figure as inline SVG that takes its colours and letters from the page around it.

Figures are drawn in stand-in colours, each of which becomes a CSS variable: one drawing serves light, dark and
print. The colours of policies are Okabe and Ito's (https://jfly.uni-koeln.de/color), told apart by
colour-blind readers, with a dash pattern and a marker each, for print in gray.
"""

import io
import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from html import escape

import matplotlib as mpl
from markupsafe import Markup
from matplotlib.figure import Figure

INK, MUTED, GRID, BAR = "#000101", "#000102", "#000103", "#000104"
_VARIABLES = {INK: "ink", MUTED: "muted", GRID: "grid", BAR: "accent"}
POLICY_COLOURS = 7
_DASHES = ("-", "--", "-.", (0, (1, 1.2)), (0, (6, 1.5, 1, 1.5, 1, 1.5)), (0, (9, 3)), (0, (3, 1)))
_MARKERS = ("o", "s", "^", "D", "v", "P", "X")
_SPARE_DIGITS = re.compile(r"(\d\.\d)\d+")
"""A tenth of a pixel is all that a screen shows; matplotlib writes six digits."""
_STYLE = {
    "svg.fonttype": "none",
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
    number: int
    """Of the CSS variable ``--policy-N``."""


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
        styles[arm] = ArmStyle(f"#0002{colour:02x}", _DASHES[dash % POLICY_COLOURS], marker, colour)
    return styles


def drawing_style() -> dict[str, object]:
    """Return the rc parameters under which figures are drawn."""
    return dict(_STYLE)


def to_svg(figure: Figure, key: str, description: str) -> Markup:
    """Return ``figure`` as an ``<svg>`` element for the middle of a page.

    Args:
        figure: drawn under ``drawing_style``.
        key: unlike that of any other figure of the page: ids in the SVG are made of it.
        description: what a screen reader says of the picture.
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
    text = re.sub(r"#0002([0-9a-f]{2})", lambda match: f"var(--policy-{int(match[1], 16)})", text)
    for colour, variable in _VARIABLES.items():
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
