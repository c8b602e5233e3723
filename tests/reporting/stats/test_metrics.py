import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest
from sklearn.calibration import calibration_curve
from sklearn.metrics import (
    accuracy_score,
    average_precision_score,
    balanced_accuracy_score,
    brier_score_loss,
    recall_score,
    roc_auc_score,
    roc_curve,
)

from clr_hpc.reporting.read.predictions import Scores
from clr_hpc.reporting.stats.bootstrap import patient_draws
from clr_hpc.reporting.stats.calibration import corrected
from clr_hpc.reporting.stats.metrics import CALIBRATION_BINS, MEASURES, measure, youden_threshold


def model(seed: int, images: int = 120) -> Scores:
    generator = np.random.default_rng(seed)
    labels = generator.random(images) < 0.3
    labels[:2] = [True, False]
    scores = np.round(1 / (1 + np.exp(-generator.normal(size=images) - labels)), 2)
    number = np.arange(images, dtype=np.int32)
    return Scores(number, number // 3, labels, scores)


@given(seed=st.integers(0, 10_000))
def test_measures_are_those_of_scikit_learn(seed: int) -> None:
    scored = model(seed)
    labels, scores = scored.labels, scored.scores
    found = {
        name: estimate.value
        for name, estimate in measure(scored, 0.4, np.ones((40, 1), np.int32), True, 2.5).items()
    }
    called = scores >= 0.4
    shares, means = calibration_curve(labels, scores, n_bins=CALIBRATION_BINS, strategy="uniform")
    counts, _ = np.histogram(scores, CALIBRATION_BINS, (0, 1))
    edges = np.minimum((scores * CALIBRATION_BINS).astype(int), CALIBRATION_BINS - 1)
    assert found == pytest.approx(
        {
            "auroc": roc_auc_score(labels, scores),
            "average_precision": average_precision_score(labels, scores),
            "accuracy": accuracy_score(labels, called),
            "balanced_accuracy": balanced_accuracy_score(labels, called),
            "sensitivity": recall_score(labels, called),
            "specificity": recall_score(~labels, ~called),
            "brier": brier_score_loss(labels, scores),
            "brier_corrected": brier_score_loss(labels, corrected(scores, 2.5)),
            "calibration_error": found["calibration_error"],
            "calibration_error_corrected": found["calibration_error_corrected"],
        },
        abs=1e-12,
    )
    if (np.bincount(edges, minlength=CALIBRATION_BINS) == counts).all() and not np.isin(
        scores * 10, range(11)
    ).any():
        error = (np.abs(shares - means) * counts[counts > 0]).sum() / len(labels)
        assert found["calibration_error"] == pytest.approx(error, abs=1e-12)


def test_calibration_error_of_three_bins_by_hand() -> None:
    labels = np.array([False, True, True, True, False])
    scores = np.array([0.05, 0.07, 0.65, 0.61, 1.0])
    scored = Scores(np.arange(5, dtype=np.int32), np.arange(5, dtype=np.int32), labels, scores)
    found = measure(scored, None, np.ones((5, 1), np.int32), True)["calibration_error"].value
    assert found == pytest.approx((2 * (0.5 - 0.06) + 2 * (1 - 0.63) + 1 * 1) / 5)


def test_a_measure_on_a_draw_is_that_of_the_drawn_images() -> None:
    scored = model(7)
    draws = patient_draws(40, 20, np.random.default_rng(0)).astype(np.float64)  # whose precision sums have
    estimates = measure(scored, 0.4, draws, True)
    for position, counts in enumerate(draws.T.astype(int)):
        images = np.repeat(np.arange(120), counts[scored.patients])
        labels, scores = scored.labels[images], scored.scores[images]
        expected = {
            "average_precision": average_precision_score(labels, scores),
            "accuracy": accuracy_score(labels, scores >= 0.4),
            "specificity": recall_score(~labels, scores < 0.4),
            "brier": brier_score_loss(labels, scores),
        }
        found = {name: float(estimates[name].sampled.draws[position]) for name in expected}
        assert found == pytest.approx(expected, abs=1e-7), "draws are kept in single precision"


def test_intervals_hold_their_values() -> None:
    for name, estimate in measure(model(8), 0.4, patient_draws(40, 400, np.random.default_rng(1)), True).items():
        assert estimate.reason == ""
        if name.startswith("calibration_error"):  # resampling adds to it, so no interval is given
            assert estimate.interval is None
        else:
            assert estimate.interval is not None, name
            assert estimate.interval.low < estimate.value < estimate.interval.high


@given(seed=st.integers(0, 10_000))
def test_youdens_threshold_is_where_the_roc_curve_is_furthest_from_chance_level(seed: int) -> None:
    scored = model(seed)
    fpr, tpr, _ = roc_curve(scored.labels, scored.scores, drop_intermediate=False)
    threshold = youden_threshold(scored.labels, scored.scores)
    assert threshold is not None
    called = scored.scores >= threshold
    advantage = called[scored.labels].mean() - called[~scored.labels].mean()
    assert advantage == pytest.approx((tpr - fpr).max(), abs=1e-12)


@pytest.mark.parametrize("label", [True, False])
def test_one_class_gives_reasons_and_no_numbers(label: bool) -> None:
    scored = model(9)
    scored = Scores(scored.images, scored.patients, np.full(120, label), scored.scores)
    assert youden_threshold(scored.labels, scored.scores) is None
    found = measure(scored, None, np.ones((40, 2), np.int32), False)
    assert list(found) == list(MEASURES)
    for estimate in found.values():
        assert np.isnan(estimate.value)
        assert estimate.interval is None
        assert estimate.reason
    missing = "negative" if label else "positive"
    assert found["auroc"].reason == f"no {missing} image among 120 images"
    defined = measure(scored, 0.5, np.ones((40, 2), np.int32), True)
    assert np.isfinite(defined["sensitivity" if label else "specificity"].value)
    assert np.isfinite(defined["accuracy"].value)
    assert np.isnan(defined["balanced_accuracy"].value)


def test_no_image_at_all_is_not_defined_either() -> None:
    empty = np.empty(0, dtype=np.int32)
    scored = Scores(empty, empty, empty.astype(bool), empty.astype(float))
    assert {
        estimate.reason != "" for estimate in measure(scored, 0.5, np.ones((3, 2), np.int32), True).values()
    } == {True}


def test_a_rare_class_has_a_value_and_no_interval() -> None:
    scored = model(10)
    labels = np.arange(120) < 1
    rare = Scores(scored.images, scored.patients, labels, scored.scores)
    found = measure(rare, 0.5, patient_draws(40, 400, np.random.default_rng(2)), True)["auroc"]
    assert np.isfinite(found.value)
    assert found.interval is None
    assert found.reason.startswith("1 patient of one class: only 6")


def test_a_share_of_all_or_none_is_never_sure() -> None:
    """Every draw of patients gives the same; the exact binomial interval doesn't. Expected: scipy's."""
    scored = model(11)
    found = measure(scored, 2.0, patient_draws(40, 50, np.random.default_rng(3)), True)
    patients = [len(np.unique(scored.patients[labels])) for labels in (scored.labels, ~scored.labels)]
    none_found = binomtest(0, patients[0]).proportion_ci(0.95, "exact")
    all_rejected = binomtest(patients[1], patients[1]).proportion_ci(0.95, "exact")
    for name, exact in (("sensitivity", none_found), ("specificity", all_rejected)):
        bounds = found[name].interval
        assert bounds is not None
        assert (bounds.low, bounds.high) == pytest.approx((exact.low, exact.high), abs=1e-12)
