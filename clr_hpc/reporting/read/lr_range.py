"""Range tests in the report: range_tests.json of a study's folder as pictures and a table."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

import matplotlib as mpl
from markupsafe import Markup
from matplotlib.axes import Axes

from clr_hpc.config.network import network
from clr_hpc.config.optimizer import OPTIMIZERS
from clr_hpc.config.pathologies import title
from clr_hpc.reporting.figures.select import Drawing
from clr_hpc.reporting.figures.svg import MUTED, Styles, arm_styles, drawing_style, legend, new_figure, to_svg
from clr_hpc.reporting.read.study import ReportError
from clr_hpc.reporting.tables.html import Cell, Column, Table

FILE = "range_tests.json"
FORMAT_VERSION = 1
RATES = {"lr_min": "lr_min", "lr_max": "lr_max", "lr": "without a cycle"}
HIGHEST_DRAWN = 1.6
"""Of the untrained loss; what lies above diverges."""


@dataclass(frozen=True, slots=True)
class RangeTests:
    """What is shown of a study's range tests."""

    table: Table
    drawings: Sequence[Drawing]
    legend: Mapping[str, Markup]
    """A line for each seed."""


def read_range_tests(study_folder: Path) -> RangeTests | None:
    """Read and draw the range tests of a study's folder; None where it has none.

    Raises:
        ReportError: the file is damaged.
    """
    file = study_folder / FILE
    try:
        found = json.loads(file.read_text())
        if found["format_version"] != FORMAT_VERSION:
            raise ValueError(f"format_version {found['format_version']}, known is {FORMAT_VERSION}")
        learners: list[dict[str, Any]] = found["learners"]
        return RangeTests(_table(learners), _drawings(learners), legend(_styles(learners), "range tests"))
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError) as error:
        raise ReportError(
            f"{file} is not what range tests leave ({error!r}); 'clr-hpc run' writes it anew"
        ) from error


def _table(learners: Sequence[dict[str, Any]]) -> Table:
    columns = [
        *(Column(name, filtered=True) for name in ("Task", "Architecture", "Optimizer")),
        Column(
            "lr_min",
            True,
            "Where the loss has begun to fall; in brackets the spread without one seed",
        ),
        Column("lr_max", True, "Up to where it stays low, as the last column says"),
        Column(
            "Without a cycle", True, "A third of lr_max, or the middle of both: for constant and decaying policies"
        ),
        Column("Seeds", True),
        Column("Why"),
    ]
    return Table("range-tests", "What the range tests suggest", columns, [_row(one) for one in learners])


def _row(learner: dict[str, Any]) -> list[Cell]:
    names = [Cell(name, name) for name in _names(learner)]
    suggestion = learner["suggestion"]
    rates = [Cell("–", float("nan")) for _ in RATES]
    if suggestion:
        rates = [_rate(suggestion[name], learner["spread"][name]) for name in RATES]
    seeds = len(learner["curves"])
    why = learner["reason"] if suggestion else f"refused: {learner['reason']}"
    return [*names, *rates, Cell(str(seeds), seeds), Cell(why, why)]


def _rate(value: float, spread: Sequence[float]) -> Cell:
    low, high = spread
    text = f"{value:.2g}" if low == high else f"{value:.2g} ({low:.2g} to {high:.2g})"
    return Cell(text, value)


def _names(learner: dict[str, Any]) -> tuple[str, str, str]:
    architecture = network(learner["architecture"]).title
    return title(learner["task"]).replace("-", ", "), architecture, OPTIMIZERS[learner["optimizer"]].title


def _drawings(learners: Sequence[dict[str, Any]]) -> list[Drawing]:
    """Return a row of pictures for each task and architecture, one an optimizer."""
    groups: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for learner in learners:
        groups.setdefault(_names(learner)[:2], []).append(learner)
    styles = _styles(learners)
    return [
        Drawing(
            f"{task}, {architecture}",
            {"task": task, "architecture": architecture},
            tuple(_picture(one, styles) for one in group),
        )
        for (task, architecture), group in groups.items()
    ]


def _styles(learners: Sequence[dict[str, Any]]) -> Styles:
    seeds = {f"seed {curve['seed']}": "" for learner in learners for curve in learner["curves"]}
    return arm_styles({seed: seed for seed in seeds})


def _picture(learner: dict[str, Any], styles: Styles) -> Markup:
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
        return to_svg(figure, f"range test {name}", f"Loss over learning rate in the range tests of {name}")


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
            f" {name} ",
            color=MUTED,
            ha=place,
            va="top",
            transform=axes.get_xaxis_transform(),
        )
