"""Networks as data, without torch. A new one is an entry of ``NETWORKS``, or another package's entry point.

Every image classifier of timm is there too, as ``timm/NAME``.

An entry point of the group ``clr_hpc.networks`` has the network's name and leads to a ``Network``. Of the packages
that have one, only that whose network is used is imported.
"""

import difflib
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator

from clr_hpc.config.base import unknown
from clr_hpc.config.plugins import load_plugin, plugins

GROUP = "clr_hpc.networks"
PREFIX = "timm/"
"""Of an architecture that timm builds: ``timm/resnet18``."""
_REGISTERED = re.compile(r"^@register_model\s+def (\w+)\(", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class NetworkSize:
    """What a network takes on disk."""

    parameters: int
    """Values that learn."""
    state_bytes: int
    """Of its ``state_dict``."""


@dataclass(frozen=True)
class Network:
    """An image classifier that ends in a linear layer.

    Its first convolution is replaced by one that takes a single channel, unless it does already.
    """

    title: str
    """Name in reports."""
    build: str
    """``module:function``; the function takes ``num_classes`` and returns a ``torch.nn.Module``."""
    arguments: Mapping[str, Any] = field(default_factory=dict)
    """Further keyword arguments of the function."""
    imagenet: Mapping[str, Any] | None = None
    """Keyword arguments with which the function returns ImageNet's weights; None where there are none."""
    smallest_image_size: int = 32
    """Pixels; below it the last feature map would be empty."""
    smallest_image_size_of_one: int = 64
    """Pixels; below it, a batch of one image leaves batch norm one value to train on. 0: it has no batch norm."""
    compiling_pays_from_pixels: float = 1.4e11
    """Seconds of compiling / seconds it saves per pixel of training images (docs/benchmarks.md). The default
    is the largest value measured."""
    size: NetworkSize | None = None
    """With one channel and one output; None: it is built where its size is asked for."""
    is_tried: bool = False
    """Whether its image sizes are not known: it is tried before anything starts."""
    feature_map: str = ""
    """Module whose output is the last feature map, as torch names it (``features.11``). Empty: the last module
    that gives rows and columns."""
    rectifies_feature_map: bool = False
    """Whether a ReLU that is a function, and no module to be named, follows that module."""


NETWORKS = {
    "mobilenet_v1": Network(
        title="MobileNetV1",
        build="timm:create_model",
        arguments={"model_name": "mobilenetv1_100"},
        imagenet={"pretrained": True},
        smallest_image_size_of_one=33,
        compiling_pays_from_pixels=4e10,
        size=NetworkSize(3_207_425, 12_917_468),
    ),
    "alexnet": Network(
        title="AlexNet",
        build="torchvision.models:alexnet",
        imagenet={"weights": "IMAGENET1K_V1"},
        smallest_image_size=64,
        smallest_image_size_of_one=0,
        size=NetworkSize(56_992_449, 227_969_796),
        feature_map="features.11",  # of the last convolution; what follows pools it to 6 × 6
    ),
    "densenet121": Network(
        title="DenseNet-121",
        build="torchvision.models:densenet121",
        imagenet={"weights": "IMAGENET1K_V1"},
        smallest_image_size_of_one=61,
        compiling_pays_from_pixels=4e10,
        size=NetworkSize(6_948_609, 28_129_996),
        feature_map="features",
        rectifies_feature_map=True,
    ),
    "lenet": Network(
        title="LeNet",
        build="clr_hpc.models.lenet:LeNet",
        smallest_image_size_of_one=8,
        size=NetworkSize(259_521, 1_039_900),
        feature_map="features",
    ),
}
ARCHITECTURES = tuple(NETWORKS)
"""Names of the networks of this package."""


def network(name: str) -> Network:
    """Return a network by its name.

    Raises:
        ValueError: no installed package has it, or its package can't be imported.
    """
    if name.startswith(PREFIX):
        return _of_timm(name)
    return NETWORKS.get(name) or _of_another_package(name)


@cache
def _of_timm(name: str) -> Network:
    check_timm_name(name)
    model = name.removeprefix(PREFIX)
    return Network(
        title=f"{model} (timm)",
        build="timm:create_model",
        arguments={"model_name": model, "in_chans": 1},
        imagenet={"pretrained": True},
        smallest_image_size=1,
        smallest_image_size_of_one=0,
        is_tried=True,
    )


@cache
def _of_another_package(name: str) -> Network:
    others = plugins(GROUP)
    if name not in others:
        raise ValueError(unknown("architecture", name, [*NETWORKS, *others, f"{PREFIX}NAME, any network of timm"]))
    found: Network = load_plugin(others[name], lambda value: isinstance(value, Network), "a Network")
    return found


def no_weights(name: str) -> str:
    """Say that a network has no ImageNet weights, and what to do."""
    return (
        f"{name} has no ImageNet weights to download; set training.initialisation.weights: random, or "
        "give a state dict as training.initialisation.file"
    )


def _known(name: str) -> str:
    network(name)
    return name


Architecture = Annotated[str, AfterValidator(_known)]
"""The name of a network."""


def check_timm_name(architecture: str) -> None:
    """See that timm has a network, such as ``timm/resnet18`` or, with a tag of weights, ``timm/resnet18.a1_in1k``.

    Raises:
        ValueError: the installed timm has none of this name.
    """
    name = architecture.removeprefix(PREFIX).partition(".")[0]
    known = timm_names()
    if name in known:
        return
    nearest = [PREFIX + each for each in difflib.get_close_matches(name, sorted(known), n=3)]
    remedy = f"did you mean {' or '.join(nearest)}?" if nearest else "timm.list_models() has their names"
    raise ValueError(f"unknown architecture: {architecture}; timm {version('timm')} has {len(known):,}; {remedy}")


@cache
def timm_names() -> frozenset[str]:
    """Return what ``timm.list_models()`` returns, from timm's files: importing it imports torch, for seconds."""
    found = find_spec("timm")
    assert found is not None
    folders = [Path(folder, "models") for folder in found.submodule_search_locations or ()]
    files = (file for folder in folders for file in folder.glob("*.py"))
    return frozenset(name for file in files for name in _REGISTERED.findall(file.read_text(encoding="utf-8")))
