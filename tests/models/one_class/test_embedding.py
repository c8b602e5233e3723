import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file, save_file
from scipy import stats
from torch import Tensor, nn

from clr_hpc.config.base import UserError
from clr_hpc.config.network import ARCHITECTURES, network
from clr_hpc.config.run import Initialisation
from clr_hpc.config.task import (
    EmbeddingMethod,
    IsolationForest,
    Mahalanobis,
    NearestNeighbours,
    OneClassSvm,
    PyodDetector,
)
from clr_hpc.models.backbones import build_backbone
from clr_hpc.models.one_class import detectors
from clr_hpc.models.one_class.base import threshold
from clr_hpc.models.one_class.embedding import EmbeddingDetector
from clr_hpc.models.task_model import BinaryClassifier

METHODS = [OneClassSvm(), IsolationForest(trees=50), NearestNeighbours(), Mahalanobis(strides=None)]


class Pixels(nn.Module):
    """A backbone whose features are the pixels, so that tests choose them."""

    def __init__(self, count: int) -> None:
        super().__init__()
        self.last = nn.Linear(count, 1)

    def forward(self, images: Tensor) -> Tensor:
        return self.last(images.flatten(1))


def detector(method: EmbeddingMethod, features: int = 6) -> EmbeddingDetector:
    return EmbeddingDetector(Pixels(features), method, seed=0, is_trained=True)


def clusters(patients: int, images_each: int, seed: int, spread: float = 0.1) -> Tensor:
    """Images ``(N, 1, 1, 6)``: those of a patient lie close together."""
    random = torch.Generator().manual_seed(seed)
    centers = torch.randn(patients, 6, generator=random).repeat_interleave(images_each, dim=0)
    return (centers + spread * torch.randn(centers.shape, generator=random))[:, None, None, :]


def scores(model: EmbeddingDetector, images: Tensor) -> Tensor:
    return model.scores(model(images), images)


@pytest.mark.parametrize("method", METHODS, ids=lambda method: method.name)
def test_what_lies_outside_scores_higher(method: EmbeddingMethod) -> None:
    model = detector(method)
    model.prepare([clusters(100, 1, seed=0)], np.arange(100))
    inside, outside = clusters(50, 1, seed=1), 6 * clusters(50, 1, seed=2).sign()
    assert scores(model, outside).min() > scores(model, inside).median()
    assert scores(model, inside).unique().numel() > 25


@pytest.mark.parametrize("method", METHODS, ids=lambda method: method.name)
def test_the_threshold_holds_for_images_of_new_patients(method: EmbeddingMethod) -> None:
    """Ten detectors, 100 new patients each: a sign of bias is a false-positive rate beyond 4 standard errors."""
    rates = []
    for seed in range(10):
        model = detector(method)
        model.prepare([clusters(100, 3, seed=seed)], np.arange(300) // 3)
        held_out = model.held_out_training_scores
        assert held_out is not None
        new = scores(model, clusters(100, 1, seed=1000 + seed))
        rates.append(float((new >= threshold(held_out.numpy(), 0.9)).float().mean()))
    assert abs(np.mean(rates) - 0.1) < 4 * stats.sem(rates)


def test_scores_of_images_that_were_fitted_would_set_it_too_low() -> None:
    """Why the training scores are cross-fitted, by patients: an image has near neighbours of its own patient."""
    model = detector(NearestNeighbours(neighbours=2))
    images = clusters(100, 3, seed=0)
    model.prepare([images], np.arange(300) // 3)
    naive = threshold(scores(model, images).numpy(), 0.9)
    assert (scores(model, clusters(100, 1, seed=1)) >= naive).float().mean() > 0.8


@pytest.mark.parametrize("method", METHODS, ids=lambda method: method.name)
def test_a_state_from_a_file_gives_the_same_scores(method: EmbeddingMethod, tmp_path) -> None:
    model, images = detector(method), clusters(30, 2, seed=1)
    model.prepare([clusters(100, 1, seed=0)], np.arange(100))
    save_file(model.state_dict(), tmp_path / "model.safetensors")
    loaded = detector(method)
    loaded.load_state_dict(load_file(tmp_path / "model.safetensors"))
    assert torch.equal(scores(loaded, images), scores(model, images))
    assert torch.equal(loaded.held_out_training_scores, model.held_out_training_scores)


def test_a_loaded_state_replaces_an_earlier_fit() -> None:
    one, two = detector(NearestNeighbours()), detector(NearestNeighbours())
    one.prepare([clusters(100, 1, seed=0)], np.arange(100))
    two.prepare([clusters(40, 1, seed=1)], np.arange(40))
    images = clusters(5, 1, seed=2)
    scores(two, images)
    two.load_state_dict(one.state_dict())
    assert torch.equal(scores(two, images), scores(one, images))


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_features_are_what_the_last_layer_of_a_start_sees(architecture: str) -> None:
    baseline = BinaryClassifier(build_backbone(architecture, 1, Initialisation(), seed=3)).eval()
    backbone = build_backbone(architecture, 1, Initialisation(), seed=0)
    model = EmbeddingDetector(backbone, NearestNeighbours(), seed=0, is_trained=False)
    model.start_from(baseline.state_dict())
    images = torch.randn(2, 1, *2 * [network(architecture).smallest_image_size])
    last = [module for module in baseline.modules() if isinstance(module, nn.Linear)][-1]
    torch.testing.assert_close(last(model(images)).squeeze(1), baseline(images))


def test_random_weights_get_the_batch_statistics_of_the_training_images(
    batches: list[Tensor], patients: NDArray[np.int64]
) -> None:
    backbone = build_backbone("mobilenet_v1", 1, Initialisation(), seed=0)
    model = EmbeddingDetector(backbone, NearestNeighbours(), seed=0, is_trained=False)
    before = model(torch.cat(batches)).std(dim=0).mean()
    model.prepare(batches, patients)
    assert model(torch.cat(batches)).std(dim=0).mean() > 10 * before
    assert not any(parameter.requires_grad for parameter in model.parameters())
    assert not model.train().training, "a step's mode must not reach batch norm"


def test_a_large_fit_of_a_kernel_is_reduced(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(detectors, "LARGEST_KERNEL_FIT", 50)
    model = detector(OneClassSvm(nu=0.2))
    model.prepare([clusters(100, 1, seed=0)], np.arange(100))
    scores(model, clusters(1, 1, seed=1))
    assert model._detector is not None
    assert model._detector[-1].shape_fit_[0] == 50
    assert len(model.embeddings) == 100


@pytest.mark.parametrize("method", METHODS, ids=lambda method: method.name)
def test_five_patients_are_enough_and_four_too_few(method: EmbeddingMethod) -> None:
    detector(method).prepare([clusters(5, 1, seed=0)], np.arange(5))
    with pytest.raises(ValueError, match="8 training images of 4 patients"):
        detector(method).prepare([clusters(4, 2, seed=0)], np.arange(8) // 2)


def test_small_classes_are_measured_in_as_many_dimensions_by_every_fold() -> None:
    """With fewer in the folds, their distances would be shorter, and new images would seem anomalous."""
    model = detector(NearestNeighbours(), features=60)
    images = torch.randn(240, 1, 1, 60, generator=torch.Generator().manual_seed(0))
    model.prepare([images[:120]], np.arange(120))
    held_out, new = model.held_out_training_scores, scores(model, images[120:])
    assert held_out is not None
    standard_error = float(torch.cat([held_out, new]).std()) * (2 / 120) ** 0.5
    assert abs(float(held_out.mean() - new.mean())) < 4 * standard_error


def test_a_detector_without_features_says_so() -> None:
    with pytest.raises(RuntimeError, match="call prepare"):
        scores(detector(NearestNeighbours()), clusters(1, 1, seed=0))


def test_pyod_scores_by_its_detectors_name() -> None:
    pytest.importorskip("pyod")
    model, new = detector(PyodDetector(detector="IForest", strides=None)), clusters(30, 2, seed=1)
    model.prepare([clusters(100, 1, seed=0)], np.arange(100))
    assert scores(model, 6 * new.sign()).min() > scores(model, clusters(50, 1, seed=2)).median()
    again = detector(PyodDetector(detector="IForest", strides=None))
    again.load_state_dict(model.state_dict())
    assert torch.equal(scores(again, new), scores(model, new))


@pytest.mark.parametrize(
    ("method", "message"),
    [
        (PyodDetector(detector="IForrest", strides=None), "did you mean 'IFOREST'"),
        (PyodDetector(detector="KNN", arguments={"neighbours": 3}, strides=None), "pyod/KNN with arguments"),
    ],
)
def test_what_pyod_does_not_have_is_an_error(method: PyodDetector, message: str) -> None:
    pytest.importorskip("pyod")
    with pytest.raises(UserError, match=message):
        detector(method).prepare([clusters(10, 1, seed=0)], np.arange(10))


def test_features_of_strides_are_the_means_of_maps() -> None:
    backbone = build_backbone("timm/resnet18", 1, Initialisation(), seed=0)
    model = EmbeddingDetector(backbone, Mahalanobis(strides=(8, 32)), seed=0, is_trained=True)
    images = torch.randn(2, 1, 64, 64)
    found: list[Tensor] = []
    for layer in (model.backbone.layer2, model.backbone.layer4):
        layer.register_forward_hook(lambda _, __, output: found.append(output.mean(dim=(2, 3))))
    features = model(images)
    torch.testing.assert_close(features, torch.cat(found, dim=1))
