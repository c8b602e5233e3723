"""Which images of a pack a run learns from and is measured on, and their labels in its task."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from clr_hpc.config.pathologies import NEGATIVE, NO_FINDING, PATHOLOGIES, POSITIVE, UNKNOWN
from clr_hpc.config.task import BinaryTask, Task
from clr_hpc.data.pack import Pack
from clr_hpc.data.splits import SPLITS, SplitName
from clr_hpc.training.sampling import LabelledRows


class EmptyTaskError(Exception):
    """The pack has nothing to learn this task from; the message says what is missing."""


@dataclass(frozen=True)
class TaskData:
    """The images of a task whose label is known."""

    training: LabelledRows
    """What the model is trained on: of a one-class task the one class alone."""
    splits: dict[SplitName, LabelledRows]
    """What it is measured on."""
    training_patients: NDArray[np.int64]
    """(N,) a number for the patient of each training image."""

    @property
    def trained_on(self) -> NDArray[np.bool_]:
        """Which images of the training split, in its order, the model is trained on."""
        return np.isin(self.splits["train"].rows, self.training.rows)


def task_data(task: Task, pack: Pack) -> TaskData:
    """Find a task's images.

    Raises:
        EmptyTaskError: there is nothing to learn from in the training split.
    """
    labels = task_labels(task, pack)
    splits = {split: _known(pack.rows_of(split), labels) for split in SPLITS}
    training = splits["train"]
    if isinstance(task, BinaryTask):
        for word, value in (("with", 1), ("without", 0)):
            if not (training.labels == value).any():
                raise EmptyTaskError(
                    f"no training image {word} {task.pathology} among {len(training)}; "
                    "leave this pathology out of the study or pack more images"
                )
    else:
        normal = training.labels == 0
        training = LabelledRows(training.rows[normal], training.labels[normal])
        if len(training) < 2:
            raise EmptyTaskError(
                f"{len(training)} training images of {task.normal}; a one-class model needs two or more: "
                "take another class or pack more images"
            )
    _, patients = np.unique(pack.index["patient"].to_numpy(dtype=str)[training.rows], return_inverse=True)
    return TaskData(training, splits, patients.astype(np.int64))


def task_labels(task: Task, pack: Pack) -> NDArray[np.int8]:
    """Return the labels ``(images,)`` of a whole pack in a task: 1, 0 or UNKNOWN."""
    if isinstance(task, BinaryTask):
        return pack.labels(task.pathology)
    member = _no_finding(pack) if task.normal == NO_FINDING else pack.labels(task.normal)
    # 0 is the one class and 1 is what is known to lie outside it
    return np.where(member == UNKNOWN, UNKNOWN, 1 - member).astype(np.int8)


def _no_finding(pack: Pack) -> NDArray[np.int8]:
    all_labels = np.stack([pack.labels(pathology) for pathology in PATHOLOGIES])
    unknown = (all_labels == UNKNOWN).any(axis=0)
    member = np.where(unknown, UNKNOWN, POSITIVE).astype(np.int8)
    member[(all_labels == POSITIVE).any(axis=0)] = NEGATIVE
    return member


def _known(rows: NDArray[np.int64], labels: NDArray[np.int8]) -> LabelledRows:
    known = labels[rows] != UNKNOWN
    return LabelledRows(rows[known], labels[rows][known].astype(np.float32))
