import pytest

from clr_hpc.config.network import ARCHITECTURES
from clr_hpc.config.run import Initialisation
from clr_hpc.models.backbones import build_backbone
from clr_hpc.models.summary import describe_layers
from clr_hpc.models.task_model import BinaryClassifier

WEIGHTS = {
    "mobilenet_v1": (15, "Conv 3×3, stride 2"),
    "alexnet": (8, "Conv 11×11, stride 4"),
    "densenet121": (9, "Conv 7×7"),
}
"""Layers with parameters as they are drawn, and how the first is called."""


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_layers_hold_all_parameters_and_lead_from_the_image_to_one_output(architecture: str) -> None:
    model = BinaryClassifier(build_backbone(architecture, 1, Initialisation(), seed=0)).train()
    described = describe_layers(model, 64)
    layers = described["layers"]
    assert described["input"] == [1, 64, 64]
    assert described["parameters"] == sum(parameter.numel() for parameter in model.parameters())
    assert sum(layer["parameters"] for layer in layers) == described["parameters"]
    assert layers[-1]["output"] == [1]
    assert layers[-1]["kind"] == "Linear"
    assert model.training, "the mode must be as it was"
    assert not any(module._forward_hooks for module in model.modules()), "no hook may stay"


@pytest.mark.parametrize("architecture", WEIGHTS)
def test_layers_of_the_articles_networks(architecture: str) -> None:
    model = BinaryClassifier(build_backbone(architecture, 1, Initialisation(), seed=0))
    layers = describe_layers(model, 64)["layers"]
    count, first = WEIGHTS[architecture]
    assert layers[0]["kind"].startswith(first)
    assert sum(layer["parameters"] > 0 for layer in layers) == count
