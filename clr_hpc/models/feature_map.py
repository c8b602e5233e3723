"""Where in an image a network sees something: its last feature map, the input of what pools it away."""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from clr_hpc.config.base import UserError
from clr_hpc.config.network import network

PROBE = 224
"""Pixels a side, at which a classifier's last feature map has rows and columns, and what is pooled has none."""
_WITH_WEIGHTS = (nn.Conv2d, nn.Linear)
_NO_MAP = (nn.Dropout, nn.Softmax)
"""What attention passes its own weights through, which have rows and columns too."""


class NoFeatureMapError(UserError):
    """A network has no last feature map with places in it; the message says what can be done."""


@contextmanager
def last_feature_map(backbone: nn.Module, architecture: str, image_size: int) -> Iterator[nn.Module]:
    """Yield the module whose output is the last feature map, after the ReLU that follows it.

    DenseNet rectifies its last map by a function, in place: no module's output is what is pooled. Within the
    context the module's output is rectified already. Its zeros are the smallest positive number there is, so that
    the network's own ReLU changes nothing and lets the gradient of every place through.

    Args:
        backbone: built by ``build_backbone``, in evaluation mode.
        architecture: its name.
        image_size: of the images that it was trained on.

    Raises:
        NoFeatureMapError: it has none, or one of a single place.
    """
    known = network(architecture)
    name = known.feature_map or _find(backbone, architecture, image_size)
    found = next((call for call in _calls(backbone, image_size) if call.name == name), None)
    if found is None:
        raise NoFeatureMapError(f"{architecture} has no module {name!r}, its feature_map; fix its Network")
    if not found.has_places:
        raise NoFeatureMapError(
            f"{architecture}'s last feature map of {image_size} × {image_size} pixels is a single place, so it "
            "can't say where it looks; train it with a larger training.image_size"
        )
    module = backbone.get_submodule(name)
    if not known.rectifies_feature_map:
        yield module
        return
    hook = module.register_forward_hook(lambda _, __, output: output.clamp_min(torch.finfo(output.dtype).tiny))
    try:
        yield module
    finally:
        hook.remove()


def modules_at_strides(backbone: nn.Module, strides: tuple[int, ...]) -> list[str]:
    """Return the module that gives the last feature map of each stride, of a network in evaluation mode.

    Of all maps with places of a stride, that is the last one of a module that is nested least: a block's output,
    not what is inside the next one.

    Args:
        backbone: built by ``build_backbone``; may lack its last layer.
        strides: pixels of the image that one place spans along each axis, rounded to powers of two.

    Raises:
        NoFeatureMapError: it has none.
    """
    try:
        calls = _calls(backbone, PROBE)
    except (AssertionError, RuntimeError, ValueError) as error:  # it takes images of one size
        raise NoFeatureMapError(
            f"this network takes no images of {PROBE} pixels, so the strides of its maps are unknown ({error}); "
            "take a convolutional one, or a method on the last layer's inputs: strides: null"
        ) from error
    by_stride: dict[int, _Call] = {}
    for call in calls:
        if call.has_places:
            stride = 2 ** round(math.log2(PROBE / call.shape[1]))
            known = by_stride.get(stride)
            if known is None or call.name.count(".") <= known.name.count("."):
                by_stride[stride] = call
    for stride in strides:
        if stride not in by_stride:
            there = ", ".join(map(str, sorted(by_stride))) or "none"
            raise NoFeatureMapError(
                f"this network has no feature map of stride {stride}; it has {there}: set strides to some of these"
            )
    return [by_stride[stride].name for stride in strides]


@dataclass(frozen=True)
class _Call:
    """One module's part in a forward pass."""

    name: str
    shape: tuple[int, ...]
    """Of its output, without the batch; empty where that is no tensor."""
    has_weights: bool
    """Whether it is a convolution or a linear layer."""
    is_no_map: bool

    @property
    def has_places(self) -> bool:
        """Whether the output has rows and columns, as many of the one as of the other, as the image has."""
        return not self.is_no_map and len(self.shape) == 3 and self.shape[1] == self.shape[2] > 1


def _find(backbone: nn.Module, architecture: str, image_size: int) -> str:
    """Return the name of the last module that gives rows and columns.

    In a network that ends by pooling, this is what is pooled. A transformer has none after its patches are cut:
    most of its weights then come after the module that was found.

    Raises:
        NoFeatureMapError: there is none.
    """
    try:
        calls = _calls(backbone, PROBE)
    except (AssertionError, RuntimeError, ValueError):  # it takes images of one size
        calls = _calls(backbone, image_size)
    found = max((number for number, call in enumerate(calls) if call.has_places), default=0)
    before = sum(call.has_weights for call in calls[: found + 1])
    if 2 * before < sum(call.has_weights for call in calls):
        raise NoFeatureMapError(
            f"{architecture} has no last feature map, as convolutional networks have, so Grad-CAM can't say where "
            "it looks; train a convolutional one, such as densenet121, or name its map: Network(feature_map=…)"
        )
    return calls[found].name


@torch.no_grad()
def _calls(backbone: nn.Module, image_size: int) -> list[_Call]:
    """Return the modules in the order in which a forward pass leaves them."""
    calls: list[_Call] = []

    def record(name: str, module: nn.Module, output: object) -> None:
        shape = tuple(output.shape[1:]) if isinstance(output, Tensor) else ()
        calls.append(_Call(name, shape, isinstance(module, _WITH_WEIGHTS), isinstance(module, _NO_MAP)))

    hooks = [
        module.register_forward_hook(lambda module, _, output, name=name: record(name, module, output))
        for name, module in backbone.named_modules()
        if name
    ]
    try:
        parameter = next(backbone.parameters())
        backbone(parameter.new_zeros(1, 1, image_size, image_size))
    finally:
        for hook in hooks:
            hook.remove()
    return calls
