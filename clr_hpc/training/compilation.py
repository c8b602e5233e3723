"""When a network is compiled: where that pays back within the run.

``torch.compile`` makes a GPU read and write memory less often. It takes a fraction of a minute, once for all runs
of a process with the same network and batch, and less where an earlier process left its code on the disk. What it
saves grows with the pixels that a run sees. So a run is compiled if it sees enough of them, which depends on
nothing but the run: alone, in a cohort and gone on with, it computes the same.
"""

import warnings
from collections.abc import Callable

import torch
from torch import Tensor, nn

from clr_hpc.config.run import RunSpec
from clr_hpc.config.task import BinaryTask

PAYS_FROM_PIXELS = {"mobilenet_v1": 4e10, "alexnet": 1.4e11, "densenet121": 4e10}
"""What compiling took, over what it saved a pixel of training images (docs/benchmarks.md)."""


def pays_back(spec: RunSpec, samples_per_epoch: int) -> bool:
    """Say whether compiling a run's network takes less time on a GPU than it saves.

    One-class models, whose networks are used in other ways besides, are left as they are.
    """
    pixels = spec.training.epochs * samples_per_epoch * spec.training.image_size**2
    return isinstance(spec.task, BinaryTask) and pixels >= PAYS_FROM_PIXELS[spec.architecture]


def compiled(network: nn.Module) -> Callable[[Tensor], Tensor]:
    """Return what computes as this network does, from its parameters, and is compiled when it is first called.

    A machine that can't compile, for want of a C compiler say, computes as ever; torch's log says why.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of torch's use of itself
        code = torch.compile(network, dynamic=False)

    def compute(images: Tensor) -> Tensor:
        with torch._dynamo.config.patch(suppress_errors=True), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # advice to whoever wrote the network, such as to take TF32
            outputs: Tensor = code(images)
        return outputs

    return compute
