"""One training step: on one device, over several processes, in micro-batches, or as CUDA graphs.

On a GPU that trains a run alone and in whole batches, the passes are captured and replayed, and compiled where
that pays. Everywhere else each operation is launched by itself.
"""

import warnings
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from functools import cached_property, partial

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.nn.utils import clip_grad_norm_, get_total_norm
from torch.optim import Optimizer

from clr_hpc.config.network import network
from clr_hpc.config.run import RunSpec
from clr_hpc.config.task import BinaryTask
from clr_hpc.data.augment import draw_transforms, prepare
from clr_hpc.data.prefetch import DevicePixels
from clr_hpc.models.task_model import TaskModel
from clr_hpc.training.data import Sampler, Stream, generator, seed_dropout
from clr_hpc.training.distributed import ProcessGroup
from clr_hpc.training.sync_layers import Part, averaging_gradients, sharing_copy
from clr_hpc.training.timeline import AnyTimeline

EAGER_STEPS = 2
"""Steps that a run takes before its passes are captured: in the first, libraries choose and allocate."""


@dataclass(frozen=True)
class _Batch:
    """What a step trains on, still on the host."""

    samples_seen: int
    """Before it."""
    rows: NDArray[np.int64]
    labels: NDArray[np.float32]
    transforms: Tensor | None


class TrainingStep:
    """Trains a model on one batch of its run per call."""

    def __init__(
        self,
        spec: RunSpec,
        pixels: DevicePixels,
        sampler: Sampler,
        model: TaskModel,
        optimizer: Optimizer | None,
        group: ProcessGroup,
        micro_batches: int,
        timeline: AnyTimeline,
        eager: bool,
    ) -> None:
        """Prepare steps on the device of ``group``, where the model is; for the other arguments see ``Trainer``.

        Raises:
            ValueError: a batch has fewer images than processes and micro-batches would share.
        """
        self.batch_size = sampler.batch_size
        self._views = sampler.views
        if self.batch_size < group.size * micro_batches * self._views:
            raise ValueError(
                f"a batch of {self.batch_size} images can't be shared by {group.size} processes in "
                f"{micro_batches} micro-batches; raise batch_size or train with fewer processes"
            )
        self.model, self.optimizer, self.timeline = model, optimizer, timeline
        self._spec, self._sampler, self._group, self._micro_batches = spec, sampler, group, micro_batches
        self._device, self._pixels = group.device, pixels
        self._network: Callable[[Tensor], Tensor] = model
        self._is_captured = self._device.type == "cuda" and group.size == 1 and micro_batches == 1 and not eager
        self._steps_taken = 0
        self.passes: CapturedPasses | None = None
        self._clipped_norm: Tensor | None = None
        self._part = Part(slice(0, self.batch_size), self.batch_size)
        self._has_dropout = any(isinstance(module, nn.Dropout) and module.p > 0 for module in model.modules())
        self.autocast = partial(
            torch.autocast, self._device.type, dtype=torch.bfloat16, enabled=spec.training.precision == "bfloat16"
        )

    def wrap_model(self) -> None:
        """Build the network that steps go through, from the model with the weights that it has now."""
        if self._group.size > 1 or self._micro_batches > 1:
            shared = sharing_copy(self.model, self._part, self._group.size)
            self._network = averaging_gradients(shared) if self._group.size > 1 else shared
        if self._is_captured and worth_compiling(self._spec, self._sampler.samples_per_epoch):
            self._network = compiled(self.model)

    def __call__(self, samples_seen: int) -> Tensor:
        """Train on the batch after ``samples_seen``.

        Returns:
            A loss, still on the device, whose mean over the processes is that over the batch.
        """
        assert self.optimizer is not None
        with self.timeline("gather"):
            rows, labels = self._sampler.batch(samples_seen)
        with self.timeline("prepare"):
            batch = _Batch(samples_seen, rows, labels, self.draw_transforms(samples_seen))
        replays = self._is_captured and self._steps_taken >= EAGER_STEPS
        loss = self._replay(batch) if replays else self._launch(batch)
        self._steps_taken += 1
        clip_norm = self._spec.training.gradient_clip_norm
        with self.timeline("optimizer"):
            if clip_norm:
                self._clipped_norm = clip_grad_norm_(self.model.parameters(), clip_norm)
            self.optimizer.step()
        return loss

    def gradient_norm(self) -> Tensor:
        """Return the L2 norm ``()`` of the last step's gradient, before clipping, on the device."""
        if self._clipped_norm is not None:
            return self._clipped_norm
        gradients = [parameter.grad for parameter in self.model.parameters() if parameter.grad is not None]
        return get_total_norm(gradients)

    def draw_transforms(self, samples_seen: int) -> Tensor | None:
        """Draw the augmentation of the batch after ``samples_seen``."""
        random = generator(self._spec.seed, Stream.AUGMENTATION, samples_seen)
        return draw_transforms(self._spec.training.augmentation, self.batch_size, random)

    def load(self, rows: NDArray[np.int64], transforms: Tensor | None = None) -> Tensor:
        """Return the model's inputs ``(B, 1, H, W)`` for pack rows ``(B,)``, on the device."""
        with self.timeline("gather"):
            pixels = self._pixels.gather(rows)
        with self.timeline("prepare"):
            return self._inputs(pixels, transforms)

    def _inputs(self, pixels: Tensor, transforms: Tensor | None) -> Tensor:
        training = self._spec.training
        images = prepare(pixels, training.image_size, training.normalisation, transforms)
        return images.contiguous(memory_format=torch.channels_last)

    def _launch(self, batch: _Batch) -> Tensor:
        """Leave the gradients of a batch in the model, operation by operation, and return its loss."""
        assert self.optimizer is not None
        with self.timeline("backward"):
            self.optimizer.zero_grad(set_to_none=True)
        losses = []
        for number, images in enumerate(self._parts):
            self._seed(batch.samples_seen)
            self._part.images = images
            is_last = number == self._micro_batches - 1
            with self._averaging(is_last):
                inputs = self.load(
                    batch.rows[images], None if batch.transforms is None else batch.transforms[images]
                )
                if is_last:
                    self._prefetch_batch_after(batch.samples_seen)
                wanted = torch.from_numpy(batch.labels[images]).to(self._device, non_blocking=True)
                losses.append(self._accumulate(inputs, wanted))
        return sum(losses[1:], losses[0])

    def _replay(self, batch: _Batch) -> Tensor:
        """Do the same as ``_launch`` by CUDA graphs, which are captured at the first call."""
        with self.timeline("gather"):
            parts = self._pixels.gather(batch.rows), batch.transforms, torch.from_numpy(batch.labels)
            self._prefetch_batch_after(batch.samples_seen)
        if self.passes is None:
            with self.timeline("start-up"):
                self.passes = CapturedPasses(*parts, self._inputs, self._loss, self.model)
        with self.timeline("prepare"):
            self.passes.prepare(*parts)
        with self.timeline("forward"):
            loss = self.passes.forward(lambda: self._seed(batch.samples_seen))
        with self.timeline("backward"):
            self.passes.backward()
        return loss

    def _seed(self, samples_seen: int) -> None:
        if self._has_dropout:
            seed_dropout(self._spec.seed, samples_seen)

    def _prefetch_batch_after(self, samples_seen: int) -> None:
        """Have the next batch read while this one trains."""

        def parts() -> list[NDArray[np.int64]]:
            rows, _ = self._sampler.batch(samples_seen + self.batch_size)
            return [rows[images] for images in self._parts]

        self._pixels.prefetch(parts)

    @cached_property
    def _parts(self) -> tuple[slice, ...]:
        """Samples of a batch that this process takes in each micro-batch: a share of each, at least one image.

        Views of an image stay together.
        """
        parts, images = [], self.batch_size // self._views
        for number in range(self._micro_batches):
            first, end = (images * (number + more) // self._micro_batches for more in (0, 1))
            share = self._group.share(end - first)
            parts.append(slice((first + share.start) * self._views, (first + share.stop) * self._views))
        return tuple(parts)

    def _averaging(self, is_last: bool) -> AbstractContextManager[None]:
        """Leave the averaging of gradients over processes to the last micro-batch of a batch."""
        if is_last or not isinstance(self._network, DistributedDataParallel):
            return nullcontext()
        return self._network.no_sync()

    def _accumulate(self, images: Tensor, labels: Tensor) -> Tensor:
        with self.timeline("forward"):
            loss = self._loss(images, labels)
        with self.timeline("backward"):
            loss.backward()  # type: ignore[no-untyped-call]
        return loss.detach()

    def _loss(self, images: Tensor, labels: Tensor) -> Tensor:
        with self.autocast():
            outputs = self._network(images)
        # gradients are averaged over processes, and the shares of a batch need not be equal
        return self.model.losses(outputs, images, labels).sum() / (self.batch_size / self._group.size)


class CapturedPasses:
    """Augmentation, forward and backward pass as CUDA graphs: captured once, then replayed in this order.

    A step of a small network is some hundred kernels of a few microseconds each, and the host takes longer to
    launch them than the GPU to compute them. A replay launches all of a graph at once. What differs from step to
    step is copied into tensors that stay where they are; the optimizer's step, which differs in its rate, is
    launched as before.

    Gradients are left in the parameters' ``grad``, overwritten at each replay, so nothing may set that to None.
    """

    def __init__(
        self,
        pixels: Tensor,
        transforms: Tensor | None,
        labels: Tensor,
        prepare: Callable[[Tensor, Tensor | None], Tensor],
        loss: Callable[[Tensor, Tensor], Tensor],
        model: nn.Module,
    ) -> None:
        """Capture; nothing is computed yet, and no random number drawn.

        Args:
            pixels: of any batch, on the GPU.
            transforms: of that batch, or None where images are not augmented.
            labels: of that batch.
            prepare: makes inputs from pixels and transforms.
            loss: makes the loss of inputs and labels.
            model: whose gradients are wanted; it has taken some steps.

        Raises:
            torch.OutOfMemoryError: not enough memory for the passes.
        """
        device = pixels.device
        self._pixels, self._labels = pixels.clone(), labels.to(device)
        self._transforms = None if transforms is None else transforms.to(device)
        self._generator = torch.cuda.default_generators[device.index]
        # graphs read it when they are replayed: it must not be that of other runs, which compute at the same time
        self._random_state = self._generator.clone_state()
        for parameter in model.parameters():
            parameter.grad = None  # so that the captured backward pass writes instead of adding
        self._prepare, self._forward, self._backward = (torch.cuda.CUDAGraph() for _ in range(3))
        pool = torch.cuda.graph_pool_handle()

        def capturing(graph: torch.cuda.CUDAGraph) -> torch.cuda.graph:
            # other threads continue: they fetch pixels and write checkpoints
            return torch.cuda.graph(graph, pool=pool, capture_error_mode="thread_local")

        with self._own_random_numbers():
            with capturing(self._prepare):
                inputs = prepare(self._pixels, self._transforms)
            with capturing(self._forward):
                value = loss(inputs, self._labels)
            with capturing(self._backward):
                value.backward()  # type: ignore[no-untyped-call]
        self._inputs, self._loss = inputs, value.detach()

    def prepare(self, pixels: Tensor, transforms: Tensor | None, labels: Tensor) -> None:
        """Take a batch, and augment it."""
        self._pixels.copy_(pixels, non_blocking=True)
        self._labels.copy_(labels, non_blocking=True)
        if self._transforms is not None and transforms is not None:
            self._transforms.copy_(transforms, non_blocking=True)
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
    and what it saves grows with the pixels that a run sees. The answer depends on the run alone, so that it
    computes the same alone, in a cohort and resumed. One-class models use their networks in other ways too and
    are not compiled.
    """
    pixels = spec.training.epochs * samples_per_epoch * spec.training.image_size**2
    return isinstance(spec.task, BinaryTask) and pixels >= network(spec.architecture).compiling_pays_from_pixels


def compiled(network: nn.Module) -> Callable[[Tensor], Tensor]:
    """Return a function that computes as this network does and is compiled at its first call.

    Where compiling fails, for want of a C compiler say, it runs the network itself; torch's log has the reason.
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
