"""SimSiam: what its loss is of, and that it learns without collapsing."""

import pytest
import torch
from torch.nn.functional import cosine_similarity

from clr_hpc.config.run import Initialisation
from clr_hpc.config.task import NearestNeighbours
from clr_hpc.models.backbones import build_backbone
from clr_hpc.models.one_class.embedding import EmbeddingDetector
from clr_hpc.models.pretraining import WIDTH, SimSiam

pytestmark = pytest.mark.usefixtures("one_thread")


def model(seed: int = 0) -> SimSiam:
    return SimSiam(build_backbone("mobilenet_v1", 1, Initialisation(), seed), seed)


def test_the_loss_is_between_a_prediction_and_the_neighbours_projection() -> None:
    """Equation 2 of the paper, by image: ½ D(p1, z2) + ½ D(p2, z1), here as a mean over both views."""
    outputs = torch.randn(6, 2, WIDTH, generator=torch.Generator().manual_seed(0), requires_grad=True)
    losses = model().train().losses(outputs, outputs, outputs)
    predicted, projected = outputs.detach().unbind(dim=1)
    expected = [1 - cosine_similarity(predicted[view], projected[view ^ 1], dim=0) for view in range(6)]
    assert losses.tolist() == pytest.approx([float(value) for value in expected])
    losses.sum().backward()
    assert outputs.grad is not None
    assert (outputs.grad[:, 1] == 0).all(), "no gradient flows through a projection"
    assert (outputs.grad[:, 0] != 0).any()


def test_in_evaluation_an_image_is_scored_alone() -> None:
    built = model().eval()
    images = torch.rand(5, 1, 32, 32, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        together = built.scores(built(images), images)
        alone = torch.cat([built.scores(built(image[None]), image[None]) for image in images])
    assert together.tolist() == pytest.approx(alone.tolist(), abs=1e-5)
    assert (together > 0).all(), "its enlarged middle is another view"


def test_the_same_seed_draws_the_same_weights_and_leaves_the_generator_alone() -> None:
    torch.manual_seed(5)
    one, state = model(3).state_dict(), torch.get_rng_state()
    two, other = model(3).state_dict(), model(4).state_dict()
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(value, two[name]) for name, value in one.items())
    assert not torch.equal(one["predictor.3.weight"], other["predictor.3.weight"])


def test_methods_on_features_start_from_its_backbone() -> None:
    pretrained = model(1)
    detector = EmbeddingDetector(
        build_backbone("mobilenet_v1", 1, Initialisation(), 0), NearestNeighbours(), seed=0, is_trained=False
    )
    detector.start_from(pretrained.state_dict())
    assert torch.equal(detector.backbone.conv_stem.weight, pretrained.backbone.conv_stem.weight)
