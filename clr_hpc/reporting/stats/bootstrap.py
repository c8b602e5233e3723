"""Areas under ROC and precision-recall curves on draws of patients, and intervals from such draws.

Images of one patient resemble each other, so an interval that resamples images is too narrow. Here whole
patients are drawn with replacement. The same draws serve every run of a study, so that the mean over runs is taken
within each draw, on the same patients.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import special, stats
from scipy.sparse import csr_array

RESAMPLES = 1000
LEVEL = 0.95
SMALLEST_DEFINED_SHARE = 0.95
"""An interval needs this share of the draws to hold both classes; fewer would be a biased selection."""


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
    draws: NDArray[np.float64]
    """(B,) NaN where a draw doesn't define it."""
    degrees: float
    """Of freedom: the patients of the rarer class that it is measured on, less one."""

    @property
    def standard_error(self) -> float:
        """Standard deviation of the draws, without the bootstrap's bias of n - 1 in n."""
        drawn = float(np.nanstd(self.draws, ddof=1)) if np.isfinite(self.draws).sum() > 1 else float("nan")
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


def patient_draws(patients: int, resamples: int, generator: np.random.Generator) -> NDArray[np.int32]:
    """Draw ``patients`` patients with replacement, ``resamples`` times.

    Returns:
        ``(patients, resamples)``: how often each patient is in each draw.
    """
    if patients == 0:  # a study of which no run is done
        return np.zeros((0, resamples), dtype=np.int32)
    draws = generator.multinomial(patients, np.full(patients, 1 / patients), size=resamples)
    return np.ascontiguousarray(draws.T, dtype=np.int32)


def auroc(labels: NDArray[np.bool_], scores: NDArray[np.float64]) -> float:
    """Return the area under the ROC curve, NaN where ``labels`` ``(N,)`` hold one class."""
    one_patient = np.zeros(len(labels), dtype=np.int32)
    return float(resampled_areas(labels, scores, one_patient, np.ones((1, 1), dtype=np.int32)).auroc[0])


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
    draws: NDArray[np.int32],
) -> Areas:
    """Return the AUROC and the average precision on each draw of patients.

    The AUROC is the probability that a positive scores above a negative, ties counting half (Hanley & McNeil 1982,
    doi:10.1148/radiology.143.1.7063747); average precision is the sum over thresholds of precision times the step
    in recall, without interpolation, as scikit-learn has it. Only where a negative's score lies among those of the
    positives matters, so images are counted by such place and patient once, and a draw only weighs the counts.

    Args:
        labels: ``(N,)``.
        scores: ``(N,)``, finite.
        patients: ``(N,)``, each image's row of ``draws``.
        draws: ``(P, B)``, how often each patient is in each draw.
    """
    thresholds, places = np.unique(scores[labels], return_inverse=True)
    negatives = scores[~labels]
    above = np.searchsorted(thresholds, negatives)
    tied = np.append(thresholds, np.inf)[above] == negatives
    positive = _weighed(places, patients[labels], len(thresholds), draws)
    # negatives between two thresholds are counted in even rows, those at a threshold in the odd row that follows
    through = _weighed(2 * above + tied, patients[~labels], 2 * len(thresholds) + 1, draws).cumsum(axis=0)
    positives, total_negatives = positive.sum(axis=0), through[-1]
    both = (positives > 0) & (total_negatives > 0)
    twice_the_wins = (positive * (through[:-1:2] + through[1::2])).sum(axis=0)
    found = positive[::-1].cumsum(axis=0)[::-1]
    called = found + total_negatives - through[:-1:2]
    precision = found / np.maximum(called, 1)
    return Areas(
        np.where(both, twice_the_wins / np.maximum(2 * positives * total_negatives, 1), np.nan),
        np.where(both, (positive * precision).sum(axis=0) / np.maximum(positives, 1), np.nan),
    )


def _weighed(
    rows: NDArray[np.int64], patients: NDArray[np.int32], count: int, draws: NDArray[np.int32]
) -> NDArray[np.int64]:
    """Return ``(count, B)``: how many images lie in each row, each as often as its patient is in the draw."""
    images = csr_array((np.ones(len(rows), dtype=np.int64), (rows, patients)), shape=(count, len(draws)))
    weighed: NDArray[np.int64] = images @ draws
    return weighed


def defined_share(draws: NDArray[np.float64]) -> float:
    """Return the share of ``draws`` ``(B,)`` that are numbers."""
    return float(np.isfinite(draws).mean()) if len(draws) else 0.0


def mean_of_defined(draws: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the mean of ``draws`` ``(K, B)`` over K, without those that aren't numbers; NaN where none is."""
    defined = np.isfinite(draws)
    count = defined.sum(axis=0)
    total = np.where(defined, draws, 0.0).sum(axis=0)
    means = np.full(draws.shape[1], np.nan)
    np.divide(total, count, out=means, where=count > 0)
    return means
