"""Pictures of what scores are worth: ROC and precision-recall curves, and calibration."""

from collections.abc import Sequence

import matplotlib as mpl
import numpy as np
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MultipleLocator
from numpy.typing import NDArray

from clr_hpc.reporting.frame import Styles, new_figure
from clr_hpc.reporting.measures import CALIBRATION_BINS
from clr_hpc.reporting.predictions import Scores
from clr_hpc.reporting.scoring import LAST, ScoredRun
from clr_hpc.reporting.svg import MUTED, drawing_style, to_svg

MOST_CORNERS = 120
"""Of a drawn curve: more can't be seen."""
FEWEST_IN_A_BIN = 5
"""Images; a smaller bin's share of positives is left out of the calibration curve."""


def roc_curves(runs: Sequence[ScoredRun], styles: Styles, key: str) -> Markup:
    """Draw sensitivity over the false-positive rate, a line an arm; ``runs`` share task and model."""
    from sklearn.metrics import roc_curve

    with mpl.rc_context(drawing_style()):
        figure, axes = _square()
        axes.plot((0, 1), (0, 1), color=MUTED, linewidth=1, linestyle=":")
        for run, scores in _drawable(runs):
            false_positives, sensitivity, _ = roc_curve(scores.labels, scores.scores)
            _curve(axes, false_positives, sensitivity, run, styles)
        axes.set_title("ROC curve (dotted: guessing)")
        axes.set_xlabel("False-positive rate (1 − specificity)")
        axes.set_ylabel("Sensitivity")
        return to_svg(figure, f"roc {key}", f"ROC curves on the test split, {key}")


def precision_recall_curves(runs: Sequence[ScoredRun], styles: Styles, key: str) -> Markup:
    """Draw precision over recall, a line an arm; ``runs`` share task and model."""
    from sklearn.metrics import precision_recall_curve

    with mpl.rc_context(drawing_style()):
        figure, axes = _square()
        drawable = _drawable(runs)
        if drawable:
            axes.axhline(drawable[0][1].labels.mean(), color=MUTED, linewidth=1, linestyle=":")
        for run, scores in drawable:
            precision, recall, _ = precision_recall_curve(scores.labels, scores.scores)
            _curve(axes, recall, precision, run, styles)
        axes.set_title("Precision and recall (dotted: guessing)")
        axes.set_xlabel("Recall (sensitivity)")
        axes.set_ylabel("Precision")
        return to_svg(figure, f"pr {key}", f"Precision-recall curves on the test split, {key}")


def calibration_curves(runs: Sequence[ScoredRun], styles: Styles, key: str) -> Markup:
    """Draw the share of positives over the mean probability of each bin; ``runs`` share task and model."""
    with mpl.rc_context(drawing_style()):
        figure, axes = _square()
        axes.plot((0, 1), (0, 1), color=MUTED, linewidth=1, linestyle=":")
        for run, scores in _drawable(runs):
            said, seen = _binned(scores)
            style = styles[run.setting.arm]
            axes.plot(
                said, seen, style.marker, color=style.colour, linestyle=style.dash, markersize=5, markeredgewidth=0
            )
        axes.set_title("Calibration (dotted: perfect)")
        axes.set_xlabel("Mean probability given")
        axes.set_ylabel("Share of images with the finding")
        return to_svg(figure, f"calibration {key}", f"Calibration curves on the test split, {key}")


def _binned(scores: Scores) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return mean score and share of positives of those bins that hold enough images."""
    bins = np.minimum((scores.scores * CALIBRATION_BINS).astype(np.int64), CALIBRATION_BINS - 1)
    images, said, seen = (
        np.bincount(bins, weights, CALIBRATION_BINS)
        for weights in (np.ones(len(bins)), scores.scores, scores.labels.astype(np.float64))
    )
    kept = images >= FEWEST_IN_A_BIN
    return said[kept] / images[kept], seen[kept] / images[kept]


def _square() -> tuple[Figure, Axes]:
    figure, axes = new_figure(370, 370)
    axes.set_xlim(-0.01, 1.01)
    axes.set_ylim(-0.01, 1.01)
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_locator(MultipleLocator(0.2))
    axes.grid()
    axes.tick_params(length=0)
    return figure, axes


def _drawable(runs: Sequence[ScoredRun]) -> list[tuple[ScoredRun, Scores]]:
    """Return the first seed of each arm whose AUROC is defined, with its scores."""
    first: dict[str, ScoredRun] = {}
    for run in runs:
        if np.isfinite(run.auroc):
            first.setdefault(run.setting.arm, run)
    return [(run, run.record.predictions["test"].of(LAST)) for run in first.values()]


def _curve(axes: Axes, x: NDArray[np.float64], y: NDArray[np.float64], run: ScoredRun, styles: Styles) -> None:
    kept = np.unique(np.linspace(0, len(x) - 1, MOST_CORNERS).round().astype(np.int64))
    style = styles[run.setting.arm]
    axes.plot(x[kept], y[kept], color=style.colour, linestyle=style.dash, linewidth=1.5)
