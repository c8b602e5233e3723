import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import stats
from sklearn.metrics import average_precision_score, roc_auc_score

from clr_hpc.reporting.stats import bootstrap
from clr_hpc.reporting.stats.bootstrap import (
    Sampled,
    auroc,
    defined_share,
    mean_of_defined,
    patient_draws,
    resampled_areas,
)

COARSE_SCORES = st.integers(0, 5).map(lambda step: step / 5)
"""Few different values, so that ties between the classes are common."""


@given(data=st.data(), images=st.integers(2, 30))
def test_resampled_areas_are_those_of_scikit_learn(data: st.DataObject, images: int) -> None:
    labels = data.draw(arrays(np.bool_, images))
    scores = data.draw(arrays(np.float64, images, elements=COARSE_SCORES))
    weights = data.draw(arrays(np.int32, (images, 3), elements=st.integers(0, 4)))
    areas = resampled_areas(labels, scores, np.arange(images), weights)
    for area, precision, weight in zip(*areas, weights.T, strict=True):
        if weight[labels].sum() == 0 or weight[~labels].sum() == 0:
            assert np.isnan(area)
            assert np.isnan(precision)
        else:
            assert area == pytest.approx(roc_auc_score(labels, scores, sample_weight=weight), abs=1e-12)
            expected = average_precision_score(labels, scores, sample_weight=weight)
            assert precision == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("label", [True, False])
def test_auroc_of_one_class_is_not_defined(label: bool) -> None:
    assert np.isnan(auroc(np.full(5, label), np.linspace(0, 1, 5)))


def test_a_draw_counts_each_patients_images_together() -> None:
    """The weights give what listing the drawn patients' images again and again gives."""
    generator = np.random.default_rng(1)
    patients = np.repeat(np.arange(40), 3)
    labels = generator.random(120) < 0.3
    scores = generator.random(120) + 0.3 * labels
    draws = patient_draws(40, 25, generator).astype(np.float64)  # whose precision areas have
    assert draws.shape == (40, 25)
    assert (draws.sum(axis=0) == 40).all()
    areas = resampled_areas(labels, scores, patients, draws).auroc
    for area, counts in zip(areas, draws.T.astype(int), strict=True):
        images = np.concatenate(
            [np.flatnonzero(patients == patient) for patient in np.repeat(np.arange(40), counts)]
        )
        assert area == pytest.approx(roc_auc_score(labels[images], scores[images]), abs=1e-12)


def test_interval_holds_the_truth_about_as_often_as_it_says() -> None:
    """Of 200 samples with three alike images a patient, 95 % intervals miss about 10; by images, far more."""
    generator = np.random.default_rng(2)
    truth = 0.7602  # Phi(1 / sqrt(2)), the area between two normals one standard deviation apart
    missed_by_patients = missed_by_images = 0
    for _ in range(200):
        labels = np.repeat(generator.random(100) < 0.5, 3)
        scores = np.repeat(generator.normal(size=100), 3) + labels
        alone = np.arange(300)
        value = auroc(labels, scores)
        by_patients, by_images = (
            Sampled(
                value,
                resampled_areas(labels, scores, owners, patient_draws(count, 300, generator)).auroc,
                min(len(np.unique(owners[labels])), len(np.unique(owners[~labels]))) - 1,
            ).interval
            for owners, count in ((alone // 3, 100), (alone, 300))
        )
        assert by_patients is not None
        assert by_images is not None
        missed_by_patients += by_patients.excludes(truth)
        missed_by_images += by_images.excludes(truth)
    assert 2 <= missed_by_patients <= 22
    assert missed_by_images > 2 * missed_by_patients


def test_an_interval_needs_both_classes_in_nearly_every_draw() -> None:
    draws = np.linspace(0.4, 0.6, 1001)
    assert Sampled(0.5, draws, 99).interval is not None
    draws[:60] = np.nan
    assert defined_share(draws) < 0.95
    assert Sampled(0.5, draws, 99).interval is None
    assert Sampled(float("nan"), np.empty(0), 0).interval is None


def test_an_interval_is_students_on_the_logit_scale() -> None:
    draws = 0.9 + 0.02 * np.random.default_rng(4).standard_normal(4000)
    found = Sampled(0.9, draws, 9).interval
    error = draws.std(ddof=1) * np.sqrt(10 / 9) / (0.9 * 0.1)
    expected = 1 / (1 + np.exp(-(np.log(9) + stats.t.ppf([0.025, 0.975], 9) * error)))
    assert found is not None
    assert (found.low, found.high) == pytest.approx(tuple(expected), rel=1e-9)


@given(value=st.floats(0.001, 0.999), spread=st.floats(0.0001, 0.5), degrees=st.integers(1, 500))
def test_no_interval_leaves_the_range_of_a_share(value: float, spread: float, degrees: int) -> None:
    draws = np.clip(value + spread * np.linspace(-1, 1, 100), 0, 1)
    found = Sampled(value, draws, degrees).interval
    assert found is not None
    assert 0 <= found.low <= value <= found.high <= 1


@pytest.mark.parametrize("edge", [0.0, 1.0])
def test_where_no_draw_shows_anything_else_there_is_no_interval(edge: float) -> None:
    assert Sampled(edge, np.full(100, edge), 50).interval is None


def test_means_know_how_few_patients_they_rest_on() -> None:
    draws = np.random.default_rng(5).normal(0.8, 0.02, (2, 1000))
    rare, frequent = Sampled(0.8, draws[0], 4), Sampled(0.8, draws[1], 400)
    assert Sampled.over_seeds([rare, rare]).degrees == 4
    # Satterthwaite, of variances v n / (n - 1) of 4 and 400 degrees of freedom
    few, many = 5 / 4, 401 / 400
    expected = (few + many) ** 2 / (few**2 / 4 + many**2 / 400)
    assert Sampled.over_tasks([rare, frequent]).degrees == pytest.approx(expected, rel=0.1)


def test_mean_of_defined_leaves_out_what_is_not() -> None:
    draws = np.array([[1.0, np.nan, np.nan], [3.0, 3.0, np.nan]])
    np.testing.assert_array_equal(mean_of_defined(draws), [2.0, 3.0, np.nan])


def test_areas_of_many_positives_scatter_as_with_all_their_places(monkeypatch: pytest.MonkeyPatch) -> None:
    generator = np.random.default_rng(6)
    patients = np.sort(generator.integers(0, 500, 4000)).astype(np.int32)
    labels = (generator.normal(size=500)[patients] + generator.normal(size=4000)) > 1
    scores = labels + generator.normal(size=4000) + 0.5 * generator.normal(size=500)[patients]
    assert labels.sum() > bootstrap.MOST_PLACES
    draws = patient_draws(500, 400, generator)
    counted = resampled_areas(labels, scores, patients, draws)
    monkeypatch.setattr(bootstrap, "MOST_PLACES", 10_000)
    exact = resampled_areas(labels, scores, patients, draws)
    for rough, true in zip(counted, exact, strict=True):
        assert not np.array_equal(rough, true)
        assert abs(rough - true).max() < 0.15 * true.std()
        assert rough.std() == pytest.approx(true.std(), rel=0.01)
