"""The trainer of one run: its model, optimizer and data, the learning rate, evaluation."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from clr_hpc.config.run import RunSpec
from clr_hpc.config.task import BinaryTask
from clr_hpc.data.misfits import too_small
from clr_hpc.data.pack import Pack
from clr_hpc.data.prefetch import device_pixels
from clr_hpc.data.splits import SplitName
from clr_hpc.models.build import build_model
from clr_hpc.models.task_model import TaskModel
from clr_hpc.schedule.scheduler import apply_policy
from clr_hpc.store.checkpoints import Progress
from clr_hpc.training.checkpoint import all_finite, is_cycle_end, model_weights, restore_optimizer, state_tensors
from clr_hpc.training.data import LabelledRows, TaskData, make_sampler, task_data
from clr_hpc.training.distributed import ProcessGroup
from clr_hpc.training.metrics import Evaluation, SplitMetrics, evaluate, losses_and_scores, metrics_of_part
from clr_hpc.training.optimizers import build_optimizer
from clr_hpc.training.step import TrainingStep
from clr_hpc.training.timeline import AnyTimeline, untimed

EVALUATION_BATCH = 64
"""Images. On CPUs larger ones leave the caches: 256 at once take twice as long in MobileNetV1 and
DenseNet-121 (docs/benchmarks.md)."""
EVALUATION_BATCH_ON_GPU = 512


class Trainer:
    """A run before its first step. ``step`` trains on one batch: see ``TrainingStep``."""

    def __init__(
        self,
        spec: RunSpec,
        pack: Pack,
        group: ProcessGroup,
        micro_batches: int = 1,
        timeline: AnyTimeline = untimed,
        eager: bool = False,
    ) -> None:
        """Build the model on the device and find the run's images in the pack.

        Args:
            spec: what is trained.
            pack: what it is trained on.
            group: the processes that train it.
            micro_batches: parts that a batch is trained in, one after the other.
            timeline: times the parts of the run.
            eager: launch each operation by itself also where steps are captured and compiled otherwise, which is
                on a GPU that trains the run alone and in whole batches; for comparisons.

        Raises:
            ValueError: the pack's images are smaller than the model's input, or a batch has fewer images than
                parts.
            EmptyTaskError: the training split has nothing to learn from.
            InitialisationError: the initial weights can't be obtained.
        """
        if (small := too_small(spec, pack.manifest)) is not None:
            raise ValueError(small)
        self.spec, self.pack, self.group, self.device = spec, pack, group, group.device
        self.micro_batches, self.timeline = micro_batches, timeline
        pixels = device_pixels(pack, self.device)
        self._evaluation_batch = EVALUATION_BATCH if self.device.type == "cpu" else EVALUATION_BATCH_ON_GPU
        self.data: TaskData = task_data(spec, pack)
        self._sampler = make_sampler(spec, self.data.training)
        self.samples_per_epoch, self.batch_size = self._sampler.samples_per_epoch, self._sampler.batch_size
        self.steps_per_epoch = self.samples_per_epoch // self.batch_size
        self._policy = spec.policy.in_steps(self.batch_size / self.samples_per_epoch)
        self.model = _build_model(spec, self.data.training).to(self.device)
        self.model.to(memory_format=torch.channels_last)
        self.optimizer = (
            build_optimizer(spec.optimizer, self.model.parameters()) if self.model.takes_steps else None
        )
        self.step = TrainingStep(
            spec, pixels, self._sampler, self.model, self.optimizer, group, micro_batches, timeline, eager
        )
        self.decision = 0.5 if isinstance(spec.task, BinaryTask) else None
        self._lr_factor = 1.0

    def begin(self, baseline: dict[str, Tensor] | None) -> None:
        """Take a baseline's tensors where the run starts from one, and fit what the model needs before its steps.

        In the end all processes have what rank 0 has.
        """
        if self.spec.start is not None and baseline is not None:
            self.model.start_from(model_weights(baseline))
            if self.optimizer is not None and self.spec.start.optimizer == "continued":
                restore_optimizer(self.optimizer, baseline)
        with self.step.autocast():
            self.model.prepare(self.training_images, self.data.training_patients)
        if self.group.size > 1:
            self.restore(self.group.broadcast_tensors_from_rank0(self.state))

    def state(self) -> dict[str, Tensor]:
        """Return the tensors of a checkpoint, not copied; ``restore`` takes them."""
        return state_tensors(self.model, self.optimizer)

    def misfit(self, tensors: dict[str, Tensor]) -> str | None:
        """Say which weight a checkpoint's tensors lack or have in another shape; None if they fit."""
        found = model_weights(tensors)
        for name, parameter in self.model.named_parameters():
            if name not in found:
                return f"it has no {name}, and is of another network"
            if found[name].shape != parameter.shape:
                shapes = f"{tuple(found[name].shape)}, not {tuple(parameter.shape)}"
                return f"{name} has shape {shapes}, and is of another network"
        return None

    def restore(self, tensors: dict[str, Tensor]) -> None:
        """Take the tensors of a checkpoint."""
        self.model.load_state_dict(model_weights(tensors))
        if self.optimizer is not None:
            restore_optimizer(self.optimizer, tensors)

    def wrap_model(self, lr_factor: float = 1.0) -> None:
        """Build the network that steps go through, from the model with the weights that it has now.

        Args:
            lr_factor: multiplies the policy's rates, besides the scaling that the spec asks for.
        """
        if self.optimizer is not None:
            self._lr_factor = lr_factor * self.spec.training.rate_scale(self.batch_size)
            self.step.wrap_model()

    def epochs(self, samples: int) -> float:
        """Return the progress that ``samples`` samples seen make, in epochs."""
        return samples / self.samples_per_epoch

    def is_finished(self, progress: Progress) -> bool:
        """Say whether all epochs are done, early stopping holds, or the model takes no steps."""
        patience = self.spec.training.early_stop_epochs
        stopped_early = patience is not None and progress.epochs_without_improvement >= patience
        all_done = progress.samples >= self.spec.training.epochs * self.samples_per_epoch
        return stopped_early or all_done or not self.model.takes_steps

    def ends_epoch(self, samples: int) -> bool:
        """Say whether the batch before ``samples`` was an epoch's last."""
        return samples % self.samples_per_epoch == 0

    def ends_cycle(self, samples: int) -> bool:
        """Say whether the batch before ``samples`` was the last of the policy's cycle."""
        return is_cycle_end(self.spec.policy, self.epochs(samples - self.batch_size), self.epochs(samples))

    def set_lr(self, samples: int) -> tuple[float, float | None]:
        """Set the optimizer's rate after ``samples`` seen; return it and the momentum in force."""
        assert self.optimizer is not None
        for group in self.optimizer.param_groups:
            group["lr_scale"] = self._lr_factor
        _, momentum = apply_policy(self.optimizer, self._policy, self.epochs(samples))
        return float(self.optimizer.param_groups[0]["lr"]), momentum

    def constant_prediction_loss(self) -> float | None:
        """Return the loss of the best constant prediction, over the first epoch's batches."""
        firsts = range(0, self.samples_per_epoch, self.batch_size)
        labels = np.concatenate([self._sampler.batch(first)[1] for first in firsts])
        return self.model.constant_prediction_loss(torch.from_numpy(labels))

    def first_inputs(self, count: int) -> NDArray[np.float32]:
        """Return images ``(N, H, W)`` in [0, 1] of the first batch, augmented, for people to look at."""
        rows, transforms = self._sampler.batch(0)[0][:count], self.step.draw_transforms(0)
        images = self.step.load(rows, None if transforms is None else transforms[:count]).squeeze(1)
        normalisation = self.spec.training.normalisation
        grey: NDArray[np.float32] = images.mul(normalisation.std).add(normalisation.mean).clamp(0, 1).cpu().numpy()
        return grey

    def state_is_finite(self) -> bool:
        """Say whether all that a checkpoint would hold is finite in all processes; waits for the device."""
        (broken,) = self.group.any(not all_finite(self.state().values()))
        return not broken

    def evaluate(self, *splits: SplitName) -> dict[SplitName, Evaluation]:
        """Evaluate on splits, in evaluation mode and without augmentation."""
        return {split: self._evaluate(self.data.splits[split]) for split in splits}

    def evaluate_training_sample(self, whole: Evaluation | None) -> SplitMetrics:
        """Return the metrics of the sample of the training split; from its whole evaluation, if there is one."""
        places = self.data.training_sample
        sample = self.data.splits["train"].at(places)
        if whole is None:
            return self._evaluate(sample).metrics
        return metrics_of_part(self.model, sample, places, whole, self.decision)

    def _evaluate(self, rows: LabelledRows) -> Evaluation:
        with self.timeline("evaluation"), self.step.autocast():
            return evaluate(
                self.model,
                rows,
                self.step.load,
                self.decision,
                self.group,
                self._evaluation_batch,
                self.device.type == "cuda",
            )

    def losses_and_scores(self, rows: LabelledRows) -> NDArray[np.float32]:
        """Return ``(2, N)``: the loss and the score of some rows of the pack, as ``evaluate`` has them."""
        with self.timeline("evaluation"), self.step.autocast():
            return losses_and_scores(
                self.model, rows, self.step.load, self.group, self._evaluation_batch, self.device.type == "cuda"
            )

    def end_epoch(self, training: Evaluation) -> None:
        """Let the model learn what changes once an epoch, from its scores on the images that it is trained on."""
        self.model.end_epoch(torch.from_numpy(training.scores[self.data.trained_on]).to(self.device))

    def fit_scores(self) -> None:
        """Let the model learn what its scores need besides the weights, if there is anything."""
        if not self.model.fits_scores:
            return
        was_training = self.model.training
        with self.timeline("evaluation"), self.step.autocast():
            self.model.eval()
            self.model.fit_scores(self.training_images)
            self.model.train(was_training)
        if self.group.size > 1:
            self.model.load_state_dict(self.group.broadcast_tensors_from_rank0(self.model.state_dict))

    @property
    def training_images(self) -> "TrainingImages":
        """Inputs of all training images in order, without augmentation."""
        return TrainingImages(self.step, self.data.training.rows, self._evaluation_batch)


@dataclass(frozen=True)
class TrainingImages:
    """An iterable of inputs ``(B, 1, H, W)`` that can be gone through again."""

    step: TrainingStep
    rows: NDArray[np.int64]
    batch_size: int

    def __iter__(self) -> Iterator[Tensor]:
        """Yield the inputs of all rows in order."""
        for first in range(0, len(self.rows), self.batch_size):
            yield self.step.load(self.rows[first : first + self.batch_size])


def _build_model(spec: RunSpec, training: LabelledRows) -> TaskModel:
    is_weighted = isinstance(spec.task, BinaryTask) and spec.training.class_imbalance == "pos_weight"
    weight = (len(training) - training.positives) / training.positives if is_weighted else 1.0
    return build_model(spec.task, spec.architecture, spec.training.initialisation, spec.seed, weight)
