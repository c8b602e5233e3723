import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from clr_hpc.models.one_class.floors import STATISTICS, floor_scores, statistics


def images(count: int, seed: int, added: float = 0.0, contrast: float = 20.0) -> np.ndarray:
    noise = np.random.default_rng(seed).normal(120 + added, contrast, (count, 8, 8))
    return noise.clip(0, 255).astype(np.uint8)


def test_statistics_are_of_each_image() -> None:
    found = statistics(np.stack([np.full((8, 8), 7, np.uint8), np.arange(64, dtype=np.uint8).reshape(8, 8)]))
    assert found.shape == (2, STATISTICS)
    assert found[0].tolist() == [7, 0, 7, 7, 7]
    assert found[1] == pytest.approx([31.5, np.arange(64).std(), 3.15, 31.5, 59.85])


@pytest.mark.parametrize("added", [-15, 15])
def test_brightness_is_turned_by_the_training_images(added: float) -> None:
    found = statistics(np.concatenate([images(100, 0), images(100, 1, added)]))
    labels = np.arange(200) >= 100
    learned = np.arange(200) % 2 == 0
    scores = floor_scores(found, labels, learned)
    assert roc_auc_score(labels[~learned], scores["brightness"][~learned]) > 0.9


def test_statistics_see_what_brightness_does_not() -> None:
    found = statistics(np.concatenate([images(100, 0), images(100, 1, contrast=30)]))
    labels = np.arange(200) >= 100
    learned = np.arange(200) % 2 == 0
    scores = floor_scores(found, labels, learned)
    assert roc_auc_score(labels[~learned], scores["statistics"][~learned]) > 0.95
    assert roc_auc_score(labels[~learned], scores["brightness"][~learned]) < 0.75


def test_one_class_in_training_has_no_floors() -> None:
    assert floor_scores(statistics(images(10, 0)), np.zeros(10, bool), np.ones(10, bool)) == {}
