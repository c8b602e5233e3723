"""Networks with one input channel and a given number of outputs."""

from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from clr_hpc.config.base import UserError
from clr_hpc.config.network import network, no_weights
from clr_hpc.config.run import Initialisation


class InitialisationError(UserError):
    """The initial weights can't be loaded; the message gives the remedy."""


def build_backbone(architecture: str, outputs: int, initialisation: Initialisation, seed: int) -> nn.Module:
    """Build a network that maps images ``(B, 1, H, W)`` to ``(B, outputs)``.

    Args:
        architecture: the name of a network of ``clr_hpc.config.network``.
        outputs: width of the last layer, which is always drawn anew.
        initialisation: random weights, or ImageNet's for all but the last layer; the first convolution then takes
            the sum of its three colour filters, which is what a gray image repeated three times would give.
        seed: of the random weights; the global generator is left as it was.

    Raises:
        InitialisationError: ImageNet weights can't be loaded.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        built = _make(architecture, num_classes=outputs)
        first = next(name for name, module in built.named_modules() if isinstance(module, nn.Conv2d))
        _take_one_channel(built, first)
        last = last_layer(built)
        _redraw(built.get_submodule(last))
    if initialisation.weights == "imagenet":
        pretrained = _imagenet_state(architecture, initialisation.file)
        _load_all_but_the_last_layer(built, pretrained, first, last, architecture)
    return built


def refusal(architecture: str, size: int, batch: int) -> str | None:
    """Return why a network can't be trained on images of ``size`` pixels a side, None where it can.

    One batch of ``batch`` images goes through it without a value being computed.
    """
    try:
        built = build_backbone(architecture, 1, Initialisation(), seed=0).to("meta").train()
        logits = built(torch.empty(batch, 1, size, size, device="meta"))
    except Exception as error:  # whatever somebody else's network raises
        return str(error).strip().partition("\n")[0] or type(error).__name__
    shape = tuple(logits.shape) if isinstance(logits, Tensor) else type(logits).__name__
    return None if shape == (batch, 1) else f"it returns {shape}, and a classifier ({batch}, 1)"


def last_layer(network: nn.Module) -> str:
    """Return the name of the layer that gives the logits: the one that timm names, else the last linear one.

    Raises:
        ValueError: there is none, or there are several.
    """
    modules: dict[str, nn.Module] = dict(network.named_modules())
    stated: Callable[[], nn.Module] | None = getattr(network, "get_classifier", None)
    linear = [module for module in modules.values() if isinstance(module, nn.Linear)]
    wanted = stated() if stated else next(reversed(linear), None)
    if not isinstance(wanted, nn.Linear | nn.Conv2d):  # a network for distillation has two
        raise ValueError("its classifier is not one linear layer")
    return next(name for name, module in modules.items() if module is wanted)


def without_last_layer(network: nn.Module) -> nn.Module:
    """Replace the last linear layer, so that the network gives its penultimate features ``(B, D)``."""
    network.set_submodule(last_layer(network), nn.Identity())
    return network


def _make(architecture: str, **arguments: Any) -> nn.Module:
    """Call the function that builds a network."""
    made = network(architecture)
    module, function = made.build.split(":")
    return getattr(import_module(module), function)(**made.arguments, **arguments)  # type: ignore[no-any-return]


def _take_one_channel(network: nn.Module, first_convolution: str) -> None:
    """Replace the three-channel first convolution by a one-channel one, drawn as the library draws it."""
    old = network.get_submodule(first_convolution)
    assert isinstance(old, nn.Conv2d)
    if old.in_channels == 1:
        return
    shape: Any = {"kernel_size": old.kernel_size, "stride": old.stride, "padding": old.padding}
    new = nn.Conv2d(1, old.out_channels, bias=old.bias is not None, **shape)
    # He's fan-out rule, as timm and torchvision draw their convolutions: fan-out does not know input channels
    nn.init.kaiming_normal_(new.weight, mode="fan_out", nonlinearity="relu")
    if new.bias is not None:
        nn.init.zeros_(new.bias)
    network.set_submodule(first_convolution, new)


def _redraw(last: nn.Module) -> None:
    """Draw the last layer as torch draws it, within ± 1 / sqrt(inputs).

    timm bounds it by the number of outputs instead: with one output the first logits lie around ± 15, and an epoch
    goes by before the loss is that of a coin.
    """
    assert isinstance(last, nn.Linear | nn.Conv2d)
    last.reset_parameters()


def _imagenet_state(architecture: str, file: str | None) -> dict[str, Tensor]:
    if file is not None:
        try:
            state = torch.load(Path(file).expanduser(), map_location="cpu", weights_only=True)
        except Exception as error:
            said = str(error).strip().partition("\n")[0]
            raise InitialisationError(f"{file}: not a readable state dict: {said}") from error
        return state  # type: ignore[no-any-return]
    weights = network(architecture).imagenet
    if weights is None:
        raise InitialisationError(no_weights(architecture))
    try:
        return _make(architecture, **weights).state_dict()
    except Exception as error:
        raise InitialisationError(
            f"the ImageNet weights of {architecture} could not be downloaded ({type(error).__name__}: {error}); "
            "on a machine without a network give a local state dict: training.initialisation.file, or "
            "features.weights"
        ) from error


def _load_all_but_the_last_layer(
    network: nn.Module, pretrained: dict[str, Tensor], first_convolution: str, last: str, architecture: str
) -> None:
    own = network.state_dict()
    stem = f"{first_convolution}.weight"
    if stem in pretrained and pretrained[stem].shape[1] == 3:
        pretrained = pretrained | {stem: pretrained[stem].sum(dim=1, keepdim=True)}
    drawn_anew = f"{last}."
    missing = [
        name
        for name, value in own.items()
        if not name.startswith(drawn_anew) and (name not in pretrained or pretrained[name].shape != value.shape)
    ]
    if missing:
        raise InitialisationError(
            f"these weights are not those of {architecture}: {len(missing)} of {len(own)} tensors are missing or "
            f"of another shape, first {missing[0]}; give a state dict of the library's own {architecture}"
        )
    fitting = {name: pretrained[name] for name in own if not name.startswith(drawn_anew)}
    network.load_state_dict(own | fitting)
