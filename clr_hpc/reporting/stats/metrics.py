"""What the scores of one model are worth on one split, each measure with its interval or the reason for none.

To add a measure, add it to ``_MEASURES``: the report's tables, CSV and LaTeX follow.
"""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from clr_hpc.reporting import wording
from clr_hpc.reporting.read.predictions import Scores
from clr_hpc.reporting.stats.bootstrap import (
    LEVEL,
    Areas,
    Draws,
    Interval,
    Sampled,
    defined_share,
    resampled_areas,
)
from clr_hpc.reporting.stats.calibration import corrected

CALIBRATION_BINS = 10
"""Of equal width, from 0 to 1."""
Need = Literal["positives", "negatives", "threshold", "probabilities", "weight"]


class Resampled:
    """One model's scores on B draws of patients; what several measures share is computed once."""

    def __init__(
        self,
        model: Scores,
        threshold: float | None,
        draws: Draws,
        positive_weight: float = 1.0,
        on_all: "Resampled | None" = None,
    ) -> None:
        """Take the draws as ``(P, B)``: how often each patient is in each; ``on_all`` has each once."""
        self.model, self.draws = model, draws
        self._threshold, self._positive_weight, self._on_all = threshold, positive_weight, on_all

    @cached_property
    def areas(self) -> Areas:
        """Areas under the ROC and the precision-recall curve."""
        exact = self._on_all.areas if self._on_all else None
        return resampled_areas(self.model.labels, self.model.scores, self.model.patients, self.draws, exact)

    @cached_property
    def probabilities(self) -> NDArray[np.float64]:
        """``(N,)`` the scores without the weight that positives had in training."""
        return corrected(self.model.scores, self._positive_weight)

    @cached_property
    def confusion(self) -> NDArray[np.float64]:
        """``(4, B)``: true positives, positives, true negatives, negatives. Needs a threshold."""
        assert self._threshold is not None  # measures that need one say so
        labels, called = self.model.labels, self.model.scores >= self._threshold
        return self.sums(np.stack([labels & called, labels, ~labels & ~called, ~labels], axis=1, dtype=np.float64))

    def sums(self, columns: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return ``(C, B)``: the sums over images of ``columns`` ``(N, C)`` in each draw."""
        count = len(self.draws)
        sums = np.stack([np.bincount(self.model.patients, column, count) for column in columns.T], axis=1)
        return np.asarray(sums.T.astype(self.draws.dtype) @ self.draws, dtype=np.float64)


@dataclass(frozen=True, slots=True)
class Measure:
    """What is reported of each model."""

    key: str
    """Name of its columns in the CSV files."""
    title: str
    compute: Callable[[Resampled], NDArray[np.float64]]
    """Returns ``(B,)``; NaN where a draw doesn't define it."""
    needs: tuple[Need, ...] = ()
    hint: str = ""
    higher_is_better: bool = True
    write: Callable[[float], str] = wording.number
    shows_interval: bool = False
    """Whether the table shows the interval next to the value; else it is a hint."""
    for_one_class: bool = False
    """Whether the table of one-class models has it, too."""
    in_paper: bool = False
    """Whether ``paper.tex`` has a table of it."""
    share_of: Callable[[Scores], NDArray[np.bool_]] | None = None
    """Mask of the images that it is a share of. Where it is 0 or 1, every draw is, though other images might not
    be, so the interval is the exact binomial one."""
    has_interval: bool = True
    """Whether the draws scatter about the value: resampling raises a calibration error, so they don't about it."""


def _share(part: NDArray[np.float64], whole: NDArray[np.float64]) -> NDArray[np.float64]:
    shares = np.full(len(whole), np.nan)
    np.divide(part, whole, out=shares, where=whole > 0)
    return shares


def _accuracy(drawn: Resampled) -> NDArray[np.float64]:
    hits, positives, rejections, negatives = drawn.confusion
    return _share(hits + rejections, positives + negatives)


def _sensitivity(drawn: Resampled) -> NDArray[np.float64]:
    return _share(drawn.confusion[0], drawn.confusion[1])


def _specificity(drawn: Resampled) -> NDArray[np.float64]:
    return _share(drawn.confusion[2], drawn.confusion[3])


def _balanced_accuracy(drawn: Resampled) -> NDArray[np.float64]:
    return (_sensitivity(drawn) + _specificity(drawn)) / 2


def _brier(drawn: Resampled, scores: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the Brier score (1950) of each draw, of ``scores`` ``(N,)``."""
    error = (scores - drawn.model.labels) ** 2
    squared, images = drawn.sums(np.column_stack([error, np.ones(len(error))]))
    return _share(squared, images)


def _calibration_error(drawn: Resampled, scores: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the expected calibration error (Naeini 2015, Guo 2017) of each draw, of ``scores`` ``(N,)``."""
    bins = np.minimum((scores * CALIBRATION_BINS).astype(np.int64), CALIBRATION_BINS - 1)
    gaps = np.zeros((len(bins), CALIBRATION_BINS))
    gaps[np.arange(len(bins)), bins] = drawn.model.labels - scores
    images, *gap_sums = drawn.sums(np.column_stack([np.ones(len(bins)), gaps]))
    return _share(np.abs(gap_sums).sum(axis=0), images)


BOTH: tuple[Need, ...] = ("positives", "negatives")
CORRECTED: tuple[Need, ...] = ("probabilities", "weight")
UNWEIGHTED = "corrected for the weight of positives in training"
WEIGHTED = "which still holds the weight of positives in training"
_MEASURES = (
    Measure("auroc", "AUROC", lambda drawn: drawn.areas.auroc, BOTH, "Test split; bootstrap over patients",
            shows_interval=True, for_one_class=True, in_paper=True),
    Measure("average_precision", "Average precision", lambda drawn: drawn.areas.average_precision, BOTH,
            "Chance level: the share of positive images", for_one_class=True),
    Measure("accuracy", "Test accuracy", _accuracy, ("threshold",),
            "At the threshold chosen on validation (Youden)", share_of=lambda model: np.ones_like(model.labels)),
    Measure("balanced_accuracy", "Balanced accuracy", _balanced_accuracy,
            (*BOTH, "threshold"), "Mean of sensitivity and specificity"),
    Measure("sensitivity", "Sensitivity", _sensitivity, ("positives", "threshold"),
            "Share of positive images at or above the threshold", for_one_class=True,
            share_of=lambda model: model.labels),
    Measure("specificity", "Specificity", _specificity, ("negatives", "threshold"),
            "Share of negative images below the threshold", share_of=lambda model: ~model.labels),
    Measure("brier_corrected", "Brier score", lambda drawn: _brier(drawn, drawn.probabilities), CORRECTED,
            f"Mean squared error of the probability, {UNWEIGHTED}", higher_is_better=False),
    Measure("brier", "Brier score, raw", lambda drawn: _brier(drawn, drawn.model.scores), ("probabilities",),
            f"Mean squared error of the model's output, {WEIGHTED}", higher_is_better=False),
    Measure("calibration_error_corrected", "Calibration error",
            lambda drawn: _calibration_error(drawn, drawn.probabilities), CORRECTED,
            f"Expected calibration error, ten bins of equal width, {UNWEIGHTED}", higher_is_better=False,
            has_interval=False),
    Measure("calibration_error", "Calibration error, raw",
            lambda drawn: _calibration_error(drawn, drawn.model.scores), ("probabilities",),
            f"Expected calibration error of the model's output, {WEIGHTED}", higher_is_better=False,
            has_interval=False),
)  # fmt: skip
MEASURES = {each.key: each for each in _MEASURES}
"""Every measure by its key, in the order of the tables."""


@dataclass(frozen=True, slots=True)
class Estimate:
    """One measure of one model."""

    sampled: Sampled
    """NaN where it isn't defined."""
    interval: Interval | None
    reason: str = ""
    """Why the value or its interval isn't defined; else empty."""

    @property
    def value(self) -> float:
        """NaN where it isn't defined."""
        return self.sampled.value


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
    model: Scores,
    threshold: float | None,
    draws: Draws,
    probabilities: bool,
    positive_weight: float = 1.0,
    only: Collection[str] = MEASURES,
) -> dict[str, Estimate]:
    """Return each measure with its interval over draws of patients.

    The threshold is taken as given: intervals don't cover how it was chosen.

    Args:
        model: the scores.
        threshold: at or above which an image is called positive; None where there is none.
        draws: ``(P, B)`` how often each patient is in each draw.
        probabilities: whether scores are probabilities; else Brier score and calibration error aren't defined.
        positive_weight: of training, that the corrected ones are without; NaN where it isn't known.
        only: keys of the measures that are wanted.
    """
    unmet = _unmet(model, threshold, probabilities)
    if np.isnan(positive_weight):
        unmet["weight"] = "the weight of positives is not known: the run has not counted its training images"
    once = Resampled(model, threshold, np.ones((len(draws), 1)), positive_weight)
    drawn = Resampled(model, threshold, draws, positive_weight, once)
    undefined = np.full(draws.shape[1], np.nan, np.float32)
    patients = _patients_of(model)
    found: dict[str, Estimate] = {}
    for key, one in MEASURES.items():
        if key not in only:
            continue
        if reason := next((unmet[need] for need in one.needs if need in unmet), ""):
            found[key] = Estimate(Sampled(float("nan"), undefined, 0), None, reason)
            continue
        scattered = one.compute(drawn).astype(np.float32) if one.has_interval else undefined
        found[key] = _estimate(one, model, patients, float(one.compute(once)[0]), scattered)
    return found


def _unmet(model: Scores, threshold: float | None, probabilities: bool) -> dict[Need, str]:
    """Return what these scores lack, each with the words for it."""
    images = wording.count(len(model.labels), "image")
    unmet: dict[Need, str] = {}
    if not model.labels.any():
        unmet["positives"] = f"no positive image among {images}"
    if model.labels.all():
        unmet["negatives"] = f"no negative image among {images}"
    if threshold is None:
        unmet["threshold"] = "no threshold: the validation split holds one class"
    if not probabilities:
        unmet["probabilities"] = "scores of one-class models are not probabilities"
    return unmet


def _patients_of(model: Scores) -> dict[str, int]:
    """Return how many patients have images of each class, and how many have any."""
    negative, positive = (np.bincount(model.patients, of_class) > 0 for of_class in (~model.labels, model.labels))
    return {"negatives": negative.sum(), "positives": positive.sum(), "images": (negative | positive).sum()}


def _estimate(
    one: Measure, model: Scores, patients: Mapping[str, int], value: float, draws: NDArray[np.float32]
) -> Estimate:
    classes: list[str] = [need for need in one.needs if need in patients] or ["images"]
    rarest = int(min(patients[each] for each in classes))
    sampled = Sampled(value, draws, rarest - 1)
    if np.isnan(value):
        return Estimate(sampled, None, "no image")
    if not one.has_interval:
        return Estimate(sampled, None)
    if one.share_of is not None and value in (0.0, 1.0):
        return Estimate(sampled, _interval_at_the_end(model.patients[one.share_of(model)], value))
    bounds = sampled.interval
    return Estimate(sampled, bounds, "" if bounds else _no_interval(sampled, rarest))


def _no_interval(sampled: Sampled, patients: int) -> str:
    if sampled.value in (0.0, 1.0):
        return f"no interval: at {sampled.value:g}, these patients show no variability"
    whose = wording.count(patients, "patient")
    return f"{whose} of one class: only {defined_share(sampled.draws):.0%} of the draws hold both"


def _interval_at_the_end(patients: NDArray[np.int32], value: float) -> Interval:
    """Return the exact binomial interval (Clopper & Pearson 1934) of a share of 0 or 1, patients as trials."""
    farthest = 1 - ((1 - LEVEL) / 2) ** (1 / len(np.unique(patients)))
    return Interval(0.0, farthest) if value == 0 else Interval(1 - farthest, 1.0)
