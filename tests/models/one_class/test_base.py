import numpy as np
import pytest
from scipy import stats

from clr_hpc.models.one_class.base import threshold


def test_a_known_order_statistic() -> None:
    scores = np.arange(19, 0, -1, dtype=np.float32)
    assert (scores >= threshold(scores, 0.5)).sum() == 9  # ⌈0.5 · 20⌉ = 10 stay below
    assert (scores >= threshold(scores, 0.9)).sum() == 1
    assert (scores >= threshold(scores, 0.95)).sum() == 0  # ⌈0.95 · 20⌉ = 19
    assert threshold(scores, 0.5) == pytest.approx(10)


def test_too_few_scores_give_the_largest() -> None:
    assert threshold(np.array([3.0, 7.0]), 0.95) == pytest.approx(7)


@pytest.mark.parametrize("quantile", [0.8, 0.95])
def test_a_new_image_of_the_class_is_above_as_often_as_promised(quantile: float) -> None:
    """The number above among new scores is beta-binomial, and here summed over repetitions: a z-test at 1e-6."""
    random = np.random.default_rng(0)
    training, new, repetitions = 199, 100, 400
    above = 0
    for _ in range(repetitions):
        limit = threshold(random.lognormal(size=training), quantile)
        above += int((random.lognormal(size=new) >= limit).sum())
    beyond = training + 1 - round(quantile * (training + 1))
    count = stats.betabinom(new, beyond, training + 1 - beyond)
    z = (above - repetitions * count.mean()) / np.sqrt(repetitions * count.var())
    assert count.mean() / new == pytest.approx(1 - quantile)
    assert abs(z) < stats.norm.isf(0.5e-6)


@pytest.mark.parametrize("quantile", [0.0, 1.0, 95.0])
def test_a_quantile_out_of_range_is_refused(quantile: float) -> None:
    with pytest.raises(ValueError, match="between 0 and 1"):
        threshold(np.ones(3), quantile)


def test_no_scores_are_refused() -> None:
    with pytest.raises(ValueError, match="at least one"):
        threshold(np.empty(0), 0.95)
