"""Metrics on a split, from every image's loss and score."""

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from clr_hpc.models.task_model import TaskModel
from clr_hpc.training.data import LabelledRows
from clr_hpc.training.distributed import ProcessGroup


@dataclass(frozen=True)
class SplitMetrics:
    """Metrics of one model on one split; None where a metric is not defined there."""

    loss: float | None
    """Mean over the images that have one: of a one-class model those of its class."""
    accuracy: float | None
    """At a score of ``decision``."""
    auroc: float | None
    average_precision: float | None
    images: int
    positives: int
    seconds: float
    """Spent on computing them."""

    def as_dict(self) -> dict[str, float | int | None]:
        """Return what goes into ``metrics.jsonl`` and ``result.json``."""
        return asdict(self)


@dataclass(frozen=True)
class Evaluation:
    """A model's scores on a split, and its metrics."""

    metrics: SplitMetrics
    scores: NDArray[np.float32]
    """(N,) in the order of the split's rows."""
    losses: NDArray[np.float32]
    """(N,) of the same images, those without one (``TaskModel.has_loss``) included; empty for an ensemble."""


def evaluate(
    model: TaskModel,
    split: LabelledRows,
    load: Callable[[NDArray[np.int64]], Tensor],
    decision: float | None,
    group: ProcessGroup,
    batch_size: int = 256,
    fills_batches: bool = False,
) -> Evaluation:
    """Evaluate a model on all images of a split, in evaluation mode, and leave it in the mode it was in.

    Each process takes its share of the images; all get the scores of all of them.

    Args:
        model: of any task.
        split: which rows, and their labels.
        load: gives the model's inputs ``(B, 1, H, W)`` for pack rows ``(B,)``, without augmentation.
        decision: scores from here on count as label 1 in the accuracy; None leaves the accuracy undefined.
        group: the processes that have the model.
        batch_size: images at once; it changes results by rounding only.
        fills_batches: fill up the last batch with repeated images, and drop their scores. A GPU's libraries
            prepare again for each batch size, which takes longer than those images.

    Raises:
        FloatingPointError: a score is not finite.
    """
    start = time.perf_counter()
    losses, scores = losses_and_scores(model, split, load, group, batch_size, fills_batches)
    known = _known(model, split, losses)
    metrics = compute_metrics(scores, split, decision, known, time.perf_counter() - start)
    return Evaluation(metrics, scores, losses)


def metrics_of_part(
    model: TaskModel, part: LabelledRows, places: NDArray[np.int64], whole: Evaluation, decision: float | None
) -> SplitMetrics:
    """Return the metrics of a part of a split that was evaluated, ``part`` being its images at ``(M,)`` places."""
    known = _known(model, part, whole.losses[places])
    return compute_metrics(whole.scores[places], part, decision, known, whole.metrics.seconds)


def _known(model: TaskModel, rows: LabelledRows, losses: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the losses of the images that have one."""
    has_loss: NDArray[np.bool_] = model.has_loss(torch.from_numpy(rows.labels)).numpy()
    return losses[has_loss]


@torch.inference_mode()
def losses_and_scores(
    model: TaskModel,
    split: LabelledRows,
    load: Callable[[NDArray[np.int64]], Tensor],
    group: ProcessGroup,
    batch_size: int = 256,
    fills_batches: bool = False,
) -> NDArray[np.float32]:
    """Return ``(2, N)``: the loss and the score of each image; for the arguments see ``evaluate``."""
    was_training = model.training
    model.eval()
    share = group.share(len(split))
    batches: list[Tensor] = []
    for first in range(share.start, share.stop, batch_size):
        chosen = slice(first, min(first + batch_size, share.stop))
        rows, wanted = split.rows[chosen], split.labels[chosen]
        count = len(rows)
        if fills_batches:
            rows, wanted = np.resize(rows, batch_size), np.resize(wanted, batch_size)
        images = load(rows)
        labels = torch.from_numpy(wanted).to(images.device)
        outputs = model(images)
        both = torch.stack([model.losses(outputs, images, labels), model.scores(outputs, images)])
        batches.append(both.float()[:, :count])
    model.train(was_training)
    own = torch.cat(batches, dim=1).cpu().numpy() if batches else np.empty((2, 0), np.float32)
    everyones: NDArray[np.float32] = np.concatenate(group.all_gather(own), axis=1)
    return everyones


def compute_metrics(
    scores: NDArray[np.float32],
    split: LabelledRows,
    decision: float | None,
    losses: NDArray[np.float32],
    seconds: float,
) -> SplitMetrics:
    """Compute metrics from scores ``(N,)`` and the losses of the images that have one.

    Raises:
        FloatingPointError: a score is not finite.
    """
    if not np.isfinite(scores).all():
        raise FloatingPointError("a score is not finite: training diverged; lower lr_max")
    auroc, average_precision = areas(split.labels == 1, scores)
    correct = None if decision is None else (scores >= decision) == (split.labels == 1)
    return SplitMetrics(
        loss=float(losses.mean(dtype=np.float64)) if len(losses) else None,
        accuracy=float(correct.mean()) if correct is not None and len(split) else None,
        auroc=auroc,
        average_precision=average_precision,
        images=len(split),
        positives=split.positives,
        seconds=round(seconds, 3),
    )


def areas(labels: NDArray[np.bool_], scores: NDArray[np.float32]) -> tuple[float, float] | tuple[None, None]:
    """Return AUROC and average precision of scores ``(N,)``, or None where the labels ``(N,)`` hold one class.

    The AUROC is the probability that a positive scores above a negative, ties counting half (Hanley & McNeil
    1982, doi:10.1148/radiology.143.1.7063747). Average precision is the mean over positives of the precision at
    their scores, as in scikit-learn. Importing that takes nearly as long as importing torch, and every training
    process would wait for it.
    """
    positives, negatives = np.sort(scores[labels]), np.sort(scores[~labels])
    if not len(positives) or not len(negatives):
        return None, None
    below = np.searchsorted(negatives, positives)
    below_or_tied = np.searchsorted(negatives, positives, side="right")
    true_calls = len(positives) - np.searchsorted(positives, positives)
    false_calls = len(negatives) - below
    wins = (below + below_or_tied).sum() / (2 * len(positives) * len(negatives))
    return float(wins), float((true_calls / (true_calls + false_calls)).mean())
