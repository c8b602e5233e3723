"""Feature maps that are computed once, for many fits: a network that looks them up by the number of an image."""

from collections.abc import Iterable

import torch
from torch import Tensor, nn
from torch.nn.functional import adaptive_avg_pool2d

from clr_hpc.models.feature_map import PROBE
from clr_hpc.models.one_class.fitted import FittedModel


class Remembered(nn.Module):
    """Returns maps of images that it knows; an "image" ``(B, 1, 1, 1)`` is its number."""

    def __init__(self, maps: dict[int, Tensor], last: Tensor) -> None:
        """Keep maps ``(N, C, H, W)`` by stride and the last layer's inputs ``(N, D)``."""
        super().__init__()
        self.known, self.inputs = maps, last
        self.at = nn.ModuleDict({f"stride{stride}": nn.Identity() for stride in maps})
        self.nothing = nn.Parameter(torch.zeros(1))  # where a network's device and type are looked for
        self.last = nn.Linear(last.shape[1], 1)

    def forward(self, images: Tensor) -> Tensor:
        """Give each map to a module of its own, which is where it is looked for."""
        is_probe = images.shape[-1] == PROBE
        numbers = torch.zeros(1, dtype=torch.int64) if is_probe else images[:, 0, 0, 0].long()
        for stride, maps in self.known.items():
            found = maps[numbers].float()
            if is_probe:
                found = found.new_zeros(1, found.shape[1], PROBE // stride, PROBE // stride)
            self.at[f"stride{stride}"](found)
        inputs = self.inputs[numbers].float()
        return self.last(inputs)


def numbers_as_images(numbers: Tensor) -> Tensor:
    """Return numbers ``(B,)`` as what ``Remembered`` takes, exact in float64."""
    return numbers.double()[:, None, None, None]


LARGEST = 16
"""Places along a side of the maps that are kept; larger maps are averaged, as methods of 8 or 16 places do it."""


@torch.no_grad()
def remember(reader: FittedModel, batches: Iterable[Tensor], strides: tuple[int, ...]) -> Remembered:
    """Run a network over all images once, and keep its maps in half precision.

    Args:
        reader: a fitted model whose feature maps are those of ``strides``.
        batches: all images, in order.
        strides: of the maps.
    """
    parts: list[list[Tensor]] = []
    inputs: list[Tensor] = []
    for images in batches:
        inputs.append(reader.backbone(images).half())
        maps = FittedModel.maps(reader, images)
        parts.append(
            [(adaptive_avg_pool2d(each, LARGEST) if each.shape[-1] > LARGEST else each).half() for each in maps]
        )
    kept = {stride: torch.cat([part[place] for part in parts]) for place, stride in enumerate(strides)}
    return Remembered(kept, torch.cat(inputs))
