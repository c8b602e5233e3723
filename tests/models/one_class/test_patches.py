"""PaDiM and PatchCore: distances, folds, states, heat maps."""

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from clr_hpc.config.run import Initialisation
from clr_hpc.config.task import MapMethod, Padim, Patchcore
from clr_hpc.models.backbones import build_backbone
from clr_hpc.models.feature_map import NoFeatureMapError
from clr_hpc.models.one_class import patchcore
from clr_hpc.models.one_class.base import threshold
from clr_hpc.models.one_class.fitted import folds_of
from clr_hpc.models.one_class.padim import REGULARISATION, PadimModel
from clr_hpc.models.one_class.patchcore import PatchcoreModel
from clr_hpc.models.one_class.patches import PatchDetector

METHODS = [Padim(strides=(4,), grid=4), Patchcore(strides=(4,), grid=4, bank=100)]
CHANNELS = 3


class Quarter(nn.Module):
    """A network whose feature map of stride 4 is a fixed mixture of the image's patches."""

    def __init__(self) -> None:
        super().__init__()
        self.map = nn.Conv2d(1, CHANNELS, 4, stride=4, bias=False)
        nn.init.normal_(self.map.weight, generator=torch.Generator().manual_seed(0))
        self.last = nn.Linear(CHANNELS, 1)

    def forward(self, images: Tensor) -> Tensor:
        return self.last(self.map(images).mean(dim=(2, 3)))


def built(method: MapMethod, seed: int = 0) -> PatchDetector:
    kind = PadimModel if isinstance(method, Padim) else PatchcoreModel
    return kind(Quarter(), method, seed, True)


def images(count: int, seed: int) -> Tensor:
    """Images ``(N, 1, 16, 16)`` whose left half varies ten times as much as the right one."""
    noise = torch.randn(count, 1, 16, 16, generator=torch.Generator().manual_seed(seed))
    noise[..., :8] *= 10
    return noise


def prepared(method: MapMethod, count: int = 200, patients: NDArray[np.int64] | None = None) -> PatchDetector:
    model = built(method)
    model.prepare(list(images(count, seed=0).split(64)), np.arange(count) if patients is None else patients)
    return model


@torch.no_grad()
def scores(model: PatchDetector, of: Tensor) -> Tensor:
    return model.scores(model(of), of)


def test_padim_is_the_mahalanobis_distance_at_each_place() -> None:
    model, new = prepared(METHODS[0]), images(3, seed=1)
    with torch.no_grad():
        train, found = model(images(200, seed=0)).double(), model(new).double()
        got = model.distances(found.float())
    covariances = torch.stack([torch.cov(train[:, :, row, column].T) for row in range(4) for column in range(4)])
    added = REGULARISATION * covariances.diagonal(dim1=1, dim2=2).mean()
    for place in range(16):
        row, column = divmod(place, 4)
        inverse = torch.linalg.inv(covariances[place] + added * torch.eye(CHANNELS))
        apart = found[:, :, row, column] - train[:, :, row, column].mean(dim=0)
        wanted = torch.einsum("bi,ij,bj->b", apart, inverse, apart).sqrt()
        torch.testing.assert_close(got[:, row, column].double(), wanted, rtol=1e-3, atol=1e-3)


def test_padim_folds_leave_their_own_images_out() -> None:
    method = METHODS[0]
    model, count = built(method), 100
    kept: list[tuple[Tensor, Tensor]] = []
    model.end_fit = lambda: kept.extend(model._without)  # type: ignore[method-assign, attr-defined]
    model.prepare([images(count, seed=0)], np.arange(count))
    with torch.no_grad():
        features = model(images(count, seed=0))
    folds = torch.from_numpy(folds_of(np.arange(count), "padim"))
    for fold, (mean, _) in enumerate(kept):
        others = features[folds != fold].mean(dim=0).flatten(1).T
        torch.testing.assert_close(mean, others, rtol=1e-3, atol=1e-3)


def test_patchcore_is_the_distance_from_the_nearest_patch_of_any_place() -> None:
    model = prepared(Patchcore(strides=(4,), grid=4, bank=10_000), count=60)
    train, new = images(60, seed=0), images(2, seed=1)
    with torch.no_grad():
        patches = model(train).flatten(2).mT.flatten(0, 1)
        deviation, mean = torch.std_mean(patches, dim=0)
        found = (model(new).flatten(2).mT - mean) / deviation
        wanted = torch.cdist(found, (patches - mean) / deviation).amin(dim=2).unflatten(1, (4, 4))
        torch.testing.assert_close(model.distances(model(new)), wanted, rtol=1e-3, atol=1e-3)


def test_a_bank_is_bounded_and_covers_the_patches_better_than_chance(monkeypatch: pytest.MonkeyPatch) -> None:
    model = prepared(METHODS[1])
    assert model.bank.shape == (100, CHANNELS)
    random = torch.Generator().manual_seed(0)
    everything = torch.randn(2000, CHANNELS, generator=random)
    model._largest = 50
    chosen = model._coreset(everything)
    drawn = everything[torch.randperm(2000, generator=random)[:50]]
    assert torch.cdist(everything, chosen).amin(dim=1).max() < torch.cdist(everything, drawn).amin(dim=1).max()
    monkeypatch.setattr(patchcore, "LARGEST_BLOCK", 1000)
    new = images(4, seed=1)
    whole = scores(model, new)
    monkeypatch.setattr(patchcore, "LARGEST_BLOCK", 10**9)
    torch.testing.assert_close(scores(model, new), whole)


@pytest.mark.parametrize("method", METHODS, ids=lambda method: method.name)
def test_the_threshold_holds_for_images_of_new_patients(method: MapMethod) -> None:
    model = prepared(method)
    held_out = model.held_out_training_scores
    assert held_out is not None
    above = scores(model, images(1000, seed=1)) >= threshold(held_out.numpy(), 0.9)
    assert abs(float(above.float().mean()) - 0.1) < 4 * (0.09 / 200 + 0.09 / 1000) ** 0.5 + 0.02


@pytest.mark.parametrize("method", METHODS, ids=lambda method: method.name)
def test_the_heat_is_where_the_anomaly_is(method: MapMethod) -> None:
    model, new = prepared(method), images(20, seed=1)
    new[:, :, 12:, 12:] += 200
    with torch.no_grad():
        heat = model.heat(new)
    assert heat.shape == (20, 4, 4)
    assert (heat >= 0).all()
    hottest = heat.flatten(1).argmax(dim=1)
    assert (hottest == 15).float().mean() > 0.9


@pytest.mark.parametrize("method", METHODS, ids=lambda method: method.name)
def test_a_state_from_a_file_gives_the_same_scores(method: MapMethod, tmp_path) -> None:
    model, new = prepared(method), images(5, seed=1)
    save_file(model.state_dict(), tmp_path / "model.safetensors")
    loaded = built(method, seed=1)
    with pytest.raises(RuntimeError, match="call prepare"):
        scores(loaded, new)
    loaded.load_state_dict(load_file(tmp_path / "model.safetensors"))
    assert torch.equal(scores(loaded, new), scores(model, new))
    assert torch.equal(loaded.heat(new), model.heat(new))


@pytest.mark.parametrize("method", METHODS, ids=lambda method: method.name)
def test_pooling_is_over_places(method: MapMethod) -> None:
    highest, mean = prepared(method), prepared(method.model_copy(update={"pooling": "mean"}))
    new = images(5, seed=1)
    with torch.no_grad():
        distances = highest.distances(highest(new)).flatten(1)
    torch.testing.assert_close(scores(highest, new), distances.amax(dim=1))
    torch.testing.assert_close(scores(mean, new), distances.mean(dim=1))


def test_too_few_patients_are_an_error() -> None:
    with pytest.raises(ValueError, match="8 training images of 4 patients: padim needs images of 5"):
        prepared(METHODS[0], 8, np.arange(8) // 2)


@pytest.mark.parametrize("architecture", ["mobilenet_v1", "densenet121", "timm/resnet18"])
def test_maps_of_real_networks_have_their_strides(architecture: str) -> None:
    backbone = build_backbone(architecture, 1, Initialisation(), seed=0)
    model = PadimModel(backbone, Padim(dimensions=20), 0, is_trained=False)
    sides = [each.shape[-1] for each in model.maps(torch.zeros(1, 1, 64, 64))]
    assert sides == [16, 8, 4]
    assert model(torch.zeros(2, 1, 64, 64)).shape[2:] == (8, 8)


def test_a_network_without_places_says_so() -> None:
    backbone = build_backbone("timm/vit_tiny_patch16_224", 1, Initialisation(), seed=0)
    with pytest.raises(NoFeatureMapError, match="has no feature map of stride 4; it has 16"):
        PadimModel(backbone, Padim(), 0, is_trained=False)
