"""The LR range tests of a study as figures and a table, in its report and on a page of their own."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import fmean
from typing import Any

import matplotlib as mpl
from markupsafe import Markup
from matplotlib.axes import Axes

from clr_hpc.config.network import network
from clr_hpc.config.optimizer import OPTIMIZERS
from clr_hpc.config.pathologies import title
from clr_hpc.reporting.figures.picture import Legend, Picture, gray, legend_of
from clr_hpc.reporting.figures.select import Drawing, keep_shown
from clr_hpc.reporting.figures.svg import MUTED, Styles, arm_styles, drawing_style, legend, new_figure
from clr_hpc.reporting.page.template import render_page, write_text
from clr_hpc.reporting.read.study import ReportError
from clr_hpc.reporting.tables.table import MISSING, Cell, Column, Table, tabulate
from clr_hpc.store import layout
from clr_hpc.store import study_files as store
from clr_hpc.store.records import Damaged

HIGHEST_DRAWN = 1.6
"""Of the untrained loss; above it the loss diverges."""


@dataclass(frozen=True, slots=True)
class RangeTests:
    """What is shown of a study's LR range tests."""

    table: Table
    drawings: Sequence[Drawing]
    legend: Mapping[str, Markup]
    """One line per seed."""


def write_page(folder: Path) -> Path:
    """Write ``range_tests.html`` next to a folder's ``range_tests.json``, and return its path.

    Raises:
        ReportError: the JSON is damaged.
        FileNotFoundError: it isn't there.
    """
    found = read_range_tests(folder)
    if found is None:
        raise FileNotFoundError(f"{folder} has no {layout.RANGE_TEST_RESULTS}; 'clr-hpc range-test' writes it")
    page = render_page("lr_range.html.jinja", heading=folder.name, summary="", range_tests=found)
    return write_text(folder / "range_tests.html", page)


def read_range_tests(study_folder: Path) -> RangeTests | None:
    """Read and draw the LR range tests of a study's folder; None where it has none.

    Raises:
        ReportError: the file is damaged.
    """
    found = store.read_range_tests(study_folder)
    if found is None:
        return None
    if isinstance(found, Damaged):
        raise ReportError(str(found))
    learners: list[dict[str, Any]] = [dict(learner) for learner in found["learners"]]
    try:
        return RangeTests(_table(learners), _drawings(learners), legend(_styles(learners), "range tests"))
    except (ValueError, KeyError) as error:  # names that this version doesn't know
        file = study_folder / layout.RANGE_TEST_RESULTS
        raise ReportError(f"{file}: unknown to this version: {error}; 'clr-hpc run' writes it anew") from error


def _table(learners: Sequence[dict[str, Any]]) -> Table:
    columns = [
        Column("Task", lambda one: _names(one)[0], filtered=True),
        Column("Architecture", lambda one: _names(one)[1], filtered=True),
        Column("Optimizer", lambda one: _names(one)[2], filtered=True),
        Column("lr_min", _rate("lr_min"), str, "Where the loss has begun to fall (with a seed left out)"),
        Column("lr_max", _rate("lr_max"), str, "Highest rate at which the loss stays low"),
        Column("Without a cycle", _rate("lr"), str,
               "For constant and decaying policies: a third of lr_max, or the middle of both"),
        Column("Seeds", lambda one: len(one["curves"]), str),
        Column("Reason", lambda one: one["reason"] if one["suggestion"] else f"no suggestion: {one['reason']}"),
    ]  # fmt: skip
    return tabulate("range-tests", "Learning rates that the LR range tests suggest", columns, learners)


def _rate(name: str) -> Any:
    def cell(learner: dict[str, Any]) -> Cell:
        if not learner["suggestion"]:
            return MISSING
        value, (low, high) = learner["suggestion"][name], learner["spread"][name]
        return Cell(f"{value:.2g}" if low == high else f"{value:.2g} ({low:.2g} to {high:.2g})", value)

    return cell


def _names(learner: dict[str, Any]) -> tuple[str, str, str]:
    architecture = network(learner["architecture"]).title
    return title(learner["task"]).replace("-", ", "), architecture, OPTIMIZERS[learner["optimizer"]].title


def _drawings(learners: Sequence[dict[str, Any]]) -> list[Drawing]:
    """Return a row of figures for each task and architecture, one per optimizer."""
    groups: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for learner in learners:
        groups.setdefault(_names(learner)[:2], []).append(learner)
    styles = _styles(learners)
    return keep_shown(
        Drawing(
            f"{task}, {architecture}",
            {"task": task, "architecture": architecture},
            [partial(_figure, one, styles) for one in group],
        )
        for (task, architecture), group in groups.items()
    )


def _styles(learners: Sequence[dict[str, Any]]) -> Styles:
    seeds = {f"seed {curve['seed']}": "" for learner in learners for curve in learner["curves"]}
    return arm_styles({seed: seed for seed in seeds})


def _figure(learner: dict[str, Any], styles: Styles) -> Picture:
    """Draw the smoothed loss of each seed over the rate, with its standard error, and the suggestion."""
    name = ", ".join(_names(learner))
    with mpl.rc_context(drawing_style()):
        figure, axes = new_figure(540, 300)
        for curve in learner["curves"]:
            style = styles[f"seed {curve['seed']}"]
            loss, error = curve["loss"], curve["standard_error"]
            band = [[one - sign * width for one, width in zip(loss, error, strict=True)] for sign in (1, -1)]
            axes.fill_between(curve["rates"], *band, color=style.colour, alpha=0.18, linewidth=0)
            axes.plot(curve["rates"], loss, color=style.colour, linestyle=style.dash, linewidth=1.5)
        axes.axhline(1, color=MUTED, linewidth=1, linestyle=":")
        constants = [level for curve in learner["curves"] if (level := curve.get("constant_answer")) is not None]
        if constants:
            axes.axhline(fmean(constants), color=MUTED, linewidth=1, linestyle="--")
        _mark(axes, learner)
        lowest = min((min(curve["loss"]) for curve in learner["curves"] if curve["loss"]), default=1.0)
        axes.set_ylim(min(0.9, lowest - 0.05), HIGHEST_DRAWN)
        if learner["scale"] == "exponential":
            axes.set_xscale("log")
        axes.set_title(f"{_names(learner)[2]}: loss / loss untrained")
        axes.set_xlabel("Learning rate")
        axes.grid(axis="y")
        axes.tick_params(length=0, which="both")
        heading = f"Loss over learning rate in the LR range tests of {name}"
        return Picture(figure, f"range test {name}", heading, legend=_legend(learner, styles, bool(constants)))


def _legend(learner: dict[str, Any], styles: Styles, constants: bool) -> Legend:
    seeds = legend_of(styles, (f"seed {curve['seed']}" for curve in learner["curves"]))
    best = {"best constant prediction": gray("--")} if constants else {}
    return {**seeds, "untrained": gray(":"), **best}


def _mark(axes: Axes, learner: dict[str, Any]) -> None:
    """Draw the suggested rates as lines, between whose outer two a cycle moves; or say that there are none."""
    suggestion = learner["suggestion"]
    if not suggestion:
        axes.text(0.02, 0.05, "no suggestion", color=MUTED, transform=axes.transAxes)
        return
    axes.axvspan(suggestion["lr_min"], suggestion["lr_max"], color=MUTED, alpha=0.12, linewidth=0)
    for name, place in (("lr_min", "right"), ("lr_max", "left")):
        axes.axvline(suggestion[name], color=MUTED, linewidth=1)
        axes.text(
            suggestion[name],
            0.97,
            f"\N{NO-BREAK SPACE}{name}\N{NO-BREAK SPACE}",  # SVG drops plain spaces at the ends
            color=MUTED,
            ha=place,
            va="top",
            transform=axes.get_xaxis_transform(),
        )
