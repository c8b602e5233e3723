"""What is done along a run besides its steps: what is recorded, measured and saved, and what it comes to.

The loop asks for it at the same moments of every run. This is the course of a run that comes to a model.
"""

from concurrent.futures import Future
from dataclasses import replace
from typing import Any

from torch import Tensor

from clr_hpc.data.splits import SplitName
from clr_hpc.schedule.lr_range import has_diverged
from clr_hpc.store.run_folder import read_metrics
from clr_hpc.training.checkpoint import Progress
from clr_hpc.training.metrics import Evaluation
from clr_hpc.training.recorder import RECORDS_PER_EPOCH, StepRecorder
from clr_hpc.training.results import outcome
from clr_hpc.training.saver import Saver
from clr_hpc.training.trainer import Trainer


class Hooks:
    """Measure at the end of each epoch, keep the best weights, and evaluate the model at the end."""

    records_per_epoch = RECORDS_PER_EPOCH
    records_may_be_late = True

    def __init__(self, run: Trainer, folder: Saver, already_elapsed: float) -> None:
        """Follow a run in its folder, which took ``already_elapsed`` seconds in earlier starts."""
        self._run, self._folder = run, folder
        self._log = StepRecorder(
            run, folder.folder, already_elapsed, self.records_per_epoch, self.records_may_be_late
        )
        self._measured: tuple[int, dict[SplitName, Evaluation]] = (-1, {})
        """After how many samples the model was last evaluated, and what it answered where that is still so."""

    @property
    def is_over(self) -> bool:
        """Whether the run ends before its last epoch, as this process sees it; asked once a step."""
        return False

    def begin(self) -> None:
        """Hear that the first step of this start comes next."""
        self._log.restart_window()

    def step(self, samples: int, loss: Tensor, lr: float, momentum: float | None) -> None:
        """Hear of a step that ended at ``samples`` samples seen.

        Raises:
            FloatingPointError: the loss or the gradient is not finite.
        """
        self._log.step(samples, loss, lr, momentum)

    def end_epoch(self, progress: Progress) -> Progress:
        """Measure, record what was measured, and keep the weights if they are the best so far."""
        run, folder = self._run, self._folder
        with run.phases("logging"):
            self._log.write_due()
        epochs = run.epochs(progress.samples)
        evaluations = run.evaluate(*self._splits_to_measure(round(epochs)))
        if folder.group.is_rank0:
            with run.phases("logging"):
                for split, evaluation in evaluations.items():
                    metrics = evaluation.metrics.as_dict()
                    folder.folder.record_epoch(progress.samples, epochs, split, metrics, self._log.elapsed_seconds)
        self._measured = progress.samples, evaluations
        if run.model.learns_from_epochs:
            run.end_epoch(evaluations["train"])
            self._measured = progress.samples, {}
        self._log.restart_window()
        # by the first process's numbers, so that no rounding can part them
        loss = folder.group.broadcast_from_rank0(lambda: evaluations["validation"].metrics.loss)
        if loss is not None and progress.best_loss is not None and loss >= progress.best_loss:
            return replace(progress, epochs_without_improvement=progress.epochs_without_improvement + 1)
        progress = replace(progress, best_loss=loss, best_progress=epochs, epochs_without_improvement=0)
        with run.phases("checkpoints"):
            folder.save_best(run.model, progress)
        return progress

    def _splits_to_measure(self, epoch: int) -> tuple[SplitName, ...]:
        """Return the splits to evaluate after so many epochs."""
        training = self._run.spec.training
        measures_training = (
            self._run.model.learns_from_epochs
            or epoch % training.measure_training_split_every == 0
            or epoch == training.epochs
        )
        return ("train", "validation") if measures_training else ("validation",)

    def save(self, progress: Progress) -> Future[str] | None:
        """Save a checkpoint, but never one that training can't go on from; return its SHA-256 to come.

        Raises:
            FloatingPointError: the loss or a weight is not finite.
        """
        self._log.require_finite(progress.samples)
        if not self._run.state_is_finite():
            raise FloatingPointError(
                f"a weight is not finite after {progress.samples} samples: training diverged; lower lr_max"
            )
        return self._folder.save_checkpoint(self._run.model, self._run.optimizer, progress)

    def result(self, progress: Progress) -> dict[str, Any]:
        """Save the last checkpoint, evaluate, and return what the run comes to when all of it is written."""
        with self._run.phases("checkpoints"):
            checksum = self.save(progress)
        samples, measured = self._measured
        known = measured if samples == progress.samples else {}
        result = outcome(self._run, self._folder, progress, self._log, known)
        with self._run.phases("checkpoints"):
            self._folder.wait_until_written()
        return result | {"checkpoint_sha256": checksum and checksum.result()}


class LrRangeHooks(Hooks):
    """Record the loss of nearly every step, measure nothing else, and end where the loss diverges.

    What is known of the losses is read from the run's folder, so that a test that was killed ends where it would
    have ended. At an epoch's end nothing happens: a soft boundary of Deep SVDD keeps its radius, since a loss that
    changes its meaning on the way would say nothing about rates.
    """

    records_per_epoch = 200
    records_may_be_late = False

    def __init__(self, run: Trainer, folder: Saver, already_elapsed: float) -> None:
        """Follow a test; ``already_elapsed`` as in ``Hooks``."""
        super().__init__(run, folder, already_elapsed)
        self._losses: list[float] = []
        """Of all records so far, in the first process."""
        if folder.group.is_rank0:
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
        if recorded is not None and self._folder.group.is_rank0:
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
        (diverged,) = self._folder.group.any(self._diverged)
        seconds = self._log.elapsed_seconds
        epochs = self._run.epochs(progress.samples)
        return {
            "status": "done",
            "reason": None,
            "samples": progress.samples,
            "epochs": epochs,
            "stopped_early": epochs < self._run.spec.training.epochs,
            "diverged": diverged,
            "constant_answer_loss": self._run.constant_prediction_loss(),
            "train": None,
            "validation": None,
            "models": {},
            "seconds": seconds,
            "checkpoint_sha256": None,
        }
