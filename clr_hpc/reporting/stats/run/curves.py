"""Points of the curves of one model: ROC, precision and recall, calibration."""

import numpy as np
from numpy.typing import NDArray

from clr_hpc.reporting.read.predictions import Scores
from clr_hpc.reporting.stats.calibration import corrected
from clr_hpc.reporting.stats.metrics import CALIBRATION_BINS

Points = NDArray[np.float32]
"""``(2, n)``: x and y."""
MOST_CORNERS = 120
"""Of a drawn curve: more would not be visible."""
FEWEST_IN_A_BIN = 5
"""Images; a smaller bin's share of positives is left out of the calibration curve."""


def curves_of(scores: Scores, weight: float) -> dict[str, Points]:
    """Return the curves of a model on images of both classes.

    Args:
        scores: its probabilities.
        weight: by which training raised the odds of a positive; NaN where it is not known.

    Returns:
        ``roc`` (false-positive rate, sensitivity), ``precision_recall`` (recall, precision), ``calibration`` where
        the weight is known and ``raw_calibration`` where it is not 1 (mean probability, share of positives).
    """
    from sklearn.metrics import precision_recall_curve, roc_curve

    false_positives, sensitivity, _ = roc_curve(scores.labels, scores.scores)
    precision, recall, _ = precision_recall_curve(scores.labels, scores.scores)
    found = {
        "roc": _at(
            _evenly(false_positives, MOST_CORNERS // 2) | _evenly(sensitivity, MOST_CORNERS // 2),
            false_positives,
            sensitivity,
        ),
        "precision_recall": _at(_evenly(recall, MOST_CORNERS), recall, precision),
    }
    if weight != 1:
        found["raw_calibration"] = np.array(binned(scores.labels, scores.scores), np.float32)
    if not np.isnan(weight):
        found["calibration"] = np.array(binned(scores.labels, corrected(scores.scores, weight)), np.float32)
    return found


def binned(
    labels: NDArray[np.bool_], scores: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return mean score and share of positives of those bins that hold enough images."""
    bins = np.minimum((scores * CALIBRATION_BINS).astype(np.int64), CALIBRATION_BINS - 1)
    images, mean, observed = (
        np.bincount(bins, weights, CALIBRATION_BINS)
        for weights in (np.ones(len(bins)), scores, labels.astype(np.float64))
    )
    kept = images >= FEWEST_IN_A_BIN
    return mean[kept] / images[kept], observed[kept] / images[kept]


def _evenly(values: NDArray[np.float64], number: int) -> set[int]:
    """Return where monotonic ``values`` from 0 to 1 reach so many evenly spaced ones; both ends are among them.

    Evenly along the curve, not along the ranks: of a rare finding, most of the curve lies in few of these.
    """
    rising = values if values[0] <= values[-1] else values[::-1]
    places = np.searchsorted(rising, np.linspace(0, 1, number)).clip(max=len(values) - 1)
    places = places if rising is values else len(values) - 1 - places
    return {0, len(values) - 1, *places[1:-1].tolist()}


def _at(places: set[int], x: NDArray[np.float64], y: NDArray[np.float64]) -> Points:
    kept = sorted(places)
    return np.stack([x[kept], y[kept]]).astype(np.float32)
