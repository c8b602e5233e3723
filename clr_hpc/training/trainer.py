"""One run made ready: its model, optimizer and data, and the few things that the loop asks of them."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import cached_property, partial

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.nn.utils import clip_grad_norm_, get_total_norm

from clr_hpc.config.run import RunSpec
from clr_hpc.config.task import BinaryTask
from clr_hpc.data.augment import draw_changes, prepare
from clr_hpc.data.pack import Pack
from clr_hpc.data.prefetch import device_pixels
from clr_hpc.data.splits import SplitName
from clr_hpc.models.backbones import build_backbone
from clr_hpc.models.one_class.build import build_one_class
from clr_hpc.models.task_model import BinaryClassifier, TaskModel
from clr_hpc.schedule.scheduler import apply_policy
from clr_hpc.training.checkpoint import Progress, all_finite, model_weights, restore_optimizer, state_tensors
from clr_hpc.training.data import LabelledRows, Stream, TaskData, generator, make_sampler, seed_dropout, task_data
from clr_hpc.training.distributed import ProcessGroup
from clr_hpc.training.metrics import Evaluation, evaluate
from clr_hpc.training.optimizers import build_optimizer
from clr_hpc.training.step import EAGER_STEPS, CapturedPasses, compiled, worth_compiling
from clr_hpc.training.sync_layers import Part, averaging_gradients, sharing_copy
from clr_hpc.training.timeline import Phases, untimed

EVALUATION_BATCH = 64
"""Images. On CPUs larger ones leave the caches: 256 at once take twice as long in MobileNetV1 and
DenseNet-121 (docs/benchmarks.md)."""
EVALUATION_BATCH_ON_GPU = 512


@dataclass(frozen=True)
class _Batch:
    """What a step trains on, still on the host."""

    samples_seen: int
    """Before it."""
    rows: NDArray[np.int64]
    labels: NDArray[np.float32]
    changes: Tensor | None


class Trainer:
    """A run before its first step."""

    def __init__(
        self,
        spec: RunSpec,
        pack: Pack,
        group: ProcessGroup,
        micro_batches: int = 1,
        phases: Phases = untimed,
        as_written: bool = False,
    ) -> None:
        """Build the model on the device and find the run's images in the pack.

        Args:
            spec: what is trained.
            pack: what it is trained on.
            group: the processes that train it.
            micro_batches: parts that a batch is trained in, one after the other.
            phases: told of the parts of a step.
            as_written: launch each operation by itself also where steps are captured and compiled otherwise,
                which is on a GPU that trains the run alone and in whole batches; for comparisons.

        Raises:
            ValueError: the pack's images are smaller than the model's input, or a batch is smaller than it would
                have parts.
            EmptyTaskError: the training split has nothing to learn from.
            InitialisationError: the weights to start from can't be had.
        """
        if pack.manifest.size < spec.training.image_size:
            raise ValueError(
                f"image_size={spec.training.image_size} is larger than the pack's {pack.manifest.size} pixels; "
                "lower image_size or pack the source again with a larger --size"
            )
        self.spec, self.pack, self.group, self.device = spec, pack, group, group.device
        self.micro_batches, self.phases = micro_batches, phases
        self._pixels = device_pixels(pack, self.device)
        self._evaluation_batch = EVALUATION_BATCH if self.device.type == "cpu" else EVALUATION_BATCH_ON_GPU
        self.data: TaskData = task_data(spec.task, pack)
        self._sampler = make_sampler(spec, self.data.training)
        self.samples_per_epoch, self.batch_size = self._sampler.samples_per_epoch, self._sampler.batch_size
        if self.batch_size < group.size * micro_batches:
            raise ValueError(
                f"a batch of {self.batch_size} images can't be shared by {group.size} processes in "
                f"{micro_batches} micro-batches; raise batch_size or train with fewer processes"
            )
        self.model = _build_model(spec, self.data.training).to(self.device)
        self.model.to(memory_format=torch.channels_last)
        self.optimizer = (
            build_optimizer(spec.optimizer, self.model.parameters()) if self.model.takes_steps else None
        )
        self.decision = 0.5 if isinstance(spec.task, BinaryTask) else None
        self._rate_factor = 1.0
        self._clipped_norm: Tensor | None = None
        self._network: Callable[[Tensor], Tensor] = self.model
        self._is_captured = (
            self.device.type == "cuda" and group.size == 1 and micro_batches == 1 and not as_written
        )
        self._steps_taken = 0
        self.passes: CapturedPasses | None = None
        self._part = Part(slice(0, self.batch_size), self.batch_size)
        self._has_dropout = any(isinstance(module, nn.Dropout) and module.p > 0 for module in self.model.modules())
        self._autocast = partial(
            torch.autocast, self.device.type, dtype=torch.bfloat16, enabled=spec.training.precision == "bfloat16"
        )

    def begin(self, baseline: dict[str, Tensor] | None) -> None:
        """Take a baseline's tensors where the run starts from one, and learn what the model must know beforehand.

        All processes do the same, and in the end have what the first one has.
        """
        if self.spec.start is not None and baseline is not None:
            self.model.start_from(model_weights(baseline))
            if self.optimizer is not None and self.spec.start.optimizer == "continued":
                restore_optimizer(self.optimizer, baseline)
        with self._autocast():
            self.model.prepare(_Again(self), self.data.training_patients)
        if self.group.size > 1:
            self.restore(
                self.group.broadcast_tensors_from_rank0(lambda: state_tensors(self.model, self.optimizer))
            )

    def restore(self, tensors: dict[str, Tensor]) -> None:
        """Take the state of a checkpoint."""
        self.model.load_state_dict(model_weights(tensors))
        if self.optimizer is not None:
            restore_optimizer(self.optimizer, tensors)

    def wrap_model(self, rate_factor: float) -> None:
        """Make the network that steps go through, from the weights that it has now.

        Args:
            rate_factor: what the policy's rates are multiplied by, besides the scaling that the spec asks for.
        """
        if self.optimizer is None:
            return
        self._rate_factor = rate_factor * self.spec.training.rate_scale
        if self.group.size > 1 or self.micro_batches > 1:
            network = sharing_copy(self.model, self._part, self.group.size)
            self._network = averaging_gradients(network) if self.group.size > 1 else network
        if self._is_captured and worth_compiling(self.spec, self.samples_per_epoch):
            self._network = compiled(self.model)

    def epochs(self, samples: int) -> float:
        """Return the progress that ``samples`` samples seen make, in epochs."""
        return samples / self.samples_per_epoch

    def is_finished(self, progress: Progress) -> bool:
        """Say whether all epochs are done, early stopping holds, or the model takes no steps."""
        patience = self.spec.training.early_stop_epochs
        stopped_early = patience is not None and progress.epochs_without_improvement >= patience
        all_done = progress.samples >= self.spec.training.epochs * self.samples_per_epoch
        return stopped_early or all_done or not self.model.takes_steps

    def set_rate(self, epochs: float) -> tuple[float, float | None]:
        """Set the rate after ``epochs`` into the optimizer; return it and the momentum in force."""
        assert self.optimizer is not None
        for group in self.optimizer.param_groups:
            group["lr_scale"] = self._rate_factor
        _, momentum = apply_policy(self.optimizer, self.spec.policy, epochs)
        return float(self.optimizer.param_groups[0]["lr"]), momentum

    def step(self, samples_seen: int) -> Tensor:
        """Train on the batch after ``samples_seen``.

        Returns:
            A loss, still on the device, whose mean over the processes is that over the batch.
        """
        assert self.optimizer is not None
        with self.phases("gather"):
            rows, labels = self._sampler.batch(samples_seen)
        with self.phases("prepare"):
            batch = _Batch(samples_seen, rows, labels, self._changes(samples_seen))
        replays = self._is_captured and self._steps_taken >= EAGER_STEPS
        loss = self._replay(batch) if replays else self._launch(batch)
        self._steps_taken += 1
        clip_norm = self.spec.training.gradient_clip_norm
        with self.phases("optimizer"):
            if clip_norm:
                self._clipped_norm = clip_grad_norm_(self.model.parameters(), clip_norm)
            self.optimizer.step()
        return loss

    def _launch(self, batch: _Batch) -> Tensor:
        """Leave the gradients of a batch in the model, operation by operation, and return its loss."""
        assert self.optimizer is not None
        with self.phases("backward"):
            self.optimizer.zero_grad(set_to_none=True)
        losses = []
        for number, images in enumerate(self._parts):
            self._seed(batch.samples_seen)
            self._part.images = images
            is_last = number == self.micro_batches - 1
            with self._averaging(is_last):
                inputs = self.load(batch.rows[images], None if batch.changes is None else batch.changes[images])
                if is_last:
                    self._expect_batch_after(batch.samples_seen)
                wanted = torch.from_numpy(batch.labels[images]).to(self.device, non_blocking=True)
                losses.append(self._accumulate(inputs, wanted))
        return sum(losses[1:], losses[0])

    def _replay(self, batch: _Batch) -> Tensor:
        """Do the same as ``_launch`` by CUDA graphs, which are captured at the first call."""
        with self.phases("gather"):
            parts = self._pixels.take(batch.rows), batch.changes, torch.from_numpy(batch.labels)
            self._expect_batch_after(batch.samples_seen)
        if self.passes is None:
            with self.phases("start-up"):
                self.passes = CapturedPasses(*parts, self._inputs, self._loss, self.model)
        with self.phases("prepare"):
            self.passes.prepare(*parts)
        with self.phases("forward"):
            loss = self.passes.forward(lambda: self._seed(batch.samples_seen))
        with self.phases("backward"):
            self.passes.backward()
        return loss

    def _seed(self, samples_seen: int) -> None:
        if self._has_dropout:
            seed_dropout(self.spec.seed, samples_seen)

    def _expect_batch_after(self, samples_seen: int) -> None:
        """Have the next batch read while this one trains."""

        def parts() -> list[NDArray[np.int64]]:
            rows, _ = self._sampler.batch(samples_seen + self.batch_size)
            return [rows[images] for images in self._parts]

        self._pixels.expect(parts)

    def constant_prediction_loss(self) -> float | None:
        """Return the loss of the best answer that is the same for all images, over the first epoch's batches."""
        firsts = range(0, self.samples_per_epoch, self.batch_size)
        labels = np.concatenate([self._sampler.batch(first)[1] for first in firsts])
        return self.model.constant_prediction_loss(torch.from_numpy(labels))

    def gradient_norm(self) -> Tensor:
        """Return the L2 norm ``()`` of the last step's gradient, before clipping, on the device."""
        if self._clipped_norm is not None:
            return self._clipped_norm
        gradients = [parameter.grad for parameter in self.model.parameters() if parameter.grad is not None]
        return get_total_norm(gradients)

    @cached_property
    def _parts(self) -> tuple[slice, ...]:
        """Which images of a batch this process takes in each micro-batch: a share of each, at least one."""
        parts = []
        for number in range(self.micro_batches):
            first, end = (self.batch_size * (number + more) // self.micro_batches for more in (0, 1))
            share = self.group.share(end - first)
            parts.append(slice(first + share.start, first + share.stop))
        return tuple(parts)

    def _averaging(self, is_last: bool) -> AbstractContextManager[None]:
        """Leave the averaging of gradients over processes to the last micro-batch of a batch."""
        if is_last or not isinstance(self._network, DistributedDataParallel):
            return nullcontext()
        return self._network.no_sync()

    def _accumulate(self, images: Tensor, labels: Tensor) -> Tensor:
        with self.phases("forward"):
            loss = self._loss(images, labels)
        with self.phases("backward"):
            loss.backward()  # type: ignore[no-untyped-call]
        return loss.detach()

    def _loss(self, images: Tensor, labels: Tensor) -> Tensor:
        with self._autocast():
            outputs = self._network(images)
        # gradients are averaged over processes, and the shares of a batch need not be equal
        return self.model.losses(outputs, images, labels).sum() / (self.batch_size / self.group.size)

    def _changes(self, samples_seen: int) -> Tensor | None:
        random = generator(self.spec.seed, Stream.AUGMENTATION, samples_seen)
        return draw_changes(self.spec.training.augmentation, self.batch_size, random)

    def first_inputs(self, count: int) -> NDArray[np.float32]:
        """Return images ``(N, H, W)`` in [0, 1] of the first batch, augmented, for people to look at."""
        rows, changes = self._sampler.batch(0)[0][:count], self._changes(0)
        images = self.load(rows, None if changes is None else changes[:count]).squeeze(1)
        normalisation = self.spec.training.normalisation
        grey: NDArray[np.float32] = images.mul(normalisation.std).add(normalisation.mean).clamp(0, 1).cpu().numpy()
        return grey

    def state_is_finite(self) -> bool:
        """Say whether all that a checkpoint would hold is finite in all processes; waits for the device."""
        (broken,) = self.group.any(not all_finite(state_tensors(self.model, self.optimizer).values()))
        return not broken

    def evaluate(self, *splits: SplitName) -> dict[SplitName, Evaluation]:
        """Evaluate on splits, in evaluation mode and without augmentation."""
        with self.phases("evaluation"), self._autocast():
            return {
                split: evaluate(
                    self.model,
                    self.data.splits[split],
                    self.load,
                    self.decision,
                    self.group,
                    self._evaluation_batch,
                    self.device.type == "cuda",
                )
                for split in splits
            }

    def end_epoch(self, training: Evaluation) -> None:
        """Let the model learn what changes once an epoch, from its scores on the images that it is trained on."""
        self.model.end_epoch(torch.from_numpy(training.scores[self.data.trained_on]).to(self.device))

    def training_images(self) -> Iterator[Tensor]:
        """Yield the inputs of all training images in order, without augmentation."""
        rows, at_once = self.data.training.rows, self._evaluation_batch
        for first in range(0, len(rows), at_once):
            yield self.load(rows[first : first + at_once])

    def load(self, rows: NDArray[np.int64], changes: Tensor | None = None) -> Tensor:
        """Return the model's inputs ``(B, 1, H, W)`` for pack rows ``(B,)``, on the device."""
        with self.phases("gather"):
            pixels = self._pixels.take(rows)
        with self.phases("prepare"):
            return self._inputs(pixels, changes)

    def _inputs(self, pixels: Tensor, changes: Tensor | None) -> Tensor:
        training = self.spec.training
        images = prepare(pixels, training.image_size, training.normalisation, changes)
        return images.contiguous(memory_format=torch.channels_last)


class _Again:
    """The training images as an iterable that can be gone through again."""

    def __init__(self, run: Trainer) -> None:
        self._run = run

    def __iter__(self) -> Iterator[Tensor]:
        return self._run.training_images()


def _build_model(spec: RunSpec, training: LabelledRows) -> TaskModel:
    initialisation, seed = spec.training.initialisation, spec.seed
    if not isinstance(spec.task, BinaryTask):
        return build_one_class(spec.task, spec.architecture, initialisation, seed)
    weighted = spec.training.class_imbalance == "pos_weight"
    weight = (len(training) - training.positives) / training.positives if weighted else 1.0
    return BinaryClassifier(build_backbone(spec.architecture, 1, initialisation, seed), weight)
