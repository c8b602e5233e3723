import numpy as np
import pytest
from scipy import stats

from clr_hpc.reporting.stats.significance import combined, holm, mcnemar, mean_interval


@pytest.mark.parametrize(
    ("only_one", "only_other", "expected"),
    [
        (86, 150, 3.7159361395713866e-05),  # Agresti, Categorical Data Analysis, approval of a prime minister
        (1, 7, 0.0703125),
        (0, 5, 0.0625),
        (6, 6, 1.0),
        (0, 0, 1.0),
    ],
)
def test_mcnemar_is_that_of_statsmodels(only_one: int, only_other: int, expected: float) -> None:
    """Expected: ``statsmodels.stats.contingency_tables.mcnemar(..., exact=True)``, version 0.15.0."""
    both = 40
    one = np.array([True] * (both + only_one) + [False] * only_other)
    other = np.array([True] * both + [False] * only_one + [True] * only_other)
    assert mcnemar(one, other) == pytest.approx(expected, rel=1e-12)
    assert mcnemar(other, one) == mcnemar(one, other)


def test_holm_is_the_published_example_and_that_of_statsmodels() -> None:
    """The four p-values are Wikipedia's example; the six, ``statsmodels.stats.multitest.multipletests`` 0.15.0."""
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02], abs=1e-12)
    assert holm([0.2, 0.001, 0.04, 0.04, 0.6, 0.011]) == pytest.approx(HOLM_OF_SIX, abs=1e-12)


HOLM_OF_SIX = [0.4, 0.006, 0.16, 0.16, 0.6, 0.055]


def test_holm_counts_only_what_is_defined() -> None:
    adjusted = holm([0.01, float("nan"), 0.04])
    assert adjusted[0] == pytest.approx(0.02)
    assert np.isnan(adjusted[1])
    assert adjusted[2] == pytest.approx(0.04)
    assert holm([]) == []


def test_combined_p_values_are_never_too_small() -> None:
    """Under the null hypothesis, at most 5 % lie below 0.05, however the seeds hang together."""
    generator = np.random.default_rng(6)
    for share in (0.0, 0.6, 1.0):
        z = np.sqrt(share) * generator.normal(size=(4000, 1)) + np.sqrt(1 - share) * generator.normal(
            size=(4000, 3)
        )
        below = np.mean([combined(row) < 0.05 for row in 2 * stats.norm.sf(np.abs(z))])
        assert below < 0.06
    assert combined([0.03]) == 0.03
    assert combined([0.01, 0.5]) == pytest.approx(0.02)
    assert combined([0.01, 0.02, 0.9]) == pytest.approx(0.03)
    assert np.isnan(combined([float("nan")]))


def test_mean_interval_is_students() -> None:
    values = [0.1, 0.3, 0.2, 0.4]
    expected = stats.t.interval(0.95, 3, loc=np.mean(values), scale=stats.sem(values))
    found = mean_interval(values)
    assert found is not None
    assert (found.low, found.high) == pytest.approx(expected)
    assert mean_interval([0.1]) is None
