"""What is measured on a split, from every image's loss and score."""

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from clr_hpc.training.sampling import LabelledRows


@dataclass(frozen=True)
class SplitMetrics:
    """Metrics of one model on one split; None where a metric is not defined there."""

    loss: float | None
    accuracy: float | None
    """At a probability of 0.5."""
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
    """A model's answers on a split."""

    metrics: SplitMetrics
    scores: NDArray[np.float32]
    """(N,) in the order of the split's rows."""


@torch.inference_mode()
def evaluate(
    model: nn.Module,
    split: LabelledRows,
    load: Callable[[NDArray[np.int64]], Tensor],
    batch_size: int = 256,
) -> Evaluation:
    """Evaluate a model on all images of a split, in evaluation mode, and leave it in the mode it was in.

    Args:
        model: with ``losses`` and ``scores``, see ``clr_hpc.models.binary``.
        split: which rows, and their labels.
        load: gives the model's inputs ``(B, 1, H, W)`` for pack rows ``(B,)``, without augmentation.
        batch_size: images at once; it changes results by rounding only.
    """
    start = time.perf_counter()
    was_training = model.training
    model.eval()
    losses, scores = [], []
    for first in range(0, len(split), batch_size):
        chosen = slice(first, first + batch_size)
        images = load(split.rows[chosen])
        outputs = model(images)
        labels = torch.from_numpy(split.labels[chosen]).to(images.device)
        losses.append(model.losses(outputs, labels))  # type: ignore[operator]
        scores.append(model.scores(outputs))  # type: ignore[operator]
    model.train(was_training)
    if not losses:
        empty = SplitMetrics(None, None, None, None, images=0, positives=0, seconds=0.0)
        return Evaluation(empty, np.empty(0, dtype=np.float32))
    all_losses, all_scores = torch.cat(losses).cpu().numpy(), torch.cat(scores).cpu().numpy()
    return Evaluation(_measure(all_losses, all_scores, split, time.perf_counter() - start), all_scores)


def _measure(
    losses: NDArray[np.float32], scores: NDArray[np.float32], split: LabelledRows, seconds: float
) -> SplitMetrics:
    from sklearn.metrics import average_precision_score, roc_auc_score

    both_classes = 0 < split.positives < len(split)
    if not np.isfinite(scores).all():
        raise FloatingPointError("a score is not finite: training diverged; lower lr_max")
    return SplitMetrics(
        loss=float(losses.mean(dtype=np.float64)),
        accuracy=float(((scores >= 0.5) == (split.labels == 1)).mean()),
        auroc=float(roc_auc_score(split.labels, scores)) if both_classes else None,
        average_precision=float(average_precision_score(split.labels, scores)) if both_classes else None,
        images=len(split),
        positives=split.positives,
        seconds=round(seconds, 3),
    )
