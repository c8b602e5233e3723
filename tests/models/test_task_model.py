import pytest
import torch
from torch import nn

from clr_hpc.models.task_model import BinaryClassifier


def test_losses_are_weighted_cross_entropies_and_scores_probabilities() -> None:
    model = BinaryClassifier(nn.Identity(), positive_weight=3.0)
    images = torch.tensor([[0.0], [2.0]])
    outputs = model(images)
    assert outputs.shape == (2,)
    probability = 1 / (1 + torch.exp(-outputs))
    labels = torch.tensor([1.0, 0.0])
    expected = -(3 * labels * probability.log() + (1 - labels) * (1 - probability).log())
    torch.testing.assert_close(model.losses(outputs, images, labels), expected)
    torch.testing.assert_close(model.scores(outputs, images), probability)


def test_the_weight_is_no_part_of_the_model() -> None:
    assert not BinaryClassifier(nn.Identity(), positive_weight=3.0).state_dict()


def test_every_known_label_has_a_loss() -> None:
    assert BinaryClassifier(nn.Identity()).has_loss(torch.tensor([0.0, 1.0])).all()


@pytest.mark.parametrize("weight", [1.0, 3.0])
def test_the_best_constant_answer_is_the_best_of_all_constants(weight: float) -> None:
    model = BinaryClassifier(nn.Identity(), weight)
    labels = torch.tensor([1.0] * 3 + [0.0] * 17)
    constants = torch.linspace(-4, 4, 2001)[:, None].expand(-1, len(labels))
    losses = torch.stack([model.losses(answers, answers, labels).mean() for answers in constants])
    assert model.constant_prediction_loss(labels) == pytest.approx(losses.min().item(), abs=1e-5)


def test_where_all_images_are_alike_a_constant_answer_is_right() -> None:
    model = BinaryClassifier(nn.Identity(), 3.0)
    assert model.constant_prediction_loss(torch.zeros(5)) == model.constant_prediction_loss(torch.ones(5)) == 0
