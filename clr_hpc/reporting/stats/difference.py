"""How sure a mean difference of AUROCs is, over test patients and over training runs.

A study compares policies on tasks, each trained with several seeds, on one set of test patients. Repeated, it
would test other patients and train with other seeds. This is the design of multi-reader multi-case studies with
seeds as readers: tasks are fixed, patients and seeds are drawn.

Patients. An AUROC is a mean over pairs of images, so its error is a sum of what each patient adds to it, its
influence (DeLong, DeLong & Clarke-Pearson 1988, doi:10.2307/2531595; with several images per patient Obuchowski
1997, doi:10.2307/2533958). Influences on the same patients add up, which covers correlated models and tasks.

Training. Runs of one seed share initial weights, order and augmentation over all tasks, so tasks are no replicates
of each other: only seeds are. The variance of the seeds' means also holds what a single model adds to the
patients' variance, so of the latter only the covariance of different seeds is added to it (Obuchowski & Rockette
1995, doi:10.1080/03610919508813243; Hillis 2007, doi:10.1002/sim.2532).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from clr_hpc.reporting.read.predictions import Scores
from clr_hpc.reporting.stats.bootstrap import LEVEL, Interval, Sampled


@dataclass(frozen=True, slots=True)
class Variance:
    """An estimated variance of a mean, and the degrees of freedom of the estimate."""

    value: float
    degrees: float

    @property
    def has_no_spread(self) -> bool:
        """Whether all that was drawn agrees: equal scores surely differ by nothing; nothing else can be tested."""
        return self.value < 1e-24


@dataclass(frozen=True, slots=True)
class Difference:
    """A mean difference of two policies, and how much of it patients and training may account for."""

    value: float
    patients: Variance | None = None
    """Of these very models on other test patients. None: too few patients of a class, or none are involved."""
    total: Variance | None = None
    """Over patients and training runs. None with a single seed, which shows nothing of training."""

    @property
    def patient_interval(self) -> Interval | None:
        """95 % interval of the difference of these very models."""
        return _interval(self.value, self.patients)

    @property
    def interval(self) -> Interval | None:
        """95 % interval over patients and training runs."""
        return _interval(self.value, self.total)

    @property
    def patient_p_value(self) -> float:
        """Two-sided p-value that these very models differ in nothing; NaN where it isn't defined."""
        return _p_value(self.value, self.patients)

    @property
    def p_value(self) -> float:
        """Two-sided p-value that the policies differ in nothing; NaN where it isn't defined."""
        return _p_value(self.value, self.total)

    def equivalence_p_value(self, margin: float) -> float:
        """Return the p-value of a difference of ``margin`` or more (two one-sided tests, Schuirmann 1987)."""
        if self.total is None:
            return float("nan")
        if self.total.has_no_spread:
            return 0.0 if _is_zero(self.value) else float("nan")
        return float(stats.t.sf((margin - abs(self.value)) / np.sqrt(self.total.value), self.total.degrees))


def _interval(value: float, variance: Variance | None) -> Interval | None:
    """Return Student's interval, cut to what a difference of two shares can be; None where it can't be known."""
    if variance is None or not np.isfinite(value) or (variance.has_no_spread and not _is_zero(value)):
        return None
    half = float(stats.t.ppf((1 + LEVEL) / 2, variance.degrees) * np.sqrt(variance.value))
    return Interval(max(-1.0, value - half), min(1.0, value + half))


def _is_zero(value: float) -> bool:
    return abs(value) < 1e-12


def _p_value(value: float, variance: Variance | None) -> float:
    if variance is None:
        return float("nan")
    if variance.has_no_spread:
        return 1.0 if _is_zero(value) else float("nan")
    return float(2 * stats.t.sf(abs(value) / np.sqrt(variance.value), variance.degrees))


@dataclass(frozen=True, slots=True)
class Influence:
    """An AUROC, and what each patient adds to its error."""

    auroc: float
    of_patients: NDArray[np.floating[Any]] | None
    """``(P,)``, whose sum of squares is the variance of the AUROC; None where fewer than two patients have images
    of one class."""

    @classmethod
    def of(cls, model: Scores) -> "Influence":
        """Return that of one model, on images of both classes."""
        count = int(model.patients.max()) + 1
        (auroc,), added = influences(model.labels, model.scores[None], model.patients, count)
        return cls(float(auroc), None if added is None else added[0])

    @property
    def rounded(self) -> "Influence":
        """In single precision, seven digits of each: a study has thousands of them."""
        return Influence(self.auroc, None if self.of_patients is None else self.of_patients.astype(np.float32))


@dataclass(frozen=True, slots=True)
class Cell:
    """One task and model: two policies on the same test images, each trained with the same seeds."""

    first: Sequence[Influence]
    """``(S,)``"""
    second: Sequence[Influence]
    """``(S,)``"""
    weight: float
    """In the mean; all weights of a mean add up to 1."""


def auroc_difference(cells: Sequence[Cell]) -> Difference:
    """Return the weighted mean over cells of the first policy's AUROC minus the second's.

    ``cells`` have the same seeds, in the same order.
    """
    seeds = len(cells[0].first)
    differences = np.empty((len(cells), seeds))
    signed: list[tuple[int, float, NDArray[np.floating[Any]] | None]] = []
    for place, cell in enumerate(cells):
        for seed, (first, second) in enumerate(zip(cell.first, cell.second, strict=True)):
            differences[place, seed] = first.auroc - second.auroc
            signed += [(seed, cell.weight, first.of_patients), (seed, -cell.weight, second.of_patients)]
    weights = np.array([cell.weight for cell in cells])
    value = float((weights @ differences).mean())
    patients = max((len(added) for _, _, added in signed if added is not None), default=0)
    summed = np.zeros((seeds, patients))
    for seed, weight, added in signed:
        if added is None:
            return Difference(value)
        summed[seed, : len(added)] += weight * added.astype(np.float64)
    of_patients = _of_patients(summed.mean(axis=0))
    if seeds == 1:
        return Difference(value, of_patients)
    whole = summed.sum(axis=0)
    common = max(0.0, float(whole @ whole - (summed * summed).sum()) / (seeds * (seeds - 1)))
    return Difference(value, of_patients, _total(Variance(common, of_patients.degrees), differences, weights))


def training_difference(differences: NDArray[np.float64], weights: NDArray[np.float64]) -> Difference:
    """Return the mean of ``differences`` ``(K, S)`` of K tasks and S seeds, in what no test patient enters."""
    of_seeds = weights @ differences
    seeds = len(of_seeds)
    total = Variance(float(of_seeds.var(ddof=1)) / seeds, seeds - 1) if seeds > 1 else None
    return Difference(float(of_seeds.mean()), None, total)


def mean_difference(differences: NDArray[np.float64], patients: NDArray[np.int32]) -> Difference:
    """Return the mean of what images differ by, of these very models; a single patient shows no variance.

    Args:
        differences: ``(N,)``, one per image.
        patients: ``(N,)`` from 0 on.
    """
    value = float(differences.mean())
    if len(np.unique(patients)) < 2:
        return Difference(value)
    (influence,) = _by_patient((differences - value)[None], patients, int(patients.max()) + 1)
    return Difference(value, _of_patients(influence))


def difference_of_independent(first: Sampled, second: Sampled) -> Difference:
    """Return the first share minus the second, of the same models on patients of two collections.

    Nobody is in both, so variances add up; degrees of freedom by Satterthwaite (1946, doi:10.2307/3002019). Where
    either has no interval from its draws, the difference has none.
    """
    value = first.value - second.value
    if first.interval is None or second.interval is None:
        return Difference(value)
    variances = [side.standard_error**2 for side in (first, second)]
    spread = sum(variance**2 / side.degrees for variance, side in zip(variances, (first, second), strict=True))
    degrees = sum(variances) ** 2 / spread if spread > 0 else float("inf")
    return Difference(value, Variance(sum(variances), degrees))


def influences(
    labels: NDArray[np.bool_], scores: NDArray[np.float64], patients: NDArray[np.int32], count: int
) -> tuple[NDArray[np.float64], NDArray[np.float64] | None]:
    """Return the AUROCs of K models, and what each patient adds to their errors.

    Args:
        labels: ``(N,)``, of both classes.
        scores: ``(K, N)``.
        patients: ``(N,)`` from 0 to ``count - 1``.
        count: P, the number of patients.

    Returns:
        The AUROCs ``(K,)`` and the influences ``(K, P)``, whose sum of squares is the variance of an AUROC; None
        where fewer than two patients have positive, or negative, images.
    """
    above, below = _placements(labels, scores)
    auroc = above.mean(axis=1)
    of_class = [(above, patients[labels]), (below, patients[~labels])]
    if any(len(np.unique(owners)) < 2 for _, owners in of_class):
        return auroc, None
    through_positives, through_negatives = (
        _by_patient(places - auroc[:, None], owners, count) for places, owners in of_class
    )
    return auroc, through_positives + through_negatives


def _by_patient(deviations: NDArray[np.float64], patients: NDArray[np.int32], count: int) -> NDArray[np.float64]:
    """Sum the deviations ``(K, n)`` of images over each patient ``(K, P)``, as shares of the mean."""
    with_images = len(np.unique(patients))
    summed = np.array([np.bincount(patients, row, count) for row in deviations]) / deviations.shape[1]
    corrected: NDArray[np.float64] = summed * np.sqrt(with_images / (with_images - 1))
    return corrected


def _placements(
    labels: NDArray[np.bool_], scores: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the share of negatives below each positive ``(K, m)``, of positives above each negative ``(K, n)``.

    A tie counts half. With ranks, in O(K N log N): Sun & Xu 2014 (doi:10.1109/LSP.2014.2337313).
    """
    positives, negatives = int(labels.sum()), int((~labels).sum())
    ranks = stats.rankdata(scores, axis=1)
    among_positives = stats.rankdata(scores[:, labels], axis=1)
    among_negatives = stats.rankdata(scores[:, ~labels], axis=1)
    above = (ranks[:, labels] - among_positives) / negatives
    below = 1 - (ranks[:, ~labels] - among_negatives) / positives
    return above, below


def _of_patients(influence: NDArray[np.float64]) -> Variance:
    """Return the variance that influences ``(P,)`` add up to.

    Its degrees of freedom follow from the kurtosis of the influences, as few patients of one class, or a few whose
    images decide, say little of the variance (the variance of a sample variance: Mood, Graybill & Boes 1974,
    Introduction to the Theory of Statistics, p. 229).
    """
    value = float(influence @ influence)
    if value <= 0:
        return Variance(0.0, float("inf"))
    kurtosis = float((influence**4).sum()) / value**2
    return Variance(value, 2 / max(kurtosis - 1 / len(influence), 1e-9))


def _total(patients: Variance, differences: NDArray[np.float64], weights: NDArray[np.float64]) -> Variance:
    """Add the variance of training, from ``differences`` ``(K, S)``, to that of the patients.

    The degrees of freedom are Satterthwaite's (1946, doi:10.2307/3002019), which take the estimates for the truth.
    An estimate from few seeds that is too small by chance would claim too many degrees as well. So training weighs
    in them at least as much as single runs vary, times ``1 + 2 / (S - 1)``, the mean square of an estimate with
    ``S - 1`` degrees relative to what it estimates. docs/explanation/statistics.md shows what this does.
    """
    cells, seeds = differences.shape
    of_seeds = weights @ differences
    training = float(of_seeds.var(ddof=1)) / seeds
    value, degrees = patients.value + training, seeds - 1
    if value <= 0:
        return Variance(0.0, degrees)
    if cells == 1 and seeds == 2:  # two numbers, and nothing to hold them against
        return Variance(value, degrees)
    weight = max(training, of_single_runs(differences, weights)) * (1 + 2 / degrees)
    spread = patients.value**2 / patients.degrees + weight**2 / degrees
    return Variance(value, (patients.value + weight) ** 2 / spread if spread > 0 else float("inf"))


def of_single_runs(differences: NDArray[np.float64], weights: NDArray[np.float64]) -> float:
    """Return the variance of the mean of ``differences`` ``(K, S)`` if runs of one seed shared nothing."""
    cells, seeds = differences.shape
    if cells < 2:
        return 0.0
    own = differences - differences.mean(axis=1, keepdims=True)
    own = own - own.mean(axis=0)
    return float((own**2).sum() / ((cells - 1) * (seeds - 1)) * (weights @ weights) / seeds)
