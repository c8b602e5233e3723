"""Areas under ROC and precision-recall curves on draws of patients, and intervals from such draws.

Images of one patient resemble each other, so an interval that resamples images is too narrow. Here whole
patients are drawn with replacement. The same draws serve every run of a study, so that the mean over runs is taken
within each draw, on the same patients.
"""

from collections.abc import Iterator, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import special, stats
from scipy.sparse import csr_array
from threadpoolctl import threadpool_limits

from clr_hpc.config.resources import usable_cores

RESAMPLES = 1000
LEVEL = 0.95
SMALLEST_DEFINED_SHARE = 0.95
"""An interval needs this share of the draws to hold both classes; fewer would be a biased selection."""
MOST_PLACES = 512
"""Places in the order of scores at which draws are counted; see ``resampled_areas``."""
Draws = NDArray[np.floating[Any]]
"""``(P, B)`` whole numbers, how often each patient is in each draw; as floats, whose products are fastest. Their
precision is that of sums over patients: double for the value of a measure, single for how it scatters."""


@dataclass(frozen=True, slots=True)
class Interval:
    """A 95 % confidence interval."""

    low: float
    high: float

    def excludes(self, value: float) -> bool:
        """Return whether ``value`` lies outside."""
        return value < self.low or value > self.high


@dataclass(frozen=True, slots=True)
class Sampled:
    """A share such as an AUROC, and what it is on each of B draws of patients."""

    value: float
    draws: NDArray[np.floating[Any]]
    """(B,) NaN where a draw doesn't define it; of single runs in single precision, as a study has thousands."""
    degrees: float
    """Of freedom: the patients of the rarer class that it is measured on, less one."""

    @property
    def standard_error(self) -> float:
        """Standard deviation of the draws, without the bootstrap's bias of n - 1 in n."""
        drawn = (
            float(np.nanstd(self.draws, ddof=1, dtype=np.float64))
            if np.isfinite(self.draws).sum() > 1
            else float("nan")
        )
        return drawn * float(np.sqrt((self.degrees + 1) / max(self.degrees, 1)))

    @property
    def interval(self) -> Interval | None:
        """Student's interval on the logit scale, which stays within 0 and 1.

        Quantiles of the draws cover less than they say where patients of a class are few
        (docs/explanation/statistics.md). None where too few draws define the value, or where it is 0 or 1, so that
        no draw shows anything else.
        """
        rest = self.value * (1 - self.value)
        if defined_share(self.draws) < SMALLEST_DEFINED_SHARE or self.degrees < 1 or not rest > 0:
            return None
        half = stats.t.ppf((1 + LEVEL) / 2, self.degrees) * self.standard_error / rest
        low, high = special.expit(special.logit(self.value) + np.array([-half, half]))
        return Interval(float(low), float(high))

    @classmethod
    def over_seeds(cls, runs: Sequence["Sampled"]) -> "Sampled":
        """Return the mean of runs of one task."""
        draws = mean_of_defined(np.array([run.draws for run in runs]))
        return cls(float(np.mean([run.value for run in runs])), draws, min(run.degrees for run in runs))

    @classmethod
    def over_tasks(cls, tasks: Sequence["Sampled"]) -> "Sampled":
        """Return the mean of tasks; degrees of freedom by Satterthwaite (1946, doi:10.2307/3002019)."""
        variances = np.array([task.standard_error**2 for task in tasks])
        spread = float((variances**2 / np.array([max(task.degrees, 1) for task in tasks])).sum())
        degrees = float(variances.sum()) ** 2 / spread if spread > 0 else float("inf")
        draws = mean_of_defined(np.array([task.draws for task in tasks]))
        return cls(float(np.mean([task.value for task in tasks])), draws, degrees)


@contextmanager
def side_by_side() -> Iterator[Executor]:
    """Give threads, one per core: numpy and scipy compute without the interpreter's lock.

    Products of matrices take one thread each: with more, small ones wait longer than they compute.
    """
    with threadpool_limits(1), ThreadPoolExecutor(usable_cores()) as pool:
        yield pool


def patient_draws(patients: int, resamples: int, generator: np.random.Generator) -> Draws:
    """Draw ``patients`` patients with replacement, ``resamples`` times.

    Returns:
        ``(patients, resamples)``: how often each patient is in each draw.
    """
    if patients == 0:  # a study of which no run is done
        return np.zeros((0, resamples), dtype=np.float32)
    draws = generator.multinomial(patients, np.full(patients, 1 / patients), size=resamples)
    return np.ascontiguousarray(draws.T, dtype=np.float32)


def auroc(labels: NDArray[np.bool_], scores: NDArray[np.float64]) -> float:
    """Return the area under the ROC curve, NaN where ``labels`` ``(N,)`` hold one class."""
    one_patient = np.zeros(len(labels), dtype=np.int32)
    return float(resampled_areas(labels, scores, one_patient, np.ones((1, 1))).auroc[0])


class Areas(NamedTuple):
    """Both areas on each of B draws; NaN where a draw holds one class."""

    auroc: NDArray[np.float64]
    """(B,)"""
    average_precision: NDArray[np.float64]
    """(B,)"""


def resampled_areas(
    labels: NDArray[np.bool_],
    scores: NDArray[np.float64],
    patients: NDArray[np.int32],
    draws: Draws,
    on_all: Areas | None = None,
) -> Areas:
    """Return the AUROC and the average precision on each draw of patients.

    The AUROC is the probability that a positive scores above a negative, ties counting half (Hanley & McNeil 1982,
    doi:10.1148/radiology.143.1.7063747); average precision is the sum over thresholds of precision times the step
    in recall, without interpolation, as scikit-learn has it. Only where a negative's score lies among those of the
    positives matters, so images are counted by such place and patient once, and a draw only weighs the counts.

    Where positives have more than ``MOST_PLACES`` different scores, draws are counted at as many of their
    quantiles, and moved by what that changes on the patients as they are. Both areas then scatter as with all
    places, to a hundredth of their standard deviation, in a time that doesn't grow with the positives.

    Args:
        labels: ``(N,)``.
        scores: ``(N,)``, finite.
        patients: ``(N,)``, each image's row of ``draws``.
        draws: ``(P, B)``, how often each patient is in each draw.
        on_all: what this function gives with each patient once, where that is known already.
    """
    thresholds = np.unique(scores[labels])
    if len(thresholds) <= MOST_PLACES or draws.shape[1] == 1:
        return _areas(labels, scores, patients, draws, thresholds)
    once = np.ones((len(draws), 1))
    few = thresholds[np.linspace(0, len(thresholds) - 1, MOST_PLACES).round().astype(np.int64)]
    rough = few[np.clip(np.searchsorted(few, scores, side="right") - 1, 0, None)]
    rough = np.where(scores < few[0], -np.inf, rough)  # below all positives, as it is
    exact = on_all or _areas(labels, scores, patients, once, thresholds)
    as_counted = _areas(labels, rough, patients, once, few)
    drawn = _areas(labels, rough, patients, draws, few)
    return Areas(*(each + (true - found) for each, true, found in zip(drawn, exact, as_counted, strict=True)))


def _areas(
    labels: NDArray[np.bool_],
    scores: NDArray[np.float64],
    patients: NDArray[np.int32],
    draws: Draws,
    thresholds: NDArray[np.float64],
) -> Areas:
    """Return both areas by the scores of positives, ``thresholds``."""
    places = np.searchsorted(thresholds, scores[labels])
    negatives = scores[~labels]
    above = np.searchsorted(thresholds, negatives)
    tied = np.append(thresholds, np.inf)[above] == negatives
    positive = _weighed(places, patients[labels], len(thresholds), draws)
    # negatives between two thresholds are counted in even rows, those at a threshold in the odd row that follows
    through = _weighed(2 * above + tied, patients[~labels], 2 * len(thresholds) + 1, draws)
    # in place, here and below: arrays of megabytes are slow to make
    np.add.accumulate(through, axis=0, out=through)
    positives, total_negatives = positive.sum(axis=0), through[-1]
    both = (positives > 0) & (total_negatives > 0)
    below, at = through[:-1:2], through[1::2]
    twice_the_wins = (positive * (below + at)).sum(axis=0)
    found = np.add.accumulate(positive[::-1], axis=0)[::-1]
    called = found + total_negatives
    called -= below
    np.maximum(called, 1, out=called)
    precision = found / called
    return Areas(
        np.where(both, twice_the_wins / np.maximum(2 * positives * total_negatives, 1), np.nan),
        np.where(both, (positive * precision).sum(axis=0) / np.maximum(positives, 1), np.nan),
    )


def _weighed(rows: NDArray[np.int64], patients: NDArray[np.int32], count: int, draws: Draws) -> Draws:
    """Return ``(count, B)``: how many images lie in each row, each as often as its patient is in the draw."""
    images = csr_array((np.ones(len(rows), dtype=draws.dtype), (rows, patients)), shape=(count, len(draws)))
    weighed: Draws = images @ draws  # whole numbers below 2 ** 24, which single precision holds exactly
    return weighed


def defined_share(draws: NDArray[np.floating[Any]]) -> float:
    """Return the share of ``draws`` ``(B,)`` that are numbers."""
    return float(np.isfinite(draws).mean()) if len(draws) else 0.0


def mean_of_defined(draws: NDArray[np.floating[Any]]) -> NDArray[np.float64]:
    """Return the mean of ``draws`` ``(K, B)`` over K, without those that aren't numbers; NaN where none is."""
    defined = np.isfinite(draws)
    count = defined.sum(axis=0)
    total = np.where(defined, draws, 0.0).sum(axis=0, dtype=np.float64)
    means = np.full(draws.shape[1], np.nan)
    np.divide(total, count, out=means, where=count > 0)
    return means
