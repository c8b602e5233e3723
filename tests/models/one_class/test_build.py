import pytest
import torch

from clr_hpc.config.run import Initialisation
from clr_hpc.config.task import (
    ONE_CLASS_METHODS,
    Autoencoder,
    DeepSvdd,
    IsolationForest,
    Mahalanobis,
    NearestNeighbours,
    OneClassMethod,
    OneClassSvm,
    OneClassTask,
    Padim,
    Patchcore,
    PyodDetector,
)
from clr_hpc.models.one_class.build import build_one_class

METHODS = [
    DeepSvdd(outputs=4),
    Autoencoder(),
    OneClassSvm(),
    IsolationForest(),
    NearestNeighbours(),
    Mahalanobis(),
    PyodDetector(detector="ECOD"),
    Padim(),
    Patchcore(),
]


@pytest.mark.parametrize("method", METHODS, ids=lambda method: method.name)
def test_every_method_has_a_model_that_only_steps_where_it_learns_by_them(method: OneClassMethod) -> None:
    model = build_one_class(OneClassTask(method=method), "mobilenet_v1", Initialisation(), seed=0)
    assert model(torch.zeros(2, 1, 32, 32)).shape[0] == 2
    assert model.takes_steps == any(parameter.requires_grad for parameter in model.parameters())


def test_no_method_is_forgotten() -> None:
    assert tuple(method.name for method in METHODS) == tuple(ONE_CLASS_METHODS)
