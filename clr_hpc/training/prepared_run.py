"""One run made ready: its model, optimizer and data, and the few things that the loop asks of them."""

from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.utils import clip_grad_norm_

from clr_hpc.data.packed import Pack
from clr_hpc.data.preparation import draw_changes, prepare
from clr_hpc.data.splits import SplitName
from clr_hpc.models.backbones import build_backbone
from clr_hpc.models.binary import BinaryClassifier
from clr_hpc.models.one_class.build import build_one_class
from clr_hpc.models.task_model import TaskModel
from clr_hpc.schedule.scheduler import apply_policy
from clr_hpc.spec.run import RunSpec
from clr_hpc.spec.task import BinaryTask
from clr_hpc.training.checkpoint import Progress, model_weights, restore_optimizer
from clr_hpc.training.metrics import Evaluation, evaluate
from clr_hpc.training.optimizers import build_optimizer
from clr_hpc.training.randomness import Stream, generator, seed_dropout
from clr_hpc.training.sampling import LabelledRows, make_sampler
from clr_hpc.training.start import baseline_tensors
from clr_hpc.training.task_data import TaskData, task_data

EVALUATION_BATCH = 256


class PreparedRun:
    """A run before its first step."""

    def __init__(self, spec: RunSpec, pack: Pack, device: torch.device) -> None:
        """Build the model on the device and find the run's images in the pack.

        Raises:
            ValueError: the pack's images are smaller than the model's input.
            EmptyTaskError: the training split has nothing to learn from.
            InitialisationError: the weights to start from can't be had.
        """
        if pack.manifest.size < spec.training.image_size:
            raise ValueError(
                f"image_size={spec.training.image_size} is larger than the pack's {pack.manifest.size} pixels; "
                "lower image_size or pack the source again with a larger --size"
            )
        self.spec, self.pack, self.device = spec, pack, device
        self.data: TaskData = task_data(spec.task, pack)
        self._sampler = make_sampler(spec, self.data.training)
        self.samples_per_epoch, self.batch_size = self._sampler.samples_per_epoch, self._sampler.batch_size
        self.model = _build_model(spec, self.data.training).to(device)
        self.model.to(memory_format=torch.channels_last)
        self.optimizer = (
            build_optimizer(spec.optimizer, self.model.parameters()) if self.model.takes_steps else None
        )
        self.decision = 0.5 if isinstance(spec.task, BinaryTask) else None
        self._has_dropout = any(isinstance(module, nn.Dropout) and module.p > 0 for module in self.model.modules())
        self._autocast = partial(
            torch.autocast, device.type, dtype=torch.bfloat16, enabled=spec.training.precision == "bfloat16"
        )

    def begin(self, runs_folder: Path) -> None:
        """Take the baseline's weights where the run starts from one, and what the model must know beforehand.

        Raises:
            BaselineError: the baseline is missing, failed or damaged.
        """
        if self.spec.start is not None:
            tensors = baseline_tensors(self.spec.start, runs_folder)
            self.model.start_from(model_weights(tensors))
            if self.optimizer is not None and self.spec.start.optimizer == "continued":
                restore_optimizer(self.optimizer, tensors)
        with self._autocast():
            self.model.prepare(_Again(self), self.data.training_patients)

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
        """Set the policy's rate after ``epochs`` into the optimizer; return it and the momentum in force."""
        assert self.optimizer is not None
        return apply_policy(self.optimizer, self.spec.policy, epochs)

    def step(self, samples_seen: int) -> tuple[Tensor, int]:
        """Train on the batch after ``samples_seen``; return its mean loss, still on the device, and its size."""
        assert self.optimizer is not None
        rows, labels = self._sampler.batch(samples_seen)
        changes = draw_changes(
            self.spec.training.augmentation,
            len(rows),
            generator(self.spec.seed, Stream.AUGMENTATION, samples_seen),
        )
        images = self.load(rows, changes)
        if self._has_dropout:
            seed_dropout(self.spec.seed, samples_seen)
        with self._autocast():
            outputs = self.model(images)
        loss = self.model.losses(outputs, images, torch.from_numpy(labels).to(self.device)).mean()
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        if self.spec.training.gradient_clip_norm:
            clip_grad_norm_(self.model.parameters(), self.spec.training.gradient_clip_norm)
        self.optimizer.step()
        return loss.detach(), len(rows)

    def evaluate(self, *splits: SplitName) -> dict[str, Evaluation]:
        """Evaluate on splits, in evaluation mode and without augmentation."""
        with self._autocast():
            return {
                split: evaluate(self.model, self.data.splits[split], self.load, self.decision, EVALUATION_BATCH)
                for split in splits
            }

    def end_epoch(self, training: Evaluation) -> None:
        """Let the model learn what changes once an epoch, from its scores on the images that it is trained on."""
        self.model.end_epoch(torch.from_numpy(training.scores[self.data.trained_on]).to(self.device))

    def training_images(self) -> Iterator[Tensor]:
        """Yield the inputs of all training images in order, without augmentation."""
        rows = self.data.training.rows
        for first in range(0, len(rows), EVALUATION_BATCH):
            yield self.load(rows[first : first + EVALUATION_BATCH])

    def load(self, rows: NDArray[np.int64], changes: NDArray[np.float32] | None = None) -> Tensor:
        """Return the model's inputs ``(B, 1, H, W)`` for pack rows ``(B,)``, on the device."""
        pixels = torch.from_numpy(self.pack.gather(rows)).to(self.device, non_blocking=True)
        training = self.spec.training
        images = prepare(pixels, training.image_size, training.normalisation, changes)
        return images.contiguous(memory_format=torch.channels_last)


class _Again:
    """The training images as an iterable that can be gone through again."""

    def __init__(self, run: PreparedRun) -> None:
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
