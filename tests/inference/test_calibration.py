import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import roc_curve

from clr_hpc.inference.calibration import Calibration, fit, youden_threshold


def drawn(count: int, weight: float, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Return true probabilities, labels, patients, and scores whose odds are ``weight`` times too high."""
    generator = np.random.default_rng(seed)
    truth = 1 / (1 + np.exp(-generator.normal(-1.5, 1.2, count)))
    labels = generator.random(count) < truth
    patients = generator.integers(0, count // 2, count).astype(str)
    odds = weight * truth / (1 - truth)
    return truth, labels, patients, odds / (1 + odds)


def test_the_weight_of_training_is_taken_out_again() -> None:
    truth, labels, patients, scores = drawn(4000, 8.0, 1)
    calibration = fit(scores, labels, patients)
    assert calibration is not None
    assert calibration.method == "logistic", "which is the true form here, so that steps can't be likelier"
    assert np.abs(calibration(scores) - truth).mean() < 0.02 < np.abs(scores - truth).mean()


def test_steps_are_taken_where_they_are_likelier() -> None:
    generator = np.random.default_rng(2)
    scores = generator.uniform(0.01, 0.99, 4000)
    truth = np.where(scores < 0.5, 0.05, np.where(scores < 0.6, 0.5, 0.55))
    labels = generator.random(4000) < truth
    calibration = fit(scores, labels, np.arange(4000).astype(str))
    assert calibration is not None
    assert calibration.method == "isotonic"
    assert np.abs(calibration(scores) - truth).mean() < 0.03


@given(st.lists(st.tuples(st.floats(0, 1), st.booleans()), min_size=2, max_size=60))
def test_no_two_images_change_places_and_none_leaves_the_range(images: list[tuple[float, bool]]) -> None:
    scores, labels = np.array([score for score, _ in images]), np.array([label for _, label in images])
    calibration = fit(scores, labels, np.arange(len(images)).astype(str))
    if calibration is None:
        assert labels.all() or not labels.any()
        return
    ordered = calibration(np.sort(scores))
    assert (np.diff(ordered) >= -1e-12).all()
    assert (ordered >= 0).all()
    assert (ordered <= 1).all()


def test_the_threshold_is_that_of_scikit_learns_roc_curve() -> None:
    _, labels, _, scores = drawn(500, 3.0, 3)
    scores = scores.round(2)
    false_positive, true_positive, thresholds = roc_curve(labels, scores)
    found = youden_threshold(scores, labels)
    at = (true_positive - false_positive).argmax()
    assert found == pytest.approx(thresholds[at])
    assert (scores[labels] >= found).mean() == pytest.approx(true_positive[at])


def test_one_label_alone_gives_neither() -> None:
    scores = np.array([0.1, 0.9])
    assert np.isnan(youden_threshold(scores, np.array([True, True])))
    assert fit(scores, np.array([False, False]), np.array(["a", "b"])) is None
    assert Calibration("logistic", np.array([1.0, 0.0]), np.empty(0))(scores) == pytest.approx(scores)
