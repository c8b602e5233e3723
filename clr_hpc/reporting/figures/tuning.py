"""Figures of a search: its trials, the objective over time, and the importance of the settings."""

import math
from collections.abc import Mapping
from typing import Any

import matplotlib as mpl
import numpy as np
from markupsafe import Markup
from matplotlib.axes import Axes

from clr_hpc.reporting.figures.svg import (
    BAR,
    GRID,
    INK,
    LETTER,
    MUTED,
    arm_styles,
    drawing_style,
    new_figure,
    to_svg,
)
from clr_hpc.store.outcome import ChoiceRecord, IntervalRecord, Outcome

BEST = arm_styles({"other": "other", "best": "best"})["best"].colour
OBJECTIVES = {"auroc": "Validation AUROC", "loss": "Validation loss"}
WIDTH = 760
SETTING_TITLES = {
    "batch_size": "Batch size",
    "lr_max": "lr_max",
    "lr_min": "lr_min",
    "lr_min_fraction": "lr_min / lr_max",
    "half_cycle_epochs": "Half cycle, epochs",
    "weight_decay": "Weight decay",
}


def setting_title(name: str) -> str:
    """Return what a setting is called in tables and figures."""
    return SETTING_TITLES.get(name, name)


def parallel_coordinates(outcome: Outcome) -> Markup:
    """Draw one line per trial over one axis per setting and one for the objective; the best trial stands out."""
    names = [*outcome["dimensions"], "value"]
    measured = [(trial, trial["value"]) for trial in outcome["trials"] if trial["value"] is not None]
    best = outcome["best"]["trial"] if outcome["best"] else None
    values = [value for _, value in measured]
    low, high = min(values), max(values)
    ranks = _ranks(values, outcome["objective"])
    with mpl.rc_context(drawing_style()):
        figure, axes = new_figure(WIDTH, 330, bottom=40, left=16)
        for (trial, value), rank in sorted(zip(measured, ranks, strict=True), key=lambda pair: pair[1]):
            places = [_place(outcome["dimensions"][name], trial["values"][name]) for name in names[:-1]]
            places.append((value - low) / ((high - low) or 1.0))
            is_best, is_whole = trial["trial"] == best, trial["status"] == "done"
            axes.plot(
                range(len(names)),
                places,
                color=BEST if is_best else BAR if is_whole else MUTED,
                alpha=1.0 if is_best else 0.2 + 0.6 * rank,
                linewidth=3 if is_best else 1.3,
                linestyle="-" if is_whole else ":",
                zorder=3 if is_best else 2,
            )
        for position, name in enumerate(names):
            axes.axvline(position, color=GRID, linewidth=1, zorder=1)
            marks = _marks(outcome["dimensions"][name]) if name != "value" else _ends(low, high)
            _write_marks(axes, position, marks, is_last=name == "value")
        axes.set_xticks(
            range(len(names)), [*(setting_title(name) for name in names[:-1]), OBJECTIVES[outcome["objective"]]]
        )
        axes.set_xlim(-0.12, len(names) - 1 + 0.25)
        axes.set_ylim(-0.04, 1.06)
        axes.set_yticks([])
        axes.tick_params(length=0)
        axes.spines[["left", "bottom"]].set_visible(False)
        axes.set_title("Trials: settings and objective")
        described = f"Parallel coordinates of {len(measured)} trials; the numbers are in the table below"
        return to_svg(figure, "parallel", described)


def over_time(outcome: Outcome) -> Markup:
    """Draw every measurement over the epochs spent, and the best of the trials trained to their end so far."""
    history = outcome["history"]
    is_better = max if outcome["objective"] == "auroc" else min
    with mpl.rc_context(drawing_style()):
        figure, axes = new_figure(WIDTH, 270)
        for is_whole, marker, colour in ((False, "x", MUTED), (True, "o", BAR)):
            some = [entry for entry in history if entry["is_whole"] == is_whole]
            axes.plot(
                [entry["epochs_spent"] for entry in some],
                [entry["value"] for entry in some],
                marker,
                color=colour,
                markersize=5,
                markeredgewidth=1.3 if marker == "x" else 0,
                label="trained to the end" if is_whole else "at a rung",
            )
        whole = [entry for entry in history if entry["is_whole"]]
        if whole:
            bests = list(np.array(_accumulated([entry["value"] for entry in whole], is_better)))
            spent = [entry["epochs_spent"] for entry in whole]
            end = history[-1]["epochs_spent"]
            axes.step([*spent, end], [*bests, bests[-1]], where="post", color=BEST, label="best so far")
        axes.grid(axis="y")
        axes.set_xlabel("Epochs trained, sum over all runs")
        axes.set_title(f"{OBJECTIVES[outcome['objective']]} over the search")
        axes.legend(loc="best", labelcolor=INK)
        return to_svg(figure, "over time", f"{len(history)} measurements over the epochs spent")


def importance(shares: Mapping[str, float]) -> Markup:
    """Draw one bar per setting: its share in what a random forest explains."""
    ranked = sorted(shares.items(), key=lambda item: -item[1])
    names = [setting_title(name) for name, _ in ranked]
    with mpl.rc_context(drawing_style()):
        left = 16 + LETTER * max(map(len, names))
        figure, axes = new_figure(WIDTH, 40 + 28 * len(names), bottom=8, left=left)
        bars = axes.barh(names, [share for _, share in ranked], color=BAR, height=0.6)
        axes.bar_label(bars, [f"{share:.0%}" for _, share in ranked], padding=5, color=INK)
        axes.invert_yaxis()
        axes.set_xlim(0, 1.12)
        axes.spines[["left", "bottom"]].set_visible(False)
        axes.tick_params(left=False, bottom=False, labelbottom=False)
        axes.set_title("Share of each setting in what a random forest explains")
        described = ", ".join(f"{name} {share:.0%}" for name, (_, share) in zip(names, ranked, strict=True))
        return to_svg(figure, "importance", f"Bar chart of importance: {described}")


def _place(dimension: ChoiceRecord | IntervalRecord, value: float) -> float:
    """Return where a value stands on its axis, from 0 to 1."""
    if "values" in dimension:
        return float(dimension["values"].index(value)) / max(len(dimension["values"]) - 1, 1)
    low, high = dimension["low"], dimension["high"]
    if dimension["scale"] == "log":
        return math.log(value / low) / math.log(high / low)
    return float((value - low) / (high - low))


def _marks(dimension: ChoiceRecord | IntervalRecord) -> list[tuple[float, str]]:
    if "values" in dimension:
        return [(_place(dimension, value), f"{value:g}") for value in dimension["values"]]
    return [(0.0, f"{dimension['low']:g}"), (1.0, f"{dimension['high']:g}")]


def _ends(low: float, high: float) -> list[tuple[float, str]]:
    return [(0.0, f"{low:.3f}"), (1.0, f"{high:.3f}")] if high > low else [(0.0, f"{low:.3f}")]


def _write_marks(axes: Axes, position: int, marks: list[tuple[float, str]], is_last: bool) -> None:
    for place, text in marks:
        axes.plot(position, place, "_", color=MUTED, markersize=8)
        weight = "bold" if is_last else "normal"
        axes.annotate(
            text,
            (position, place),
            (7, 3),
            textcoords="offset points",
            color=INK,
            fontsize=11,
            fontweight=weight,
            zorder=4,
        )


def _ranks(values: list[float], objective: str) -> list[float]:
    """Return from 0 for the worst value to 1 for the best."""
    order = sorted(range(len(values)), key=lambda number: values[number], reverse=objective == "loss")
    return [order.index(number) / max(len(values) - 1, 1) for number in range(len(values))]


def _accumulated(values: list[float], better: Any) -> list[float]:
    return [better(values[: number + 1]) for number in range(len(values))]
