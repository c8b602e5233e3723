from collections.abc import Callable

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal
from tiny_run import make_spec
from torch import nn
from torch.nn.functional import relu

from clr_hpc.config.network import NETWORKS, Network
from clr_hpc.config.run import Initialisation
from clr_hpc.data.augment import prepare
from clr_hpc.data.pack import Pack
from clr_hpc.inference.gradcam import enlarge, heat_maps, refusal
from clr_hpc.models.backbones import build_backbone
from clr_hpc.models.task_model import BinaryClassifier

SIDE = 64
Floats = np.ndarray[tuple[int, ...], np.dtype[np.float32]]


class SeesBright(nn.Module):
    """Two channels, where it is bright and where it is dark; the logit is the first minus the second."""

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.features = nn.Sequential(nn.Conv2d(1, 2, 8, stride=8), nn.ReLU(inplace=True))
        self.head = nn.Linear(2, num_classes)

    def set_by_hand(self) -> None:
        with torch.no_grad():
            self.features[0].weight.copy_(torch.tensor([1.0, -1.0]).reshape(2, 1, 1, 1) / 64)
            self.features[0].bias.copy_(torch.tensor([-0.8, 0.2]))
            self.head.weight.copy_(torch.tensor([[1.0, -1.0]]))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        features: torch.Tensor = self.features(images)
        pooled: torch.Tensor = self.head(features.mean(dim=(2, 3)))
        return pooled


@pytest.fixture
def sees_bright(monkeypatch: pytest.MonkeyPatch) -> BinaryClassifier:
    monkeypatch.setitem(NETWORKS, "sees_bright", Network("Sees bright", f"{__name__}:SeesBright"))
    built = SeesBright(1)
    built.set_by_hand()
    return BinaryClassifier(built)


def test_the_map_shows_the_place_that_decides(sees_bright: BinaryClassifier, small_pack: Pack) -> None:
    training = {"image_size": SIDE, "normalisation": {"mean": 0.0, "std": 1.0}}
    spec = make_spec(small_pack, training, architecture="sees_bright")
    pixels = np.full((3, SIDE, SIDE), 128, np.uint8)
    pixels[0, 8:16, 40:48] = 255
    pixels[1, 48:64, 0:8] = 255
    pixels[1, 0:8, 0:8] = 0  # speaks against
    pixels[2, 0:8, 0:8] = 0
    maps = heat_maps([sees_bright], spec, pixels)
    assert maps.shape == (3, 8, 8)
    expected = np.zeros((3, 8, 8))
    expected[0, 1, 5] = expected[1, 6, 0] = expected[1, 7, 0] = 1
    assert_allclose(maps, expected, atol=1e-6)
    heat = enlarge(maps, SIDE)
    row, column = np.unravel_index(heat[0].argmax(), heat[0].shape)
    assert (row // 8, column // 8) == (1, 5)
    assert not heat[2].any(), "where nothing speaks for the finding there is no heat"


def test_whether_there_is_a_map_is_known_without_weights() -> None:
    assert refusal("mobilenet_v1", SIDE) is None
    assert "single place" in str(refusal("mobilenet_v1", SIDE // 2))


@pytest.mark.parametrize(
    ("architecture", "features"),
    [
        ("mobilenet_v1", lambda net, images: net.forward_features(images)),
        ("densenet121", lambda net, images: relu(net.features(images))),
    ],
)
def test_of_networks_that_pool_and_weigh_it_is_the_class_activation_map(
    architecture: str, features: Callable[[nn.Module, torch.Tensor], torch.Tensor], small_pack: Pack
) -> None:
    """Zhou et al. 2016, arXiv:1512.04150: the last layer's weights times the features, without a gradient."""
    spec = make_spec(small_pack, {"image_size": SIDE}, architecture=architecture)
    pixels = small_pack.gather(np.arange(12))
    networks = [BinaryClassifier(build_backbone(architecture, 1, Initialisation(), seed)) for seed in (0, 1)]
    maps = heat_maps(networks, spec, pixels)
    images = prepare(torch.from_numpy(pixels), SIDE, spec.training.normalisation)
    expected = np.mean([activation_map(network.backbone, features, images) for network in networks], axis=0)
    assert maps.any()
    assert_allclose(maps, expected, atol=1e-4)


@torch.no_grad()
def activation_map(
    net: nn.Module, features: Callable[[nn.Module, torch.Tensor], torch.Tensor], images: torch.Tensor
) -> Floats:
    heat = relu(torch.einsum("k,bkij->bij", net.classifier.weight[0], features(net.eval(), images)))
    return (heat / heat.amax(dim=(1, 2), keepdim=True).clamp_min(1e-30)).numpy()


def test_a_network_scores_as_before(small_pack: Pack) -> None:
    spec = make_spec(small_pack, {"image_size": SIDE}, architecture="densenet121")
    network = BinaryClassifier(build_backbone("densenet121", 1, Initialisation(), 0)).eval()
    images = prepare(torch.from_numpy(small_pack.gather(np.arange(2))), SIDE, spec.training.normalisation)
    with torch.no_grad():
        before = network(images)
        heat_maps([network], spec, small_pack.gather(np.arange(2)))
        assert_array_equal(network(images), before)
