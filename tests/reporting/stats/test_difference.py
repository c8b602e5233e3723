import warnings

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import stats

from clr_hpc.reporting.read.predictions import Scores
from clr_hpc.reporting.stats.bootstrap import Interval
from clr_hpc.reporting.stats.difference import (
    Cell,
    Difference,
    Influence,
    auroc_difference,
    influences,
    of_single_runs,
    training_difference,
)


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


def of_models(labels: NDArray[np.bool_], scores: NDArray[np.float64], patients: NDArray[np.int32]) -> Difference:
    """Return the difference of two models ``(2, N)``."""
    return auroc_difference([cell_of(labels, patients, scores[:, None])])


def cell_of(labels: NDArray[np.bool_], patients: NDArray[np.int32], scores: NDArray[np.float64]) -> Cell:
    """Return two policies' models, scores ``(2, S, N)``, as the only cell of a mean."""
    images = np.arange(len(labels), dtype=np.int32)
    first, second = ([Influence.of(Scores(images, patients, labels, one)) for one in side] for side in scores)
    return Cell(first, second, 1.0)


def alone(images: int) -> NDArray[np.int32]:
    return np.arange(images, dtype=np.int32)


@given(seed=st.integers(0, 10_000), images=st.integers(8, 60))
def test_delong_is_the_formula_of_1988_to_12_digits(seed: int, images: int) -> None:
    generator = np.random.default_rng(seed)
    labels = generator.random(images) < 0.4
    labels[:4] = [True, True, False, False]
    scores = generator.integers(0, 12, (2, images)) / 12 + 0.2 * labels  # ties abound
    difference, variance = delong_by_pairs(labels, scores)
    found = of_models(labels, scores, alone(images))
    assert found.value == pytest.approx(difference, abs=1e-12)
    assert found.patients is not None
    assert found.patients.value == pytest.approx(variance, abs=1e-12)
    if variance > 1e-12:
        expected = 2 * stats.t.sf(abs(difference) / np.sqrt(variance), found.patients.degrees)
        assert found.patient_p_value == pytest.approx(expected, abs=1e-9)


def test_clusters_are_obuchowskis_formula() -> None:
    """Sums over patients as Obuchowski (1997) writes them; the classes' covariance has another n / (n - 1)."""
    generator = np.random.default_rng(3)
    patients = np.repeat(alone(20), 3)
    labels = generator.random(60) < 0.4
    scores = generator.normal(size=60) + labels
    psi = (scores[labels][:, None] > scores[~labels][None, :]).astype(float)
    area, m, n = psi.mean(), labels.sum(), (~labels).sum()
    s10 = s01 = s11 = 0.0
    for patient in range(20):
        own_p, own_n = patients[labels] == patient, patients[~labels] == patient
        v10 = psi.mean(axis=1)[own_p].sum() - own_p.sum() * area
        v01 = psi.mean(axis=0)[own_n].sum() - own_n.sum() * area
        s10, s01, s11 = s10 + v10 * v10, s01 + v01 * v01, s11 + v10 * v01
    i10, i01 = len(set(patients[labels])), len(set(patients[~labels]))
    of_both = np.sqrt(i10 / (i10 - 1) * i01 / (i01 - 1))
    variance = s10 * i10 / ((i10 - 1) * m) / m + s01 * i01 / ((i01 - 1) * n) / n + 2 * s11 * of_both / (m * n)
    auroc, added = influences(labels, scores[None], patients, 20)
    assert auroc[0] == pytest.approx(area, abs=1e-12)
    assert added is not None
    assert (added**2).sum() == pytest.approx(variance, abs=1e-12)


def test_images_of_one_patient_are_no_independent_evidence() -> None:
    """Listing every image four times leaves the clustered p-value nearly alone and shrinks the plain one."""
    generator = np.random.default_rng(4)
    labels = np.repeat(generator.random(80) < 0.5, 4)
    scores = np.repeat(generator.normal(size=(2, 80)), 4, axis=1) + np.array([[0.9], [0.5]]) * labels
    once = of_models(labels[::4], scores[:, ::4], alone(80))
    clustered = of_models(labels, scores, np.repeat(alone(80), 4))
    plain = of_models(labels, scores, alone(320))
    assert clustered.patient_p_value == pytest.approx(once.patient_p_value, rel=1e-6)
    assert plain.patient_p_value < once.patient_p_value


def test_of_equal_models_half_the_p_values_are_below_a_half() -> None:
    generator = np.random.default_rng(5)
    labels = np.arange(100) < 30
    shared = generator.normal(size=(400, 1, 100)) + labels
    scores = shared + generator.normal(size=(400, 2, 100))
    p_values = [of_models(labels, pair, alone(100)).patient_p_value for pair in scores]
    assert stats.kstest(p_values, "uniform").pvalue > 0.01


def test_differences_that_cannot_be_tested_are_not_defined() -> None:
    labels = np.array([True, True, False, False])
    scores = np.array([[0.9, 0.8, 0.1, 0.2]])
    assert of_models(labels, np.concatenate([scores, scores]), alone(4)).patient_p_value == 1.0
    assert np.isnan(of_models(labels, np.concatenate([scores, 1 - scores]), alone(4)).patient_p_value)
    of_two = np.array([0, 0, 1, 1], dtype=np.int32)
    assert of_models(labels, np.concatenate([scores, 1 - scores]), of_two).patients is None


def test_one_seed_shows_nothing_of_training() -> None:
    generator = np.random.default_rng(6)
    labels = generator.random(200) < 0.4
    found = of_models(labels, generator.normal(size=(2, 200)) + labels, alone(200))
    assert found.patient_interval is not None
    assert found.total is None
    assert found.interval is None
    assert np.isnan(found.p_value)
    assert np.isnan(found.equivalence_p_value(0.01))


def test_patients_count_once_however_many_seeds_they_are_tested_with() -> None:
    """Seeds that score all images alike add no patients: the variance over patients stays that of one seed."""
    generator = np.random.default_rng(7)
    labels = generator.random(300) < 0.3
    one = generator.normal(size=(2, 1, 300)) + labels
    single = auroc_difference([cell_of(labels, alone(300), one)])
    repeated = auroc_difference([cell_of(labels, alone(300), np.repeat(one, 5, axis=1))])
    assert single.patients is not None
    assert repeated.total is not None
    assert repeated.total.value == pytest.approx(single.patients.value, rel=1e-9)


def mixed_model(differences: NDArray[np.float64]) -> tuple[float, float, float]:
    """Return statsmodels' REML estimates: variance shared by a seed, that of a run, standard error of the mean.

    Tasks are fixed effects about the mean, seeds random ones.
    """
    from statsmodels.regression.mixed_linear_model import MixedLM  # takes a second, in each process that collects

    tasks, _ = differences.shape
    task, seed = (place.ravel() for place in np.indices(differences.shape))
    # sum-to-zero columns, so that the first coefficient is the mean over tasks
    effects = np.array([np.eye(tasks)[t, 1:] - (t == 0) for t in task])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of convergence near the edge of what variances can be
        fit = MixedLM(differences.ravel() * 100, np.column_stack([np.ones(len(task)), effects]), seed).fit(
            reml=True
        )
    return float(fit.cov_re[0, 0]) / 1e4, float(fit.scale) / 1e4, float(fit.bse_fe[0]) / 100


@pytest.mark.parametrize("number", range(10))
def test_the_variance_of_training_is_that_of_a_mixed_model(number: int) -> None:
    """Ten data sets of 4 to 14 tasks and 3 to 7 seeds, fitted by statsmodels' REML as well."""
    generator = np.random.default_rng(number)
    tasks, seeds = int(generator.integers(4, 15)), int(generator.integers(3, 8))
    differences = generator.normal(size=(tasks, 1)) / 50 + generator.normal(size=(1, seeds)) * 0.02
    differences = differences + generator.normal(size=(tasks, seeds)) * 0.01
    found = training_difference(differences, np.full(tasks, 1 / tasks))
    shared, own, error = mixed_model(differences)
    assert found.total is not None
    assert found.total.value == pytest.approx(shared / seeds + own / (tasks * seeds), rel=1e-3)
    assert of_single_runs(differences, np.full(tasks, 1 / tasks)) == pytest.approx(own / (tasks * seeds), rel=1e-3)
    assert np.sqrt(found.total.value) == pytest.approx(error, rel=1e-3)
    # Satterthwaite's degrees of freedom of a mean over seeds are those of the seeds
    expected = 2 * stats.t.sf(abs(differences.mean()) / error, seeds - 1)
    assert found.p_value == pytest.approx(expected, rel=1e-2)


@pytest.mark.parametrize(
    ("value", "interval", "equivalent"), [(0.1, None, False), (0.0, Interval(0.0, 0.0), True)]
)
def test_seeds_that_all_agree_show_nothing_but_equality(
    value: float, interval: Interval | None, equivalent: bool
) -> None:
    found = training_difference(np.full((2, 3), value), np.array([0.5, 0.5]))
    assert found.interval == interval
    assert (found.equivalence_p_value(0.2) < 0.05) == equivalent
