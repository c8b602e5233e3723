"""McNemar's test, p-values combined and adjusted for their number, and Student's interval."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from clr_hpc.reporting.stats.bootstrap import LEVEL, Interval


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
