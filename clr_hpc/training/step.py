"""Augmentation, forward and backward pass of a step as CUDA graphs: captured once, then replayed.

A step of a small network is some hundred kernels of a few microseconds each, and the host takes longer to launch
them than the GPU to compute them. A replay launches all of a graph at once. What differs from step to step is
copied into tensors that stay where they are; the optimizer's step, which differs in its rate, is launched as ever.
"""

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from clr_hpc.config.network import network
from clr_hpc.config.run import RunSpec
from clr_hpc.config.task import BinaryTask

EAGER_STEPS = 2
"""Steps that a run takes before its passes are captured: in the first, libraries choose and allocate."""


class CapturedPasses:
    """The passes of one run's steps over batches of one size, in the order prepare, forward, backward.

    Gradients are left in the parameters' ``grad``, anew at each replay, so nobody may set that to None.
    """

    def __init__(
        self,
        pixels: Tensor,
        changes: Tensor | None,
        labels: Tensor,
        prepare: Callable[[Tensor, Tensor | None], Tensor],
        loss: Callable[[Tensor, Tensor], Tensor],
        model: nn.Module,
    ) -> None:
        """Capture; nothing is computed yet, and no random number drawn.

        Args:
            pixels: of any batch, on the GPU.
            changes: of that batch, or None where images are not augmented.
            labels: of that batch.
            prepare: makes inputs from pixels and changes.
            loss: makes the loss of inputs and labels.
            model: whose gradients are wanted; it has taken some steps.

        Raises:
            torch.OutOfMemoryError: the passes don't fit beside what is there.
        """
        device = pixels.device
        self._pixels, self._labels = pixels.clone(), labels.to(device)
        self._changes = None if changes is None else changes.to(device)
        self._generator = torch.cuda.default_generators[device.index]
        # graphs read it when they are replayed: it must not be that of other runs, which compute at the same time
        self._random_state = self._generator.clone_state()
        for parameter in model.parameters():
            parameter.grad = None  # so that the captured backward pass writes instead of adding
        self._prepare, self._forward, self._backward = (torch.cuda.CUDAGraph() for _ in range(3))
        pool = torch.cuda.graph_pool_handle()

        def capturing(graph: torch.cuda.CUDAGraph) -> torch.cuda.graph:
            # other threads go on: they fetch pixels and write checkpoints
            return torch.cuda.graph(graph, pool=pool, capture_error_mode="thread_local")

        with self._own_random_numbers():
            with capturing(self._prepare):
                inputs = prepare(self._pixels, self._changes)
            with capturing(self._forward):
                value = loss(inputs, self._labels)
            with capturing(self._backward):
                value.backward()  # type: ignore[no-untyped-call]
        self._inputs, self._loss = inputs, value.detach()

    def prepare(self, pixels: Tensor, changes: Tensor | None, labels: Tensor) -> None:
        """Take a batch, and augment it."""
        self._pixels.copy_(pixels, non_blocking=True)
        self._labels.copy_(labels, non_blocking=True)
        if self._changes is not None and changes is not None:
            self._changes.copy_(changes, non_blocking=True)
        self._prepare.replay()

    def forward(self, seed: Callable[[], None]) -> Tensor:
        """Return the loss ``()``; ``seed`` sets torch's global generators, from which dropout draws."""
        with self._own_random_numbers():
            seed()
            self._forward.replay()
        # the next replay writes over it
        return self._loss.clone()

    def backward(self) -> None:
        """Leave the gradients of the last forward pass in the parameters."""
        self._backward.replay()

    @contextmanager
    def _own_random_numbers(self) -> Iterator[None]:
        others = self._generator.graphsafe_get_state()
        self._generator.graphsafe_set_state(self._random_state)
        try:
            yield
        finally:
            self._generator.graphsafe_set_state(others)


def worth_compiling(spec: RunSpec, samples_per_epoch: int) -> bool:
    """Say whether compiling a run's network takes less time on a GPU than it saves.

    ``torch.compile`` takes a fraction of a minute, once for all runs of a process with the same network and batch,
    and what it saves grows with the pixels that a run sees. The answer depends on nothing but the run, so that it
    computes the same alone, in a cohort and resumed.

    One-class models, whose networks are used in other ways besides, are left as they are.
    """
    pixels = spec.training.epochs * samples_per_epoch * spec.training.image_size**2
    return isinstance(spec.task, BinaryTask) and pixels >= network(spec.architecture).compiling_pays_from_pixels


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
