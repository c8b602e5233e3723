"""Whether a difference is significant: DeLong, McNemar, Holm, and intervals over pathologies.

Where a patient has several images, DeLong's formula, which takes every image as independent, is
overconfident. Obuchowski's extension to clusters is used in its place; with one image a patient it is DeLong's.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from clr_hpc.reporting.stats.bootstrap import LEVEL, Interval


@dataclass(frozen=True, slots=True)
class Contrast:
    """A weighted sum of AUROCs on the same images, and how far it is from zero."""

    value: float
    standard_error: float
    p_value: float
    """Two-sided; NaN where the standard error isn't defined."""


def auroc_contrast(
    labels: NDArray[np.bool_],
    scores: NDArray[np.float64],
    weights: Sequence[float],
    patients: NDArray[np.int32],
) -> Contrast:
    """Test whether a weighted sum of correlated AUROCs is zero.

    DeLong, DeLong & Clarke-Pearson 1988 (doi:10.2307/2531595), with the ranks of Sun & Xu 2014
    (doi:10.1109/LSP.2014.2337313) in O(K N log N), and the variance for clusters of Obuchowski 1997
    (doi:10.2307/2533958). Weights (1, -1) compare two models; the mean over seeds is a contrast too, so several
    seeds give one p-value.

    Args:
        labels: ``(N,)``.
        scores: ``(K, N)``, of K models on the same images.
        weights: K numbers.
        patients: ``(N,)``, whose image each is.

    Returns:
        The contrast; all NaN where ``labels`` hold one class.
    """
    positives, negatives = int(labels.sum()), int((~labels).sum())
    if not positives or not negatives:
        return Contrast(np.nan, np.nan, np.nan)
    above, below = _placements(labels, scores)
    combination = np.array(weights, dtype=np.float64)
    of_positives, of_negatives = combination @ above, combination @ below
    value = float(of_positives.mean())
    _, cluster = np.unique(patients, return_inverse=True)
    # each patient's sum of deviations, apart for its positive and negative images
    clusters = int(cluster.max()) + 1
    deviation_p = np.bincount(cluster[labels], of_positives - value, clusters)
    deviation_n = np.bincount(cluster[~labels], of_negatives - value, clusters)
    with_positives = len(np.unique(cluster[labels]))
    with_negatives = len(np.unique(cluster[~labels]))
    if with_positives < 2 or with_negatives < 2:
        return Contrast(value, np.nan, np.nan)
    variance = (
        with_positives / (with_positives - 1) * (deviation_p @ deviation_p) / positives**2
        + with_negatives / (with_negatives - 1) * (deviation_n @ deviation_n) / negatives**2
        + 2 * clusters / (clusters - 1) * (deviation_p @ deviation_n) / (positives * negatives)
    )
    return _tested(value, float(np.sqrt(np.maximum(variance, 0.0))))


def _placements(
    labels: NDArray[np.bool_], scores: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the share of negatives below each positive ``(K, m)`` and of positives above each negative.

    A tie counts half.
    """
    positives, negatives = int(labels.sum()), int((~labels).sum())
    ranks = stats.rankdata(scores, axis=1)
    among_positives = stats.rankdata(scores[:, labels], axis=1)
    among_negatives = stats.rankdata(scores[:, ~labels], axis=1)
    above = (ranks[:, labels] - among_positives) / negatives
    below = 1 - (ranks[:, ~labels] - among_negatives) / positives
    return above, below


def _tested(value: float, standard_error: float) -> Contrast:
    if standard_error < 1e-12:
        # equal scores differ by nothing, surely; another value without any spread can't be tested
        return Contrast(value, standard_error, 1.0 if abs(value) < 1e-12 else float("nan"))
    return Contrast(value, standard_error, float(2 * stats.norm.sf(abs(value) / standard_error)))


def mcnemar(one: NDArray[np.bool_], other: NDArray[np.bool_]) -> float:
    """Return the exact two-sided p-value of McNemar's test that two models are right equally often.

    McNemar 1947 (doi:10.1007/BF02295996); under the null hypothesis either model is as likely to be the one that
    is right where they differ.

    Args:
        one: ``(N,)`` whether the first model is right on each image.
        other: ``(N,)`` the same of the second, on the same images.
    """
    only_one, only_other = int((one & ~other).sum()), int((other & ~one).sum())
    if only_one + only_other == 0:
        return 1.0
    return float(stats.binomtest(only_one, only_one + only_other, 0.5).pvalue)


def combined(p_values: Sequence[float]) -> float:
    """Combine p-values of one hypothesis that depend on each other in unknown fashion, such as those of seeds.

    Rüger 1978: the k-th smallest of K times K / k is a p-value; here k is the median's place. One p-value stays as
    it is. NaN where none is a number.
    """
    defined = sorted(value for value in p_values if not np.isnan(value))
    if not defined:
        return float("nan")
    place = (len(defined) + 1) // 2
    return min(1.0, defined[place - 1] * len(defined) / place)


def holm(p_values: Sequence[float]) -> list[float]:
    """Adjust p-values for their number (Holm 1979, jstor:4615733); those that are NaN stay so and don't count."""
    values = np.asarray(p_values, dtype=np.float64)
    adjusted = np.full(len(values), np.nan)
    defined = np.flatnonzero(~np.isnan(values))
    ascending = defined[np.argsort(values[defined], kind="stable")]
    factors = np.arange(len(ascending), 0, -1)
    adjusted[ascending] = np.minimum(1.0, np.maximum.accumulate(values[ascending] * factors))
    return [float(value) for value in adjusted]


def mean_interval(values: Sequence[float]) -> Interval | None:
    """Return Student's 95 % interval of the mean of ``values``, one a pathology, say; None with fewer than two."""
    if len(values) < 2:
        return None
    half = stats.t.ppf((1 + LEVEL) / 2, len(values) - 1) * np.std(values, ddof=1) / np.sqrt(len(values))
    mean = float(np.mean(values))
    return Interval(mean - float(half), mean + float(half))
