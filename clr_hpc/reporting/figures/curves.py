"""Curves over epochs (accuracy, AUROC, learning rate), and ROC, precision-recall and calibration curves."""

from collections.abc import Mapping, Sequence

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, MultipleLocator
from numpy.typing import NDArray

from clr_hpc.reporting.figures.picture import Legend, Picture, gray, legend_of
from clr_hpc.reporting.figures.svg import MUTED, ArmStyle, Styles, drawing_style, new_figure
from clr_hpc.reporting.stats.run.curves import Points
from clr_hpc.reporting.stats.scoring import ScoredRun, always_no_along_the_run


def accuracy_and_rate(runs: Sequence[ScoredRun], styles: Styles, key: str) -> Picture:
    """Draw training accuracy (one-class: loss) over progress, and below it the learning rate.

    ``runs`` share task and model.
    """
    metric, name = _metric(runs)
    with mpl.rc_context(drawing_style()):
        figure, (upper, lower) = _panels()
        _metric_lines(upper, runs, styles, "train", metric)
        if metric == "accuracy":
            _always_no(upper, runs, "train")
            upper.set_ylim(*_accuracy_limits(runs))
        upper.set_title(f"Training {name}{_of_a_sample(runs)}")
        for run in _one_seed(runs):
            style = styles[run.setting.arm]
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
        heading = f"Training {name} and learning rate over epochs, {key}"
        return Picture(figure, f"training {key}", heading, legend=_legend(runs, styles))


def validation_curves(runs: Sequence[ScoredRun], styles: Styles, key: str) -> Picture:
    """Draw validation accuracy (one-class: loss) over progress, and below it the AUROC.

    ``runs`` share task and model.
    """
    metric, name = _metric(runs)
    with mpl.rc_context(drawing_style()):
        figure, (upper, lower) = _panels()
        _metric_lines(upper, runs, styles, "validation", metric)
        if metric == "accuracy":
            _always_no(upper, runs, "validation")
            upper.set_ylim(*_accuracy_limits(runs))
        upper.set_title(f"Validation {name}")
        _metric_lines(lower, runs, styles, "validation", "auroc")
        lower.axhline(0.5, color=MUTED, linewidth=1, linestyle=":")
        lower.set_title("Validation AUROC (dotted: chance level)")
        _finish_panels(lower, runs)
        heading = f"Validation {name} and AUROC over epochs, {key}"
        return Picture(figure, f"validation {key}", heading, legend=_legend(runs, styles))


def _legend(runs: Sequence[ScoredRun], styles: Styles) -> Legend:
    """Return what the lines over epochs are: those of arms and, where they are drawn, the others."""
    others = {}
    if _metric(runs)[0] == "accuracy":
        others["always answering “no”"] = gray(":")
    if len({run.record.spec.seed for run in runs}) > 1:
        others["single seeds (thick: their mean)"] = gray("-", 0.8)
    return {**legend_of(styles, (run.setting.arm for run in runs)), **others}


def _metric(runs: Sequence[ScoredRun]) -> tuple[str, str]:
    """Return the key and the name of what is drawn: one class has no accuracy."""
    return ("loss", "loss of the one class") if runs[0].setting.one_class else ("accuracy", "accuracy")


def _of_a_sample(runs: Sequence[ScoredRun]) -> str:
    """Return how many training images the curves are of, where they are not of all."""
    lines = [line for run in runs for line in run.record.epochs if line.get("of_images")]
    return f" (sample: {lines[0]['images']:,} of {lines[0]['of_images']:,} images)" if lines else ""


def _panels() -> tuple[Figure, tuple[Axes, Axes]]:
    """Return a figure of two panels, one above the other, over one axis of progress."""
    figure, (upper, lower) = new_figure(540, 430, panels=(3, 2))
    for axes in (upper, lower):
        axes.grid(axis="y")
        axes.tick_params(length=0)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.yaxis.set_major_locator(MaxNLocator(nbins=6, steps=[1, 2, 5, 10]))
    return figure, (upper, lower)


def _finish_panels(lower: Axes, runs: Sequence[ScoredRun]) -> None:
    lower.set_xlabel("Progress (epochs)")
    lower.set_xlim(0, max(line["progress"] for run in runs for line in run.record.epochs) * 1.01)


def _metric_lines(axes: Axes, runs: Sequence[ScoredRun], styles: Styles, split: str, metric: str) -> None:
    """Draw one line per arm: the mean over seeds, and where there are several a thin line for each."""
    for arm in dict.fromkeys(run.setting.arm for run in runs):
        style = styles[arm]
        curves = [_epochs(run, split, metric) for run in runs if run.setting.arm == arm]
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
            axes.axhline(always_no_along_the_run(run.record, split), color=MUTED, linewidth=1, linestyle=":")
            return


def _accuracy_limits(runs: Sequence[ScoredRun]) -> tuple[float, float]:
    """Return one range for training and validation, so that the two panels can be compared."""
    values = [line["accuracy"] for run in runs for line in run.record.epochs if line["accuracy"] is not None]
    shares = [
        always_no_along_the_run(run.record, split)
        for run in runs
        if run.record.epochs
        for split in ("train", "validation")
    ]
    values += [share for share in shares if np.isfinite(share)]
    return (max(0.0, min(values) - 0.03), min(1.01, max(values) + 0.03)) if values else (0.0, 1.0)


def _one_seed(runs: Sequence[ScoredRun]) -> list[ScoredRun]:
    """Return the longest run of each arm: the rate is the same for every seed."""
    longest: dict[str, ScoredRun] = {}
    for run in runs:
        known = longest.get(run.setting.arm)
        if known is None or len(run.record.progress) > len(known.record.progress):
            longest[run.setting.arm] = run
    return list(longest.values())


def roc_curves(runs: Sequence[ScoredRun], styles: Styles, key: str) -> Picture:
    """Draw sensitivity over the false-positive rate, one line per arm; ``runs`` share task and model."""
    with mpl.rc_context(drawing_style()):
        figure, axes = square()
        axes.plot((0, 1), (0, 1), color=MUTED, linewidth=1, linestyle=":")
        for run, curves in _drawable(runs):
            _curve(axes, curves["roc"], styles[run.setting.arm])
        axes.set_title("ROC curve (dotted: chance level)")
        axes.set_xlabel("False-positive rate (1 − specificity)")
        axes.set_ylabel("Sensitivity")
        heading = f"ROC curves on the test split, {key}"
        return Picture(figure, f"roc {key}", heading, legend=_arms(runs, styles))


def precision_recall_curves(runs: Sequence[ScoredRun], styles: Styles, key: str) -> Picture:
    """Draw precision over recall, one line per arm; ``runs`` share task and model."""
    with mpl.rc_context(drawing_style()):
        figure, axes = square()
        drawable = _drawable(runs)
        if drawable:  # where everything is called positive, precision is the share of positives
            share = drawable[0][1]["precision_recall"][1, 0]
            axes.axhline(share, color=MUTED, linewidth=1, linestyle=":")
        for run, curves in drawable:
            _curve(axes, curves["precision_recall"], styles[run.setting.arm])
        axes.set_title("Precision-recall (dotted: chance level)")
        axes.set_xlabel("Recall (sensitivity)")
        axes.set_ylabel("Precision")
        heading = f"Precision-recall curves on the test split, {key}"
        return Picture(figure, f"precision-recall {key}", heading, legend=_arms(runs, styles))


def calibration_curves(runs: Sequence[ScoredRun], styles: Styles, key: str) -> Picture:
    """Draw the share of positives over the mean probability of each bin; ``runs`` share task and model.

    Thin lines show the models' own outputs, the others are corrected for the weight of positives in training.
    """
    with mpl.rc_context(drawing_style()):
        figure, axes = calibration_square()
        for run, curves in _drawable(runs):
            style = styles[run.setting.arm]
            if "raw_calibration" in curves:
                axes.plot(*curves["raw_calibration"], color=style.colour, linewidth=0.8, alpha=0.45)
            if "calibration" in curves:
                calibration_line(axes, curves["calibration"], style)
        axes.set_title("Calibration (thin: raw outputs)")
        heading = f"Calibration curves on the test split, {key}"
        return Picture(figure, f"calibration {key}", heading, legend=_arms(runs, styles))


def calibration_square() -> tuple[Figure, Axes]:
    """Return axes for calibration curves, with the diagonal of perfect ones."""
    figure, axes = square()
    axes.plot((0, 1), (0, 1), color=MUTED, linewidth=1, linestyle=":")
    axes.set_xlabel("Mean predicted probability")
    axes.set_ylabel("Share of images with the finding")
    return figure, axes


def calibration_line(axes: Axes, points: Points, style: ArmStyle) -> None:
    """Draw one calibration curve."""
    axes.plot(
        *points,
        style.marker,
        color=style.colour,
        linestyle=style.dash,
        markersize=5,
        markeredgewidth=0,
    )


def square() -> tuple[Figure, Axes]:
    """Return a figure of shares over shares, 0 to 1 each way."""
    figure, axes = new_figure(370, 370)
    axes.set_xlim(-0.01, 1.01)
    axes.set_ylim(-0.01, 1.01)
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_locator(MultipleLocator(0.2))
    axes.grid()
    axes.tick_params(length=0)
    return figure, axes


def _drawable(runs: Sequence[ScoredRun]) -> list[tuple[ScoredRun, Mapping[str, Points]]]:
    """Return the run of each arm that has curves: of the first seed that is done, where its AUROC is defined."""
    return [(run, run.scores.curves) for run in runs if run.scores is not None and run.scores.curves]


def _arms(runs: Sequence[ScoredRun], styles: Styles) -> Legend:
    return legend_of(styles, (run.setting.arm for run, _ in _drawable(runs)))


def _curve(axes: Axes, points: Points, style: ArmStyle) -> None:
    axes.plot(*points, color=style.colour, linestyle=style.dash, linewidth=1.5)
