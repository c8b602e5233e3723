"""Which images of a pack a run learns from and is measured on, and their labels in its task."""

from dataclasses import dataclass
from enum import IntEnum
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray

from clr_hpc.config.pathologies import UNKNOWN
from clr_hpc.config.run import RunSpec
from clr_hpc.config.task import BinaryTask, PretrainingTask, Task
from clr_hpc.data.misfits import lack_of_images
from clr_hpc.data.pack import Pack
from clr_hpc.data.splits import SPLITS, SplitName, patient_draw

SAMPLE_SEED = 0
"""Of no run: whatever its seed and policy, a run of a task is measured on the same images."""


class Stream(IntEnum):
    """Purposes of random numbers; each has a stream of its own."""

    ORDER = 1
    AUGMENTATION = 2
    DROPOUT = 3


def generator(seed: int, stream: Stream, position: int) -> np.random.Generator:
    """Return the generator of a stream at a position (an epoch, or samples seen)."""
    return np.random.default_rng([seed, stream, position])


def seed_dropout(seed: int, samples_seen: int) -> None:
    """Set torch's global generators, from which dropout draws and nothing else in this project does."""
    words = np.random.SeedSequence([seed, Stream.DROPOUT, samples_seen]).generate_state(2, np.uint32)
    torch.manual_seed(int(words[0]) << 32 | int(words[1]))


@dataclass(frozen=True)
class LabelledRows:
    """The rows of one split of a pack on which a task's label is known."""

    rows: NDArray[np.int64]
    """(N,) positions in the pack's index."""
    labels: NDArray[np.float32]
    """(N,) 0 or 1."""

    def __len__(self) -> int:
        """Return the number of images."""
        return len(self.rows)

    def at(self, places: NDArray[np.int64]) -> "LabelledRows":
        """Return the images at ``(M,)`` places among these."""
        return LabelledRows(self.rows[places], self.labels[places])

    @property
    def positives(self) -> int:
        """Number of images with the finding."""
        return int(self.labels.sum())


class Sampler:
    """The endless sequence of a run's training batches."""

    def __init__(
        self, training: LabelledRows, batch_size: int, seed: int, balanced: bool = False, views: int = 1
    ) -> None:
        """Draw batches from ``training``.

        Args:
            training: images to draw from.
            batch_size: samples of a batch, at most.
            seed: of the order.
            balanced: draw images with and without the finding equally often.
            views: samples in succession that are the same image, each to be augmented by itself. An epoch has no
                more samples for that, so it leaves images out.
        """
        self.training = training
        self.batch_size = max(views, min(batch_size, len(training)) // views * views)
        self.seed = seed
        self.balanced, self.views = balanced, views
        self._order_of: tuple[int, NDArray[np.int64]] = (0, self._draw_order(0))

    @property
    def samples_per_epoch(self) -> int:
        """Samples of one epoch: complete batches only, since batch norm can't take a batch of one.

        Which images an epoch leaves out changes from epoch to epoch. A split smaller than a batch is one batch.
        """
        return len(self.training) // self.batch_size * self.batch_size

    def batch(self, samples_seen: int) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """Return rows ``(B,)`` and labels ``(B,)`` of the batch that follows after this many samples."""
        epoch, start = divmod(samples_seen, self.samples_per_epoch)
        if self._order_of[0] != epoch:
            self._order_of = (epoch, self._draw_order(epoch))
        chosen = self._order_of[1][start : start + self.batch_size]
        return self.training.rows[chosen], self.training.labels[chosen]

    def _draw_order(self, epoch: int) -> NDArray[np.int64]:
        random = generator(self.seed, Stream.ORDER, epoch)
        if not self.balanced:
            images = random.permutation(len(self.training))[: self.samples_per_epoch // self.views]
            return images.repeat(self.views)
        positive, negative = np.flatnonzero(self.training.labels == 1), np.flatnonzero(self.training.labels == 0)
        wanted = random.permutation(np.arange(self.samples_per_epoch) % 2 == 0)
        order = np.empty(self.samples_per_epoch, dtype=np.int64)
        order[wanted] = _draw(positive, int(wanted.sum()), random)
        order[~wanted] = _draw(negative, int((~wanted).sum()), random)
        return order


def _draw(pool: NDArray[np.int64], count: int, random: np.random.Generator) -> NDArray[np.int64]:
    """Draw ``count`` of the pool, each as often as every other, give or take one."""
    rounds = [random.permutation(pool) for _ in range(-(-count // len(pool)))]
    return np.concatenate(rounds)[:count]


def make_sampler(spec: RunSpec, training: LabelledRows) -> Sampler:
    """Return the sampler of a run over its training images."""
    balanced = spec.task.kind == "binary" and spec.training.class_imbalance == "balanced_sampling"
    views = spec.task.views if isinstance(spec.task, PretrainingTask) else 1
    return Sampler(training, spec.training.batch_size, spec.seed, balanced, views)


class EmptyTaskError(Exception):
    """The pack has no images to learn this task from."""


@dataclass(frozen=True)
class TaskData:
    """The images of a task whose label is known."""

    training: LabelledRows
    """Images that the model is trained on: for a one-class task only that class."""
    splits: dict[SplitName, LabelledRows]
    """Images that it is measured on."""
    training_patients: NDArray[np.int64]
    """(N,) a number for the patient of each training image."""
    training_sample: NDArray[np.int64]
    """(M,) ascending places in the training split: images that it is measured on along the run."""

    @property
    def trained_on(self) -> NDArray[np.bool_]:
        """Which images of the training split, in its order, the model is trained on."""
        return np.isin(self.splits["train"].rows, self.training.rows)

    @property
    def is_sampled(self) -> bool:
        """Whether the training split has more images than are measured along the run."""
        return len(self.training_sample) < len(self.splits["train"])


def task_data(spec: RunSpec, pack: Pack) -> TaskData:
    """Find the images of a run.

    Raises:
        EmptyTaskError: there is nothing to learn from in the training split.
    """
    task = spec.task
    labels = task_labels(task, pack)
    splits = {split: _known(pack.rows_of(split, spec.training.select), labels) for split in SPLITS}
    training = splits["train"]
    is_binary = isinstance(task, BinaryTask)
    of_label = training.labels == is_binary  # a one-class task's own class has label 0
    if (lack := lack_of_images(task, int(of_label.sum()), int((~of_label).sum()))) is not None:
        raise EmptyTaskError(lack)
    if not is_binary:
        training = LabelledRows(training.rows[of_label], training.labels[of_label])
    names = pack.index["patient"].to_numpy(dtype=str)
    _, patients = np.unique(names[training.rows], return_inverse=True)
    sample = patient_sample(names[splits["train"].rows], spec.training.training_accuracy_images)
    return TaskData(training, splits, patients.astype(np.int64), sample)


def patient_sample(patients: NDArray[np.str_], images: int | Literal["all"]) -> NDArray[np.int64]:
    """Choose complete patients whose images are at most ``images`` together, or the first patient alone.

    Patients are taken in an order that depends on their names alone, so that samples of tasks in which other
    labels are unknown, or of a pack that grew, are as alike as can be.

    Args:
        patients: ``(N,)`` the patient of each image.
        images: how many there may be.

    Returns:
        ``(M,)`` ascending places in ``patients``; all where there are no more than ``images``.
    """
    if images == "all" or len(patients) <= images:
        return np.arange(len(patients))
    names, patient, counts = np.unique(patients, return_inverse=True, return_counts=True)
    order = np.argsort([patient_draw(SAMPLE_SEED, name) for name in names], kind="stable")
    taken = max(1, int(np.searchsorted(counts[order].cumsum(), images, side="right")))
    return np.flatnonzero(np.isin(patient, order[:taken]))


def task_labels(task: Task, pack: Pack) -> NDArray[np.int8]:
    """Return the labels ``(images,)`` of all images of a pack in a task: 1, 0 or UNKNOWN; without labels, 0."""
    if isinstance(task, BinaryTask):
        return pack.labels(task.pathology)
    if isinstance(task, PretrainingTask):
        return np.zeros(len(pack.index), np.int8)
    member = pack.labels(task.normal)
    # 0 is the one class and 1 is what is known to lie outside it
    return np.where(member == UNKNOWN, UNKNOWN, 1 - member).astype(np.int8)


def _known(rows: NDArray[np.int64], labels: NDArray[np.int8]) -> LabelledRows:
    known = labels[rows] != UNKNOWN
    return LabelledRows(rows[known], labels[rows][known].astype(np.float32))
