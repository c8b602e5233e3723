import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from sklearn.metrics import average_precision_score, roc_auc_score
from torch import Tensor, nn

from clr_hpc.models.task_model import BinaryClassifier
from clr_hpc.training.data import LabelledRows
from clr_hpc.training.distributed import ProcessGroup
from clr_hpc.training.metrics import areas, evaluate

ALONE = ProcessGroup.alone(torch.device("cpu"))


class ReadsTheLogit(nn.Module):
    """A backbone whose logit is the image's only pixel, with a dropout that evaluation must switch off."""

    def __init__(self) -> None:
        super().__init__()
        self.dropout = nn.Dropout(0.9)

    def forward(self, images: Tensor) -> Tensor:
        return self.dropout(images).flatten(1)


LOGITS = np.array([2.0, -1.0, 0.5, -3.0, 0.1], dtype=np.float32)


def load(rows: NDArray[np.int64]) -> Tensor:
    return torch.from_numpy(LOGITS[rows]).reshape(-1, 1, 1, 1)


def split_with(*labels: float) -> LabelledRows:
    return LabelledRows(np.arange(len(labels)), np.array(labels, dtype=np.float32))


@pytest.mark.parametrize("fills_batches", [False, True])
@pytest.mark.parametrize("batch_size", [1, 2, 100])
def test_metrics_by_hand(batch_size: int, fills_batches: bool) -> None:
    sizes = set()

    def load_noting(rows: NDArray[np.int64]) -> Tensor:
        sizes.add(len(rows))
        return load(rows)

    model = BinaryClassifier(ReadsTheLogit()).train()
    evaluation = evaluate(model, split_with(1, 0, 1, 0, 0), load_noting, 0.5, ALONE, batch_size, fills_batches)
    assert not fills_batches or sizes == {batch_size}
    metrics = evaluation.metrics
    assert metrics.accuracy == pytest.approx(4 / 5)
    assert metrics.auroc == 1
    assert metrics.average_precision == 1
    assert (metrics.images, metrics.positives) == (5, 2)
    probability = 1 / (1 + np.exp(-LOGITS))
    np.testing.assert_allclose(evaluation.scores, probability, rtol=1e-6)
    losses = -np.log([probability[0], 1 - probability[1], probability[2], 1 - probability[3], 1 - probability[4]])
    assert metrics.loss == pytest.approx(losses.mean())
    assert model.training, "the mode must be as it was"


def test_one_class_leaves_ranking_undefined() -> None:
    metrics = evaluate(BinaryClassifier(ReadsTheLogit()), split_with(0, 0, 0, 0, 0), load, 0.5, ALONE).metrics
    assert (metrics.auroc, metrics.average_precision) == (None, None)
    assert metrics.accuracy == pytest.approx(2 / 5)


def test_an_empty_split_has_no_metrics() -> None:
    metrics = evaluate(BinaryClassifier(ReadsTheLogit()), split_with(), load, 0.5, ALONE).metrics
    assert (metrics.loss, metrics.accuracy, metrics.images) == (None, None, 0)


def test_scores_that_are_not_finite_are_an_error() -> None:
    def load_nan(rows: NDArray[np.int64]) -> Tensor:
        return torch.full((len(rows), 1, 1, 1), torch.nan)

    with pytest.raises(FloatingPointError, match="lower lr_max"):
        evaluate(BinaryClassifier(ReadsTheLogit()), split_with(0, 1), load_nan, 0.5, ALONE)


@given(st.lists(st.tuples(st.booleans(), st.sampled_from([-2.5, 0.0, 0.1, 0.2, 7.0])), min_size=2, max_size=40))
def test_areas_are_those_of_scikit_learn(images: list[tuple[bool, float]]) -> None:
    """Few different scores, so that most are tied."""
    labels = np.array([label for label, _ in images])
    scores = np.array([score for _, score in images], dtype=np.float32)
    if labels.all() or not labels.any():
        assert areas(labels, scores) == (None, None)
    else:
        wanted = roc_auc_score(labels, scores), average_precision_score(labels, scores)
        assert areas(labels, scores) == pytest.approx(wanted, abs=1e-12)
