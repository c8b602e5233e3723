import pytest
import torch
from torch import nn

from clr_hpc.config.network import NETWORKS, Network
from clr_hpc.config.run import Initialisation
from clr_hpc.models.backbones import build_backbone
from clr_hpc.models.feature_map import NoFeatureMapError, last_feature_map


def built(architecture: str) -> nn.Module:
    return build_backbone(architecture, 1, Initialisation(), seed=0).eval()


@pytest.mark.parametrize(
    ("architecture", "shape"),
    [("mobilenet_v1", (1024, 3, 3)), ("densenet121", (1024, 3, 3)), ("alexnet", (256, 5, 5))],
)
def test_the_articles_networks_have_their_last_map(architecture: str, shape: tuple[int, ...]) -> None:
    backbone, images = built(architecture), torch.randn(2, 1, 96, 96)
    expected = backbone(images)
    seen: list[torch.Tensor] = []
    with last_feature_map(backbone, architecture, 96) as layer:
        hook = layer.register_forward_hook(lambda _, __, output: seen.append(output.clone()))
        torch.testing.assert_close(backbone(images), expected)
        hook.remove()
    assert seen[0].shape[1:] == shape
    assert seen[0].min() >= 0, "a map after its ReLU"
    hooks = [module for module in backbone.modules() if module._forward_hooks]
    assert hooks == []


@pytest.mark.parametrize(
    ("name", "module"),
    [("resnet18", "layer4"), ("efficientnet_b0", "bn2"), ("convnext_atto", "norm_pre"), ("vgg11", "features")],
)
def test_other_convolutional_networks_need_no_word(name: str, module: str) -> None:
    backbone = built(f"timm/{name}")
    with last_feature_map(backbone, f"timm/{name}", 96) as layer:
        assert layer is backbone.get_submodule(module)


@pytest.mark.parametrize("name", ["vit_tiny_patch16_224", "swin_tiny_patch4_window7_224"])
def test_transformers_have_none(name: str) -> None:
    architecture = f"timm/{name}"
    with (
        pytest.raises(NoFeatureMapError, match=f"{architecture} has no last feature map.* train a convolutional"),
        last_feature_map(built(architecture), architecture, 224),
    ):
        pass


def test_a_map_of_one_place_says_nothing() -> None:
    with (
        pytest.raises(
            NoFeatureMapError, match=r"of 32 × 32 pixels is a single place.* larger training.image_size"
        ),
        last_feature_map(built("mobilenet_v1"), "mobilenet_v1", 32),
    ):
        pass


def test_a_module_that_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(NETWORKS, "any", Network("Any", "torchvision.models:alexnet", feature_map="features.99"))
    with (
        pytest.raises(NoFeatureMapError, match=r"any has no module 'features\.99', its feature_map"),
        last_feature_map(built("any"), "any", 96),
    ):
        pass
