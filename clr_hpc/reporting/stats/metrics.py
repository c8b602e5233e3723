"""What the scores of one model are worth on one split, each measure with its interval or the reason for none."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from clr_hpc.reporting import wording
from clr_hpc.reporting.read.predictions import Scores
from clr_hpc.reporting.stats.bootstrap import LEVEL, Interval, defined_share, interval, resampled_areas

CALIBRATION_BINS = 10
"""Of equal width, from 0 to 1."""
MEASURES = {
    "auroc": "AUROC",
    "average_precision": "Average precision",
    "accuracy": "Accuracy",
    "balanced_accuracy": "Balanced accuracy",
    "sensitivity": "Sensitivity",
    "specificity": "Specificity",
    "brier": "Brier score",
    "calibration_error": "Calibration error",
}
"""How people write them."""
SHARES = ("accuracy", "sensitivity", "specificity")
"""Measures that are a share of images; where it is 0 or 1, every draw is, though others might not be."""


@dataclass(frozen=True, slots=True)
class Estimate:
    """One measure of one model."""

    value: float
    """NaN where it isn't defined."""
    interval: Interval | None
    draws: NDArray[np.float64]
    """(B,) the measure on each draw of patients."""
    reason: str = ""
    """Why the value or its interval isn't defined; else empty."""


def youden_threshold(labels: NDArray[np.bool_], scores: NDArray[np.float64]) -> float | None:
    """Return the threshold that is reached by a share of positives furthest above that of negatives.

    There sensitivity + specificity - 1 is largest (Youden 1950,
    doi:10.1002/1097-0142(1950)3:1<32::AID-CNCR2820030106>3.0.CO;2-3). Of equally good thresholds the highest. None
    where ``labels`` ``(N,)`` hold one class.
    """
    if labels.all() or not labels.any():
        return None
    order = np.argsort(-scores, kind="stable")
    ranked, positive = scores[order], labels[order]
    last_of_ties = np.append(ranked[1:] != ranked[:-1], True)
    sensitivity = positive.cumsum() / positive.sum()
    false_positive_rate = (~positive).cumsum() / (~positive).sum()
    advantage = np.where(last_of_ties, sensitivity - false_positive_rate, -np.inf)
    return float(ranked[np.argmax(advantage)])


def measure(
    model: Scores, threshold: float | None, draws: NDArray[np.int32], probabilities: bool
) -> dict[str, Estimate]:
    """Return every one of ``MEASURES`` with its interval over draws of patients.

    The threshold is taken as given: intervals don't cover how it was chosen.

    Args:
        model: the scores.
        threshold: at or above which an image is called positive; None where there is none.
        draws: ``(P, B)`` how often each patient is in each draw.
        probabilities: whether scores are probabilities; else Brier score and calibration error aren't defined.
    """
    once = np.ones((len(draws), 1), dtype=np.int32)
    values, drawn = (_all_measures(model, threshold, weights, probabilities) for weights in (once, draws))
    reasons = _reasons(model, threshold, probabilities)
    return {name: _estimate(model, name, float(values[name][0]), drawn[name], reasons[name]) for name in MEASURES}


def _all_measures(
    model: Scores, threshold: float | None, draws: NDArray[np.int32], probabilities: bool
) -> dict[str, NDArray[np.float64]]:
    areas = resampled_areas(model.labels, model.scores, model.patients, draws)
    undefined = np.full(draws.shape[1], np.nan)
    measures = dict.fromkeys(MEASURES, undefined)
    measures |= {"auroc": areas.auroc, "average_precision": areas.average_precision}
    if threshold is not None:
        measures |= _at_threshold(model, threshold, draws)
    if probabilities:
        measures |= _of_probabilities(model, draws)
    return measures


def _at_threshold(model: Scores, threshold: float, draws: NDArray[np.int32]) -> dict[str, NDArray[np.float64]]:
    called = model.scores >= threshold
    columns = np.stack(
        [model.labels & called, model.labels, ~model.labels & ~called, ~model.labels], axis=1, dtype=np.float64
    )
    hits, positives, correct_rejections, negatives = _drawn_sums(model, columns, draws)
    sensitivity, specificity = _share(hits, positives), _share(correct_rejections, negatives)
    return {
        "accuracy": _share(hits + correct_rejections, positives + negatives),
        "balanced_accuracy": (sensitivity + specificity) / 2,
        "sensitivity": sensitivity,
        "specificity": specificity,
    }


def _of_probabilities(model: Scores, draws: NDArray[np.int32]) -> dict[str, NDArray[np.float64]]:
    """Return the Brier score (1950) and the expected calibration error (Naeini 2015, Guo 2017) of each draw."""
    error = (model.scores - model.labels) ** 2
    bins = np.minimum((model.scores * CALIBRATION_BINS).astype(np.int64), CALIBRATION_BINS - 1)
    gaps = np.zeros((len(bins), CALIBRATION_BINS))
    gaps[np.arange(len(bins)), bins] = model.labels - model.scores
    columns = np.column_stack([error, np.ones(len(bins)), gaps])
    squared, images, *gap_sums = _drawn_sums(model, columns, draws)
    return {"brier": _share(squared, images), "calibration_error": _share(np.abs(gap_sums).sum(axis=0), images)}


def _drawn_sums(model: Scores, columns: NDArray[np.float64], draws: NDArray[np.int32]) -> NDArray[np.float64]:
    """Return ``(C, B)``: the sums over images of ``columns`` ``(N, C)`` in each draw."""
    sums = np.zeros((len(draws), columns.shape[1]))
    np.add.at(sums, model.patients, columns)
    drawn: NDArray[np.float64] = sums.T @ draws
    return drawn


def _share(part: NDArray[np.float64], whole: NDArray[np.float64]) -> NDArray[np.float64]:
    shares = np.full(len(whole), np.nan)
    np.divide(part, whole, out=shares, where=whole > 0)
    return shares


def _reasons(model: Scores, threshold: float | None, probabilities: bool) -> dict[str, str]:
    """Return why each measure isn't defined, empty where it is."""
    images = wording.count(len(model.labels), "image")
    no_positive = "" if model.labels.any() else f"no positive image among {images}"
    no_negative = "" if not model.labels.all() else f"no negative image among {images}"
    one_class = no_positive or no_negative
    no_threshold = "" if threshold is not None else "no threshold: the validation split holds one class"
    no_probability = "" if probabilities else "scores of one-class models are not probabilities"
    return {
        "auroc": one_class,
        "average_precision": one_class,
        "accuracy": no_threshold,
        "balanced_accuracy": one_class or no_threshold,
        "sensitivity": no_positive or no_threshold,
        "specificity": no_negative or no_threshold,
        "brier": no_probability,
        "calibration_error": no_probability,
    }


def _estimate(model: Scores, name: str, value: float, draws: NDArray[np.float64], reason: str) -> Estimate:
    if reason or np.isnan(value):
        return Estimate(float("nan"), None, draws, reason or "no image")
    bounds = interval(draws)
    if name in SHARES and value in (0.0, 1.0):
        return Estimate(value, _interval_at_the_end(model, name, value), draws)
    if bounds is None:
        rare = model.labels if model.labels.sum() * 2 < len(model.labels) else ~model.labels
        patients = wording.count(len(np.unique(model.patients[rare])), "patient")
        reason = f"{patients} of one class: only {defined_share(draws):.0%} of the draws hold both"
    return Estimate(value, bounds, draws, reason)


def _interval_at_the_end(model: Scores, name: str, value: float) -> Interval:
    """Return the exact binomial interval (Clopper & Pearson 1934) of a share of 0 or 1, patients as trials."""
    among = {"sensitivity": model.labels, "specificity": ~model.labels}.get(name, slice(None))
    patients = len(np.unique(model.patients[among]))
    farthest = 1 - ((1 - LEVEL) / 2) ** (1 / patients)
    return Interval(0.0, farthest) if value == 0 else Interval(1 - farthest, 1.0)
