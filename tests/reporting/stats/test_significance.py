import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import stats

from clr_hpc.reporting.stats.significance import auroc_contrast, combined, holm, mcnemar, mean_interval


def delong_by_pairs(labels: NDArray[np.bool_], scores: NDArray[np.float64]) -> tuple[float, float]:
    """Return difference and variance of two AUROCs, formula by formula as DeLong and others (1988) write them."""
    areas, tens, ones = [], [], []
    for model in scores:
        x, y = model[labels], model[~labels]
        psi = np.array([[1.0 if a > b else 0.5 if a == b else 0.0 for b in y] for a in x])
        areas.append(psi.mean())
        tens.append(psi.mean(axis=1))
        ones.append(psi.mean(axis=0))
    s10, s01 = np.cov(tens), np.cov(ones)
    covariance = s10 / labels.sum() + s01 / (~labels).sum()
    contrast = np.array([1.0, -1.0])
    return float(contrast @ areas), float(contrast @ covariance @ contrast)


@given(seed=st.integers(0, 10_000), images=st.integers(8, 60))
def test_delong_is_the_formula_of_1988_to_12_digits(seed: int, images: int) -> None:
    generator = np.random.default_rng(seed)
    labels = generator.random(images) < 0.4
    labels[:4] = [True, True, False, False]
    scores = generator.integers(0, 12, (2, images)) / 12 + 0.2 * labels  # ties abound
    difference, variance = delong_by_pairs(labels, scores)
    found = auroc_contrast(labels, scores, (1, -1), np.arange(images))
    assert found.value == pytest.approx(difference, abs=1e-12)
    assert found.standard_error**2 == pytest.approx(variance, abs=1e-12)
    if variance > 1e-12:
        assert found.p_value == pytest.approx(2 * stats.norm.cdf(-abs(difference) / np.sqrt(variance)), abs=1e-9)


def test_clusters_are_obuchowskis_formula() -> None:
    """Sums over patients, formula by formula as Obuchowski (1997) writes them, for one model."""
    generator = np.random.default_rng(3)
    patients = np.repeat(np.arange(20), 3)
    labels = generator.random(60) < 0.4
    scores = generator.normal(size=60) + labels
    psi = (scores[labels][:, None] > scores[~labels][None, :]).astype(float)
    area, m, n, i = psi.mean(), labels.sum(), (~labels).sum(), 20
    s10 = s01 = s11 = 0.0
    for patient in range(20):
        own_p, own_n = patients[labels] == patient, patients[~labels] == patient
        v10 = psi.mean(axis=1)[own_p].sum() - own_p.sum() * area
        v01 = psi.mean(axis=0)[own_n].sum() - own_n.sum() * area
        s10, s01, s11 = s10 + v10 * v10, s01 + v01 * v01, s11 + v10 * v01
    i10, i01 = len(set(patients[labels])), len(set(patients[~labels]))
    variance = s10 * i10 / ((i10 - 1) * m) / m + s01 * i01 / ((i01 - 1) * n) / n + 2 * s11 * i / (i - 1) / (m * n)
    found = auroc_contrast(labels, scores[None], (1,), patients)
    assert found.value == pytest.approx(area, abs=1e-12)
    assert found.standard_error == pytest.approx(np.sqrt(variance), abs=1e-12)


def test_images_of_one_patient_are_no_independent_evidence() -> None:
    """Listing every image four times leaves the clustered p-value nearly alone and shrinks the plain one."""
    generator = np.random.default_rng(4)
    labels = np.repeat(generator.random(80) < 0.5, 4)
    scores = np.repeat(generator.normal(size=(2, 80)), 4, axis=1) + np.array([[0.9], [0.5]]) * labels
    once = auroc_contrast(labels[::4], scores[:, ::4], (1, -1), np.arange(80))
    clustered = auroc_contrast(labels, scores, (1, -1), np.repeat(np.arange(80), 4))
    plain = auroc_contrast(labels, scores, (1, -1), np.arange(320))
    assert clustered.p_value == pytest.approx(once.p_value, rel=1e-6)
    assert plain.p_value < once.p_value


def test_of_equal_models_half_the_p_values_are_below_a_half() -> None:
    generator = np.random.default_rng(5)
    labels = np.arange(100) < 30
    shared = generator.normal(size=(400, 1, 100)) + labels
    scores = shared + generator.normal(size=(400, 2, 100))
    p_values = [auroc_contrast(labels, pair, (1, -1), np.arange(100)).p_value for pair in scores]
    assert stats.kstest(p_values, "uniform").pvalue > 0.01


def test_contrasts_that_cannot_be_tested_are_not_defined() -> None:
    labels = np.array([True, True, False, False])
    scores = np.array([[0.9, 0.8, 0.1, 0.2]])
    alone = np.arange(4)
    assert auroc_contrast(labels, np.concatenate([scores, scores]), (1, -1), alone).p_value == 1.0
    assert np.isnan(auroc_contrast(labels, np.concatenate([scores, 1 - scores]), (1, -1), alone).p_value)
    assert np.isnan(auroc_contrast(labels | True, scores, (1,), alone).value)
    assert np.isnan(auroc_contrast(labels, scores, (1,), np.array([0, 0, 1, 1])).p_value)


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
