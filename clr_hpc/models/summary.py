"""What a network is made of, as a table that a report can draw without it."""

import re
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

NORMS = (nn.BatchNorm2d,)


@torch.no_grad()
def describe_layers(model: nn.Module, image_size: int) -> dict[str, Any]:
    """Return the layers that an image goes through, in order.

    Returns:
        ``input``, the image's shape without the batch; ``parameters``, of the whole network; ``layers``, each with
        ``name``, ``kind`` (what it does, in words), ``output`` (its shape without the batch) and ``parameters``.
        What neither changes the shape nor learns is left out, and a norm counts with the layer before it.
    """
    network = getattr(model, "backbone", model)
    layers: list[dict[str, Any]] = []

    def record(name: str, module: nn.Module, output: Tensor) -> None:
        parameters = sum(parameter.numel() for parameter in module.parameters())
        shape = list(output.shape[1:])
        if layers and shape == layers[-1]["output"] and (parameters == 0 or isinstance(module, NORMS)):
            layers[-1]["parameters"] += parameters
        else:
            layers.append({"name": name, "kind": _words(module), "output": shape, "parameters": parameters})

    hooks = [
        module.register_forward_hook(lambda module, _, output, name=name: record(name, module, output))
        for name, module in _units(network, "")
    ]
    was_training = network.training
    parameter = next(network.parameters())
    network.eval()(parameter.new_zeros(1, 1, image_size, image_size))
    network.train(was_training)
    for hook in hooks:
        hook.remove()
    return {
        "input": [1, image_size, image_size],
        "parameters": sum(parameter.numel() for parameter in network.parameters()),
        "layers": layers,
    }


def _units(module: nn.Module, prefix: str) -> Iterator[tuple[str, nn.Module]]:
    """Yield what is shown as one layer: what lies in the network itself or in plain sequences of it."""
    for name, child in module.named_children():
        if isinstance(child, nn.Sequential) and type(child).__name__ == "Sequential":
            yield from _units(child, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", child


def _words(module: nn.Module) -> str:
    match module:
        case nn.Conv2d():
            return f"Conv {_square(module.kernel_size)}{_stride(module.stride)}"
        case nn.MaxPool2d() | nn.AvgPool2d():
            kind = "Max" if isinstance(module, nn.MaxPool2d) else "Average"
            return f"{kind} pool {_square(module.kernel_size)}{_stride(module.stride)}"
        case nn.ModuleDict():  # torchvision's dense blocks
            return f"{_spaced(module)}, {len(module)} layers"
        case nn.Dropout():  # shown only where it is the first to see a flattened image
            return "Flatten"
        case _ if "Adaptive" in type(module).__name__:
            return "Average pool to a fixed size"
        case _:
            strided = [conv.stride for conv in module.modules() if isinstance(conv, nn.Conv2d)]
            return _spaced(module) + (_stride(max(strided)) if strided else "")


def _square(size: Any) -> str:
    return f"{size}×{size}" if isinstance(size, int) else f"{size[0]}×{size[1]}"


def _stride(stride: Any) -> str:
    steps = stride if isinstance(stride, int) else stride[0]
    return f", stride {steps}" if steps > 1 else ""


def _spaced(module: nn.Module) -> str:
    """Turn ``DepthwiseSeparableConv`` into ``Depthwise separable conv``."""
    words = re.findall(r"[A-Z][a-z0-9]*", type(module).__name__.lstrip("_"))
    return " ".join(words).capitalize()
