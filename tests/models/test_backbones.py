from importlib import import_module
from pathlib import Path

import pytest
import torch

from clr_hpc.config.network import ARCHITECTURES, network
from clr_hpc.config.run import Initialisation
from clr_hpc.models.backbones import InitialisationError, build_backbone, last_layer, refusal

RANDOM = Initialisation()

PARAMETERS = {
    # the article's architectures with 1 input channel and 1 output
    "mobilenet_v1": 3_207_425,
    "alexnet": 56_992_449,
    "densenet121": 6_948_609,
}


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_maps_gray_images_of_the_smallest_size_to_outputs(architecture: str) -> None:
    built = build_backbone(architecture, 1, RANDOM, seed=0).eval()
    side = network(architecture).smallest_image_size
    assert built(torch.zeros(2, 1, side, side)).shape == (2, 1)


@pytest.mark.parametrize("architecture", PARAMETERS)
def test_the_articles_networks_have_its_number_of_parameters(architecture: str) -> None:
    built = build_backbone(architecture, 1, RANDOM, seed=0)
    assert sum(parameter.numel() for parameter in built.parameters()) == PARAMETERS[architecture]


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_weights_are_a_function_of_the_seed_alone(architecture: str) -> None:
    torch.manual_seed(1)
    one = build_backbone(architecture, 1, RANDOM, seed=7).state_dict()
    torch.manual_seed(2)
    position = torch.random.get_rng_state()
    two = build_backbone(architecture, 1, RANDOM, seed=7).state_dict()
    assert torch.equal(torch.random.get_rng_state(), position), "the global generator must stay where it was"
    assert all(torch.equal(one[name], two[name]) for name in one)
    other = build_backbone(architecture, 1, RANDOM, seed=8).state_dict()
    assert any(not torch.equal(one[name], other[name]) for name in one)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_first_logits_are_near_zero(architecture: str) -> None:
    """A network that starts out sure of itself spends its first epoch unlearning that."""
    network = build_backbone(architecture, 1, RANDOM, seed=0).train()
    logits = network(torch.randn(16, 1, 64, 64))
    assert logits.abs().max() < 3


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_imagenet_weights_from_a_file(architecture: str, tmp_path: Path) -> None:
    stated = network(architecture)
    if stated.imagenet is None:
        pytest.skip(f"{architecture} has no ImageNet weights")
    module, function = stated.build.split(":")
    color = getattr(import_module(module), function)(**stated.arguments)
    file = tmp_path / "imagenet.pth"
    torch.save(color.state_dict(), file)
    built = build_backbone(architecture, 1, Initialisation(weights="imagenet", file=str(file)), seed=0)
    first = next(name for name, module in color.named_modules() if isinstance(module, torch.nn.Conv2d))
    gray = torch.randn(2, 1, 64, 64)
    expected = color.get_submodule(first)(gray.expand(-1, 3, -1, -1))
    torch.testing.assert_close(built.get_submodule(first)(gray), expected, rtol=1e-4, atol=1e-4)
    own, given = built.state_dict(), color.state_dict()
    same = [name for name in own if own[name].shape == given[name].shape and torch.equal(own[name], given[name])]
    last_layer_and_first = 3
    assert len(same) >= len(own) - last_layer_and_first


def test_weights_of_another_architecture_are_refused(tmp_path: Path) -> None:
    file = tmp_path / "alexnet.pth"
    torch.save(build_backbone("alexnet", 1, RANDOM, seed=0).state_dict(), file)
    with pytest.raises(InitialisationError, match="not those of densenet121"):
        build_backbone("densenet121", 1, Initialisation(weights="imagenet", file=str(file)), seed=0)


def test_a_file_that_is_not_a_state_dict_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "weights.pth"
    file.write_bytes(b"not a state dict")
    with pytest.raises(InitialisationError, match=r"weights\.pth: not a readable state dict"):
        build_backbone("alexnet", 1, Initialisation(weights="imagenet", file=str(file)), seed=0)


def test_pickled_code_is_never_run(tmp_path: Path) -> None:
    file = tmp_path / "evil.pth"
    torch.save({"weights": _RunsCodeWhenLoaded(tmp_path / "it-ran")}, file)
    with pytest.raises(InitialisationError):
        build_backbone("alexnet", 1, Initialisation(weights="imagenet", file=str(file)), seed=0)
    assert not (tmp_path / "it-ran").exists()


class _RunsCodeWhenLoaded:
    def __init__(self, witness: Path) -> None:
        self.witness = witness

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return Path.touch, (str(self.witness),)


TIMM = {"timm/test_resnet": "fc", "timm/test_efficientnet": "classifier", "timm/resnetv2_50": "head.fc"}


@pytest.mark.parametrize("architecture", TIMM)
def test_a_network_of_timm_maps_gray_images_to_one_logit_near_zero(architecture: str) -> None:
    built = build_backbone(architecture, 1, RANDOM, seed=0)
    assert last_layer(built) == TIMM[architecture]
    logits = built(torch.randn(4, 1, 64, 64))
    assert logits.shape == (4, 1)
    assert logits.abs().max() < 3


def test_weights_from_a_file_for_a_network_of_timm(tmp_path: Path) -> None:
    import timm

    file = tmp_path / "colour.pth"
    colour = timm.create_model("test_resnet", num_classes=1000)
    torch.save(colour.state_dict(), file)
    built = build_backbone("timm/test_resnet", 1, Initialisation(weights="imagenet", file=str(file)), seed=0)
    own, given = built.state_dict(), colour.state_dict()
    torch.testing.assert_close(own["conv1.0.weight"], given["conv1.0.weight"].sum(dim=1, keepdim=True))
    changed = {name for name in own if not torch.equal(own[name], given[name])}
    assert changed == {"conv1.0.weight", "fc.weight", "fc.bias"}


@pytest.mark.parametrize(
    ("architecture", "size", "batch", "reason"),
    [
        ("timm/test_resnet", 64, 2, None),
        ("timm/vit_tiny_patch16_224", 64, 2, "Input height (64) doesn't match model (224)."),
        ("timm/test_resnet", 16, 1, "Expected more than 1 value per channel"),
        ("timm/deit_tiny_distilled_patch16_224", 224, 2, "its classifier is not one linear layer"),
    ],
)
def test_a_network_is_tried_without_computing_a_value(
    architecture: str, size: int, batch: int, reason: str | None
) -> None:
    said = refusal(architecture, size, batch)
    assert said is None if reason is None else reason in str(said)


def test_a_network_without_a_linear_layer_has_no_last_one() -> None:
    with pytest.raises(ValueError, match="its classifier is not one linear layer"):
        last_layer(torch.nn.Sequential(torch.nn.Conv2d(1, 1, 3)))
