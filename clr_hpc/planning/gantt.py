"""Gantt chart of a plan: one row per lane, one bar per run."""

import io
from collections import defaultdict
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

from clr_hpc.config.given_file import check_output
from clr_hpc.planning.plan import Plan, PlannedRun

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

FORMATS = (".png", ".svg", ".html")
COLOURS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00")
"""Okabe and Ito's, distinguishable for colour-blind readers; one per network."""
LIGHTER = {"pretrain": 0.0, "baseline": 0.0, "scratch": 0.0, "control": 0.45, "retrain": 0.45, "fit": 0.7}
"""How far the colour of each stage is mixed with white: what waits for a baseline is lighter."""
MOST_LABELLED = 60
"""Bars; more have no room for letters."""
MOST_PARTED = 200
"""Bars of a lane; lines between more would hide their colours."""
WIDTH_INCHES, ROW_INCHES = 11.0, 0.32
LOWEST_INCHES, TALLEST_INCHES = 1.0, 7.0
LETTER_INCHES = 0.075


def save_chart(plan: Plan, file: Path, title: str) -> None:
    """Draw a plan.

    Args:
        plan: with one run or more.
        file: to write; its ending says whether it is PNG, SVG, or a page with the SVG in it.
        title: stands above.

    Raises:
        UserError: the ending is another, or a folder is there.
        ValueError: nothing is planned.
    """
    check_output(file, FORMATS)
    if not plan.lanes:
        raise ValueError("nothing remains to be trained, so there is nothing to draw")
    figure = draw(plan, title)
    file.parent.mkdir(parents=True, exist_ok=True)
    if file.suffix.lower() == ".html":
        file.write_text(_page(figure, title))
    else:
        figure.savefig(file, dpi=150)


def draw(plan: Plan, title: str) -> "Figure":
    """Return the figure of a plan; see ``save_chart``."""
    from matplotlib.figure import Figure
    from matplotlib.patches import Patch

    rows = len(plan.lanes)
    height = min(max(rows * ROW_INCHES, LOWEST_INCHES), TALLEST_INCHES)
    figure = Figure(figsize=(WIDTH_INCHES, height + 1.5), layout="constrained")
    axes = figure.add_subplot()
    unit, unit_seconds = _unit(plan.makespan_seconds)
    colours = {cohort.network: COLOURS[place % len(COLOURS)] for place, cohort in enumerate(plan.cohorts)}
    _draw_bars(axes, plan, colours, unit_seconds)
    axes.axvline(plan.lower_bound_seconds / unit_seconds, color="black", linestyle=":", linewidth=1)
    axes.set_xlim(0, plan.makespan_seconds / unit_seconds * 1.01)
    axes.set_ylim(rows, 0)
    axes.set_xlabel(f"{unit} from the start of the lanes; dotted: lower bound of any plan")
    _name_rows(axes, plan)
    axes.spines[["top", "right"]].set_visible(False)
    axes.set_title(title, loc="left", fontsize=11)
    handles = [Patch(color=colour, label=network) for network, colour in colours.items()]
    if any(run.after for lane in plan.lanes for run in lane.runs):
        handles.append(Patch(color=_mixed("#555555", 0.45), label="lighter: starts from a baseline"))
    place = {"loc": "lower right", "bbox_to_anchor": (1.0, 1.0), "ncols": len(handles)}
    axes.legend(handles=handles, frameon=False, fontsize=8, handlelength=1.2, columnspacing=1.2, **place)
    return figure


def _draw_bars(axes: "Axes", plan: Plan, colours: dict[str, str], unit_seconds: float) -> None:
    from matplotlib.collections import LineCollection, PolyCollection

    bars: dict[str, list[Any]] = defaultdict(list)
    count = sum(len(lane.runs) for lane in plan.lanes)
    gap = 0.1 if len(plan.lanes) <= TALLEST_INCHES / ROW_INCHES else 0.0
    for row, lane in enumerate(plan.lanes):
        for run in lane.runs:
            left, right = run.start / unit_seconds, run.end / unit_seconds
            low, high = row + gap, row + 1 - gap
            colour = _mixed(colours[run.network], LIGHTER.get(run.stage, 0.0))
            bars[colour].append([(left, low), (left, high), (right, high), (right, low)])
            if count <= MOST_LABELLED:
                _label(axes, run, plan.makespan_seconds, unit_seconds, row)
    for colour, corners in bars.items():
        axes.add_collection(PolyCollection(corners, facecolors=colour, linewidths=0))
    if max(len(lane.runs) for lane in plan.lanes) <= MOST_PARTED:
        starts = [corner[:2] for corners in bars.values() for corner in corners]
        axes.add_collection(LineCollection(starts, colors="white", linewidths=0.5))


def _label(axes: "Axes", run: PlannedRun, makespan: float, unit_seconds: float, row: int) -> None:
    """Write into a bar what fits: task and stage, the task, or nothing."""
    room = int((run.end - run.start) / makespan * (WIDTH_INCHES - 2) / LETTER_INCHES)
    task = run.name.split(".")[0]
    text = next((text for text in (f"{task} {run.stage}", task) if len(text) <= room), "")
    ink = "white" if LIGHTER.get(run.stage, 0.0) == 0 else "black"
    axes.text(run.start / unit_seconds, row + 0.5, f" {text}", va="center", fontsize=8, color=ink, clip_on=True)


def _name_rows(axes: "Axes", plan: Plan) -> None:
    """Name each lane where there is room, else each stretch of lanes that have one shape."""
    if len(plan.lanes) <= TALLEST_INCHES / ROW_INCHES:
        names = [f"lane {number}: {lane.shape.text}" for number, lane in enumerate(plan.lanes)]
        axes.set_yticks([number + 0.5 for number in range(len(names))], names, fontsize=8)
        axes.tick_params(axis="y", length=0)
        return
    shapes = [lane.shape for lane in plan.lanes]
    starts = [row for row, shape in enumerate(shapes) if row == 0 or shape != shapes[row - 1]]
    middles = [(a + b) / 2 for a, b in zip(starts, [*starts[1:], len(shapes)], strict=True)]
    texts = [
        f"{end - start:,} lanes,\n{shapes[start].text}"
        for start, end in zip(starts, [*starts[1:], len(shapes)], strict=True)
    ]
    axes.set_yticks(middles, texts, fontsize=8)
    axes.tick_params(axis="y", length=0)
    for start in starts[1:]:
        axes.axhline(start, color="black", linewidth=0.5)


def _unit(seconds: float) -> tuple[str, float]:
    if seconds < 180:
        return "Seconds", 1.0
    return ("Minutes", 60.0) if seconds < 3 * 3600 else ("Hours", 3600.0)


def _mixed(colour: str, with_white: float) -> str:
    parts = [int(colour[place : place + 2], 16) for place in (1, 3, 5)]
    return "#" + "".join(f"{round(part + (255 - part) * with_white):02x}" for part in parts)


def _page(figure: "Figure", title: str) -> str:
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg")
    svg = buffer.getvalue()
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{escape(title)}</title>'
        "<style>body { margin: 1rem } svg { max-width: 100%; height: auto }</style></head>\n"
        f"<body>{svg[svg.index('<svg') :]}</body></html>\n"
    )
