"""Which images a run sees and in which order: a function of seed and epoch."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from clr_hpc.config.run import RunSpec
from clr_hpc.training.randomness import Stream, generator


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

    @property
    def positives(self) -> int:
        """Number of images with the finding."""
        return int(self.labels.sum())


class Sampler:
    """The endless sequence of a run's training batches."""

    def __init__(self, training: LabelledRows, batch_size: int, seed: int, balanced: bool) -> None:
        """Draw batches from ``training``; ``balanced`` draws images with and without the finding equally often."""
        self.training = training
        self.batch_size = min(batch_size, len(training))
        self.seed = seed
        self.balanced = balanced
        self._order_of: tuple[int, NDArray[np.int64]] = (0, self._draw_order(0))

    @property
    def samples_per_epoch(self) -> int:
        """Samples of one epoch: whole batches only, since batch norm can't take a batch of one.

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
            return random.permutation(len(self.training))[: self.samples_per_epoch]
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
    return Sampler(training, spec.training.batch_size, spec.seed, balanced)
