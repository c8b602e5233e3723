"""The validation loss on a fixed grid of steps, from a fixed sample of images: alike for all runs of a task."""

import numpy as np
import torch
from numpy.typing import NDArray

from clr_hpc.config.grid import grid_images, is_grid_step
from clr_hpc.training.data import SAMPLE_SEED, LabelledRows
from clr_hpc.training.trainer import Trainer


class ValidationGrid:
    """Estimates the loss on the validation split from a sample, half of it positive where there are so many.

    Each class's mean loss counts by its share of the split, so the expectation is the loss on all of it. Taking
    the rarer class more often makes the estimate more precise. Nothing that training reads is changed.
    """

    def __init__(self, trainer: Trainer) -> None:
        """Draw the sample."""
        self._trainer = trainer
        validation = trainer.data.splits["validation"]
        with_loss = np.flatnonzero(trainer.model.has_loss(torch.from_numpy(validation.labels)).numpy())
        labels = validation.labels[with_loss]
        chosen, self._weights = stratified_sample(labels, grid_images(len(labels), len(trainer.data.training)))
        self._sample = LabelledRows(validation.rows[with_loss][chosen], labels[chosen])

    @property
    def images(self) -> int:
        """Number of images in the sample."""
        return len(self._sample)

    def has(self, samples: int) -> bool:
        """Say whether the loss is measured after so many samples seen."""
        return is_grid_step(samples // self._trainer.batch_size, self._trainer.steps_per_epoch)

    def loss(self) -> float | None:
        """Return the estimate for the model as it is now, by all processes; None where it is not finite."""
        losses, _ = self._trainer.losses_and_scores(self._sample)
        loss = float(losses.astype(np.float64) @ self._weights)
        return loss if np.isfinite(loss) else None


def stratified_sample(labels: NDArray[np.float32], images: int) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Draw images, up to half of them positive, always the same ones of the same labels.

    Args:
        labels: ``(N,)`` 0 or 1.
        images: how many to draw, at most N.

    Returns:
        ``(images,)`` ascending positions, and ``(images,)`` what each counts: with these weights the sum over the
        sample of any value is an unbiased estimate of its mean over all N.
    """
    random = np.random.default_rng(SAMPLE_SEED)
    classes = [np.flatnonzero(labels == 1), np.flatnonzero(labels == 0)]
    positives = max(min(len(classes[0]), images // 2), images - len(classes[1]))
    chosen, weights = [], []
    for members, count in zip(classes, (positives, images - positives), strict=True):
        chosen.append(random.permutation(members)[:count])
        weights.append(np.full(count, len(members) / len(labels) / max(count, 1)))
    positions = np.concatenate(chosen)
    order = np.argsort(positions)
    return positions[order], np.concatenate(weights)[order]
