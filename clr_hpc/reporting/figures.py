"""The report's pictures."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import matplotlib as mpl
import numpy as np
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from clr_hpc.reporting.scoring import ResultRow, ScoredRun, always_no_accuracy
from clr_hpc.reporting.svg import BAR, GRID, INK, MUTED, PolicyStyle, drawing_style, to_svg
from clr_hpc.spec.pathologies import title

POINTS = 72
"""An inch holds this many points; a point of a figure is a pixel of the page."""
LEFT_MARGIN_OF_NUMBERS, LEFT_MARGIN_OF_NAMES = 62, 128
Styles = Mapping[str, PolicyStyle]


def legend(styles: Styles, section: str) -> dict[str, Markup]:
    """Draw a short piece of each policy's line; ``section`` keeps the pictures of several legends apart."""
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


def label_counts(counts: Mapping[str, int]) -> Markup:
    """Draw the number of images of each label, most frequent first."""
    ranked = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    names = [title(label) for label, _ in ranked]
    numbers = [images for _, images in ranked]
    with mpl.rc_context(drawing_style()):
        figure, axes = _figure(760, 34 + 24 * len(ranked), bottom=8)
        bars = axes.barh(names, numbers, color=BAR, height=0.7)
        axes.bar_label(bars, [f"{images:,}" for images in numbers], padding=5, color=INK)
        axes.invert_yaxis()
        axes.margins(x=0.1, y=0.01)
        axes.spines[["left", "bottom"]].set_visible(False)
        axes.tick_params(left=False, bottom=False, labelbottom=False)
        axes.set_title("Number of images by label")
        described = ", ".join(f"{name} {images}" for name, images in zip(names, numbers, strict=True))
        return to_svg(figure, "labels", f"Bar chart, number of images by label: {described}")


def auroc_by_pathology(rows: Sequence[ResultRow], styles: Styles, key: str) -> Markup:
    """Draw one dot a policy and pathology with the interval of its AUROC; ``rows`` are of one model."""
    with mpl.rc_context(drawing_style()):
        figure, axes = _dots(
            rows,
            styles,
            lambda row: row.auroc,
            lambda row: (row.interval.low, row.interval.high) if row.interval else None,
        )
        axes.axvline(0.5, color=MUTED, linewidth=1, linestyle=":")
        _name_gaps(axes, rows)
        axes.set_title("Validation AUROC, 95 % interval")
        axes.set_xlabel("AUROC (dotted: guessing)")
        return to_svg(
            figure, f"auroc {key}", f"Validation AUROC by pathology and policy, {key}; numbers: results.csv"
        )


def training_accuracy_by_pathology(rows: Sequence[ResultRow], styles: Styles, key: str) -> Markup:
    """Draw one dot a policy and pathology for training accuracy; ``rows`` are of one model."""
    with mpl.rc_context(drawing_style()):
        figure, axes = _dots(rows, styles, lambda row: row.training_accuracy, lambda _: None)
        pathologies = list(dict.fromkeys(row.setting.pathology for row in rows))
        for row in rows:
            y = pathologies.index(row.setting.pathology)
            axes.plot(row.always_no_training_accuracy, y, "|", color=MUTED, markersize=16, markeredgewidth=1.5)
        axes.set_title("Training accuracy")
        axes.set_xlabel("Accuracy (gray mark: always answering “no”)")
        return to_svg(
            figure, f"accuracy {key}", f"Training accuracy by pathology and policy, {key}; numbers: results.csv"
        )


def accuracy_and_rate(runs: Sequence[ScoredRun], styles: Styles, key: str) -> Markup:
    """Draw training accuracy over progress, and below it the learning rate; ``runs`` share pathology and model."""
    with mpl.rc_context(drawing_style()):
        figure, (upper, lower) = _panels()
        _metric_lines(upper, runs, styles, "train", "accuracy")
        _always_no(upper, runs, "train")
        upper.set_ylim(*_accuracy_limits(runs))
        upper.set_title("Training accuracy")
        for run in _one_seed(runs):
            style = styles[run.setting.policy]
            lower.plot(
                run.record.progress,
                run.record.learning_rate,
                color=style.colour,
                linestyle=style.dash,
                linewidth=1.5,
            )
        lower.set_title("Learning rate")
        lower.set_ylim(bottom=0)
        lower.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
        _finish_panels(lower, runs)
        return to_svg(figure, f"training {key}", f"Training accuracy and learning rate over epochs, {key}")


def validation_curves(runs: Sequence[ScoredRun], styles: Styles, key: str) -> Markup:
    """Draw validation accuracy over progress, and below it the AUROC; ``runs`` share pathology and model."""
    with mpl.rc_context(drawing_style()):
        figure, (upper, lower) = _panels()
        _metric_lines(upper, runs, styles, "validation", "accuracy")
        _always_no(upper, runs, "validation")
        upper.set_ylim(*_accuracy_limits(runs))
        upper.set_title("Validation accuracy")
        _metric_lines(lower, runs, styles, "validation", "auroc")
        lower.axhline(0.5, color=MUTED, linewidth=1, linestyle=":")
        lower.set_title("Validation AUROC (dotted: guessing)")
        _finish_panels(lower, runs)
        return to_svg(figure, f"validation {key}", f"Validation accuracy and AUROC over epochs, {key}")


def _figure(width: float, height: float, panels: tuple[int, ...] = (1,), bottom: float = 42) -> tuple[Figure, Any]:
    """Return a figure and its axes, one above the other in the ratio of ``panels``; sizes are in pixels.

    Margins are fixed: pictures side by side line up, and drawing takes half the time of a computed layout.
    """
    figure = Figure(figsize=(width / POINTS, height / POINTS))
    left = LEFT_MARGIN_OF_NUMBERS if len(panels) > 1 else LEFT_MARGIN_OF_NAMES
    grid = {
        "left": left / width,
        "right": 1 - 8 / width,
        "top": 1 - 26 / height,
        "bottom": bottom / height,
        "hspace": 0.32,
    }
    axes = figure.subplots(len(panels), 1, sharex=True, height_ratios=panels, gridspec_kw=grid)
    return figure, axes


def _panels() -> tuple[Figure, tuple[Axes, Axes]]:
    """Return a figure of two panels, one above the other, over one axis of progress."""
    figure, (upper, lower) = _figure(540, 430, panels=(3, 2))
    for axes in (upper, lower):
        axes.grid(axis="y")
        axes.tick_params(length=0)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.yaxis.set_major_locator(MaxNLocator(nbins=6, steps=[1, 2, 5, 10]))
    return figure, (upper, lower)


def _finish_panels(lower: Axes, runs: Sequence[ScoredRun]) -> None:
    lower.set_xlabel("Progress (epochs)")
    lower.set_xlim(0, max(line["progress"] for run in runs for line in run.record.epochs) * 1.01)


def _dots(
    rows: Sequence[ResultRow],
    styles: Styles,
    value: Callable[[ResultRow], float],
    bounds: Callable[[ResultRow], tuple[float, float] | None],
) -> tuple[Figure, Axes]:
    """Draw a line of dots a pathology, those of several policies one below the other."""
    pathologies = list(dict.fromkeys(row.setting.pathology for row in rows))
    policies = list(dict.fromkeys(row.setting.policy for row in rows))
    line_height = max(26, 8 * len(policies) + 6)
    figure, axes = _figure(540, 76 + line_height * len(pathologies))
    spread = 0.56 / max(len(policies) - 1, 1)
    for row in rows:
        style = styles[row.setting.policy]
        offset = (policies.index(row.setting.policy) - (len(policies) - 1) / 2) * spread
        y = pathologies.index(row.setting.pathology) + (offset if len(policies) > 1 else 0)
        axes.plot(value(row), y, style.marker, color=style.colour, markersize=5.5, markeredgewidth=0)
        if (ends := bounds(row)) is not None:
            axes.plot(ends, (y, y), color=style.colour, linewidth=1.6, solid_capstyle="butt")
    for boundary in range(1, len(pathologies)):
        axes.axhline(boundary - 0.5, color=GRID, linewidth=0.8)
    axes.set_yticks(range(len(pathologies)), [title(name) for name in pathologies])
    axes.set_ylim(len(pathologies) - 0.5, -0.5)
    axes.grid(axis="x")
    axes.xaxis.set_major_locator(MaxNLocator(nbins=6, steps=[1, 2, 5, 10]))
    axes.tick_params(length=0)
    axes.spines["left"].set_visible(False)
    return figure, axes


def _name_gaps(axes: Axes, rows: Sequence[ResultRow]) -> None:
    """Write into the lines of pathologies that have no dot why that is."""
    pathologies = list(dict.fromkeys(row.setting.pathology for row in rows))
    for y, pathology in enumerate(pathologies):
        group = [row for row in rows if row.setting.pathology == pathology]
        if all(np.isnan(row.auroc) for row in group):
            why = "not defined: one class" if any(row.done for row in group) else "not done"
            axes.text(0.02, y, why, color=MUTED, va="center", transform=axes.get_yaxis_transform())


def _metric_lines(axes: Axes, runs: Sequence[ScoredRun], styles: Styles, split: str, metric: str) -> None:
    """Draw a line a policy: the mean over seeds, and where there are several a thin line for each."""
    for policy in dict.fromkeys(run.setting.policy for run in runs):
        style = styles[policy]
        curves = [_epochs(run, split, metric) for run in runs if run.setting.policy == policy]
        curves = [curve for curve in curves if curve.size]
        if not curves:
            continue
        if len(curves) > 1:
            for curve in curves:
                axes.plot(*curve, color=style.colour, linewidth=0.8, alpha=0.45)
        shortest = min(curve.shape[1] for curve in curves)
        mean = np.mean([curve[:, :shortest] for curve in curves], axis=0)
        axes.plot(
            *mean, color=style.colour, linestyle=style.dash, marker=style.marker, markersize=4, markeredgewidth=0
        )


def _epochs(run: ScoredRun, split: str, metric: str) -> NDArray[np.float64]:
    """Return ``(2, E)``: progress and the metric, NaN where it isn't defined."""
    lines = [line for line in run.record.epochs if line["split"] == split]
    values = [np.nan if line[metric] is None else line[metric] for line in lines]
    return np.array([[line["progress"] for line in lines], values], dtype=np.float64)


def _always_no(axes: Axes, runs: Sequence[ScoredRun], split: str) -> None:
    """Mark the accuracy of a model that answers "no" to everything, below which accuracy says nothing."""
    for run in runs:
        if run.record.epochs:
            axes.axhline(always_no_accuracy(run.record, split), color=MUTED, linewidth=1, linestyle=":")
            return


def _accuracy_limits(runs: Sequence[ScoredRun]) -> tuple[float, float]:
    """Return one range for training and validation, so that the two panels can be compared."""
    values = [line["accuracy"] for run in runs for line in run.record.epochs if line["accuracy"] is not None]
    shares = [
        always_no_accuracy(run.record, split)
        for run in runs
        if run.record.epochs
        for split in ("train", "validation")
    ]
    values += [share for share in shares if np.isfinite(share)]
    return (max(0.0, min(values) - 0.03), min(1.01, max(values) + 0.03)) if values else (0.0, 1.0)


def _one_seed(runs: Sequence[ScoredRun]) -> list[ScoredRun]:
    """Return the longest run of each policy: the rate is the same for every seed."""
    longest: dict[str, ScoredRun] = {}
    for run in runs:
        known = longest.get(run.setting.policy)
        if known is None or len(run.record.progress) > len(known.record.progress):
            longest[run.setting.policy] = run
    return list(longest.values())
