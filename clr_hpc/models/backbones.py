"""MobileNetV1, AlexNet and DenseNet-121 with one input channel and a given number of outputs."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from clr_hpc.config.run import Initialisation


class InitialisationError(Exception):
    """The weights to start from can't be had; the message says what to do."""


def build_backbone(architecture: str, outputs: int, initialisation: Initialisation, seed: int) -> nn.Module:
    """Build a network that maps images ``(B, 1, H, W)`` to ``(B, outputs)``.

    Args:
        architecture: one of ``clr_hpc.config.run.ARCHITECTURES``.
        outputs: width of the last layer, which is always drawn anew.
        initialisation: random weights, or ImageNet's for all but the last layer; the first convolution then takes
            the sum of its three colour filters, which is what a gray image repeated three times would give.
        seed: of the random weights; the global generator is left as it was.

    Raises:
        InitialisationError: ImageNet weights were asked for and can't be loaded.
    """
    make, first_convolution = _ARCHITECTURES[architecture]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = make(outputs)
        _take_one_channel(network, first_convolution)
        _redraw_last_layer(network)
    if initialisation.weights == "imagenet":
        pretrained = _imagenet_state(architecture, initialisation.file)
        _load_all_but_the_last_layer(network, pretrained, first_convolution, architecture)
    return network


def _mobilenet_v1(outputs: int) -> nn.Module:
    import timm

    return timm.create_model("mobilenetv1_100", num_classes=outputs)  # type: ignore[no-any-return]


def _alexnet(outputs: int) -> nn.Module:
    from torchvision.models import alexnet

    return alexnet(num_classes=outputs)  # type: ignore[no-any-return]


def _densenet121(outputs: int) -> nn.Module:
    from torchvision.models import densenet121

    return densenet121(num_classes=outputs)  # type: ignore[no-any-return]


_ARCHITECTURES: dict[str, tuple[Callable[[int], nn.Module], str]] = {
    "mobilenet_v1": (_mobilenet_v1, "conv_stem"),
    "alexnet": (_alexnet, "features.0"),
    "densenet121": (_densenet121, "features.conv0"),
}
"""How to make each, and the name of its first convolution."""


def _take_one_channel(network: nn.Module, first_convolution: str) -> None:
    """Replace the three-channel first convolution by a one-channel one, drawn as the library draws it."""
    old = network.get_submodule(first_convolution)
    assert isinstance(old, nn.Conv2d)
    shape: Any = {"kernel_size": old.kernel_size, "stride": old.stride, "padding": old.padding}
    new = nn.Conv2d(1, old.out_channels, bias=old.bias is not None, **shape)
    # He's fan-out rule, as timm and torchvision draw their convolutions: fan-out does not know input channels
    nn.init.kaiming_normal_(new.weight, mode="fan_out", nonlinearity="relu")
    if new.bias is not None:
        nn.init.zeros_(new.bias)
    network.set_submodule(first_convolution, new)


def _redraw_last_layer(network: nn.Module) -> None:
    """Draw the last layer as torch draws it, within ± 1 / sqrt(inputs).

    timm bounds it by the number of outputs instead: with one output the first logits lie around ± 15, and an epoch
    goes by before the loss is that of a coin.
    """
    last = [module for module in network.modules() if isinstance(module, nn.Linear)][-1]
    last.reset_parameters()


def _imagenet_state(architecture: str, file: str | None) -> dict[str, Tensor]:
    if file is not None:
        try:
            state = torch.load(Path(file).expanduser(), map_location="cpu", weights_only=True)
        except Exception as error:
            raise InitialisationError(f"initialisation.file={file}: not a readable state dict: {error}") from error
        return state  # type: ignore[no-any-return]
    try:
        return _download(architecture)
    except Exception as error:
        raise InitialisationError(
            f"the ImageNet weights of {architecture} could not be downloaded ({type(error).__name__}: {error}); "
            "on a machine without a network give a local state dict as training.initialisation.file"
        ) from error


def _download(architecture: str) -> dict[str, Tensor]:
    if architecture == "mobilenet_v1":
        import timm

        return timm.create_model("mobilenetv1_100", pretrained=True).state_dict()  # type: ignore[no-any-return]
    from torchvision.models import get_model

    return get_model(architecture, weights="IMAGENET1K_V1").state_dict()  # type: ignore[no-any-return]


def _load_all_but_the_last_layer(
    network: nn.Module, pretrained: dict[str, Tensor], first_convolution: str, architecture: str
) -> None:
    own = network.state_dict()
    stem = f"{first_convolution}.weight"
    if stem in pretrained and pretrained[stem].shape[1] == 3:
        pretrained = pretrained | {stem: pretrained[stem].sum(dim=1, keepdim=True)}
    last_layer = list(own)[-1].rpartition(".")[0] + "."
    missing = [
        name
        for name, value in own.items()
        if not name.startswith(last_layer) and (name not in pretrained or pretrained[name].shape != value.shape)
    ]
    if missing:
        raise InitialisationError(
            f"these weights are not those of {architecture}: {len(missing)} of {len(own)} tensors are missing or "
            f"of another shape, first {missing[0]}; give a state dict of the library's own {architecture}"
        )
    fitting = {name: pretrained[name] for name in own if not name.startswith(last_layer)}
    network.load_state_dict(own | fitting)
