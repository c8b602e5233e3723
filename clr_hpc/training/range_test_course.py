"""The course of a range test: the losses on the way are all that is wanted, and divergence is one of its ends."""

from concurrent.futures import Future
from typing import Any

from torch import Tensor

from clr_hpc.schedule.lr_range import has_diverged
from clr_hpc.store.run_folder import read_metrics
from clr_hpc.training.checkpoint import Progress
from clr_hpc.training.course import Course
from clr_hpc.training.prepared_run import PreparedRun
from clr_hpc.training.shared_folder import SharedFolder


class RangeTestCourse(Course):
    """Record the loss of nearly every step, measure nothing else, and end where the loss diverges.

    What is known of the losses is read from the run's folder, so that a test that was killed ends where it would
    have ended. At an epoch's end nothing happens: a soft boundary of Deep SVDD keeps its radius, since a loss that
    changes its meaning on the way would say nothing about rates.
    """

    records_per_epoch = 200
    records_may_be_late = False

    def __init__(self, run: PreparedRun, folder: SharedFolder, already_elapsed: float) -> None:
        """Follow a test; ``already_elapsed`` as in ``Course``."""
        super().__init__(run, folder, already_elapsed)
        self._losses: list[float] = []
        """Of all records so far, in the first process."""
        if folder.world.is_first:
            self._losses = [entry["loss"] for entry in read_metrics(folder.path)]
        self._diverged = has_diverged(self._losses)

    @property
    def is_over(self) -> bool:
        """Whether the loss has diverged."""
        return self._diverged

    def step(self, samples: int, loss: Tensor, lr: float, momentum: float | None) -> None:
        """Record the loss; one that is not finite ends the test, and is no failure."""
        try:
            recorded = self._log.step(samples, loss, lr, momentum)
        except FloatingPointError:
            self._diverged = True
            return
        if recorded is not None and self._folder.world.is_first:
            self._losses.append(recorded)
            self._diverged = self._diverged or has_diverged(self._losses)

    def end_epoch(self, progress: Progress) -> Progress:
        """Do nothing."""
        return progress

    def save(self, progress: Progress) -> Future[str] | None:
        """Save a checkpoint; where weights are not finite any more, end the test instead."""
        try:
            return super().save(progress)
        except FloatingPointError:
            self._diverged = True
            return None

    def result(self, progress: Progress) -> dict[str, Any]:
        """Return how far the test came; its curve stands in metrics.jsonl, and there is no model."""
        (diverged,) = self._folder.world.any(self._diverged)
        seconds = self._log.elapsed_seconds
        epochs = self._run.epochs(progress.samples)
        return {
            "status": "done",
            "reason": None,
            "samples": progress.samples,
            "epochs": epochs,
            "stopped_early": epochs < self._run.spec.training.epochs,
            "diverged": diverged,
            "constant_answer_loss": self._run.constant_answer_loss(),
            "train": None,
            "validation": None,
            "models": {},
            "seconds": seconds,
            "checkpoint_sha256": None,
        }
