"""Hooks that the loop calls along a run: they record, measure and save, and return the run's result."""

from concurrent.futures import Future
from dataclasses import asdict, replace
from typing import Any

from torch import Tensor

from clr_hpc.config.grid import is_measured_on_grid
from clr_hpc.data.splits import SplitName
from clr_hpc.schedule.divergence import has_diverged
from clr_hpc.store.checkpoints import Progress
from clr_hpc.store.run_folder import read_metrics
from clr_hpc.training.grid import ValidationGrid
from clr_hpc.training.metrics import Evaluation
from clr_hpc.training.recorder import RECORDS_PER_EPOCH, StepRecorder
from clr_hpc.training.results import evaluate_run
from clr_hpc.training.saver import Saver
from clr_hpc.training.trainer import Trainer


class Hooks:
    """Measure at the end of each epoch, keep the best weights, and evaluate the model at the end."""

    records_per_epoch = RECORDS_PER_EPOCH
    records_may_be_late = True

    def __init__(self, trainer: Trainer, saver: Saver, already_elapsed: float) -> None:
        """Follow a run, which took ``already_elapsed`` seconds before it was resumed."""
        self._trainer, self._saver = trainer, saver
        self._recorder = StepRecorder(
            trainer, saver.folder, already_elapsed, self.records_per_epoch, self.records_may_be_late
        )
        self._measured: tuple[int, dict[SplitName, Evaluation]] = (-1, {})
        """Samples seen at the last evaluation, and its results where the model is still the same."""
        grid = ValidationGrid(trainer) if is_measured_on_grid(trainer.spec) else None
        self._grid = grid if grid is not None and grid.images else None

    @property
    def is_over(self) -> bool:
        """Whether the run ends before its last epoch, as this process sees it; read once per step."""
        return False

    def begin(self, samples: int) -> None:
        """Prepare for the first step since the run was started, or resumed after ``samples`` seen."""
        if self._grid is not None and samples == 0 and self._trainer.spec.start is not None:
            self._measure_on_grid(self._grid, samples)
        self._recorder.restart_window()

    def after_step(self, samples: int, loss: Tensor, lr: float, momentum: float | None) -> None:
        """Record a step that ended at ``samples`` samples seen.

        Raises:
            FloatingPointError: the loss or the gradient is not finite.
        """
        with self._trainer.timeline("logging"):
            self._recorder.step(samples, loss, lr, momentum)
        if self._grid is not None and self._grid.has(samples):
            self._measure_on_grid(self._grid, samples)

    def _measure_on_grid(self, grid: ValidationGrid, samples: int) -> None:
        trainer, folder = self._trainer, self._saver.folder
        with self._recorder.paused():
            loss = grid.loss()
        # a run that was killed before its first checkpoint has the line of its beginning
        known = samples == 0 and any(line["kind"] == "grid" for line in read_metrics(folder.path))
        if trainer.group.is_rank0 and not known:
            with trainer.timeline("logging"):
                epochs, elapsed = trainer.epochs(samples), self._recorder.elapsed_seconds
                folder.record_grid(samples, epochs, loss, grid.images, elapsed)

    def after_epoch(self, progress: Progress) -> Progress:
        """Measure, record what was measured, and keep the weights if they are the best so far."""
        trainer, saver = self._trainer, self._saver
        with trainer.timeline("logging"):
            self._recorder.write_due()
        epochs = trainer.epochs(progress.samples)
        trainer.fit_scores()
        evaluations, lines = self._measure(round(epochs))
        if saver.group.is_rank0:
            with trainer.timeline("logging"):
                elapsed = self._recorder.elapsed_seconds
                for split, metrics in lines.items():
                    saver.folder.record_epoch(progress.samples, epochs, split, metrics, elapsed)
        self._measured = progress.samples, evaluations
        if trainer.model.learns_from_epochs:
            trainer.end_epoch(evaluations["train"])
            self._measured = progress.samples, {}
        self._recorder.restart_window()
        # rank 0 decides, so that no rounding makes the processes part
        loss = saver.group.broadcast_from_rank0(lambda: evaluations["validation"].metrics.loss)
        if loss is not None and progress.best_loss is not None and loss >= progress.best_loss:
            return replace(progress, epochs_without_improvement=progress.epochs_without_improvement + 1)
        progress = replace(progress, best_loss=loss, best_progress=epochs, epochs_without_improvement=0)
        saver.save_best(trainer.model, progress)
        return progress

    def _measure(self, epoch: int) -> tuple[dict[SplitName, Evaluation], dict[SplitName, dict[str, Any]]]:
        """Return the evaluations of whole splits after so many epochs, and what is recorded of each split."""
        trainer, training = self._trainer, self._trainer.spec.training
        is_sampled = trainer.data.is_sampled
        needs_whole = trainer.model.learns_from_epochs or epoch == training.epochs
        is_due = needs_whole or epoch % training.measure_training_split_every == 0
        whole: tuple[SplitName, ...] = ("train",) if needs_whole or (is_due and not is_sampled) else ()
        evaluations = trainer.evaluate(*whole, "validation")
        lines: dict[SplitName, dict[str, Any]] = {}
        if is_due and is_sampled:
            sample = trainer.evaluate_training_sample(evaluations.get("train")).as_dict()
            lines["train"] = sample | {"of_images": len(trainer.data.splits["train"])}
        for split, evaluation in evaluations.items():
            lines.setdefault(split, evaluation.metrics.as_dict())
        return evaluations, lines

    def save(self, progress: Progress) -> Future[str] | None:
        """Save a checkpoint, but never one that training can't resume from; return its SHA-256 to come.

        Raises:
            FloatingPointError: the loss or a weight is not finite.
        """
        with self._trainer.timeline("checkpoints"):
            self._recorder.require_finite(progress.samples)
            if not self._trainer.state_is_finite():
                raise FloatingPointError(
                    f"a weight is not finite after {progress.samples} samples: training diverged; lower lr_max"
                )
            return self._saver.save_checkpoint(self._trainer.state(), progress)

    def result(self, progress: Progress) -> dict[str, Any]:
        """Return the run's result, when all that it saved is on disk."""
        return self._result(progress) | {
            "divergences": [asdict(divergence) for divergence in progress.divergences],
            "batch_size": self._trainer.batch_size,
            "micro_batches": progress.micro_batches,
        }

    def _result(self, progress: Progress) -> dict[str, Any]:
        """Save the last checkpoint and evaluate the run's models."""
        checksum = self.save(progress)
        samples, measured = self._measured
        known = measured if samples == progress.samples else {}
        result = evaluate_run(self._trainer, self._saver, progress, self._recorder, known)
        self._saver.wait_until_written()
        return result | {"checkpoint_sha256": checksum and checksum.result()}


class LrRangeHooks(Hooks):
    """Record the loss of nearly every step, measure nothing else, and end where the loss diverges.

    The losses so far are read from the run's folder, so that a test that was killed ends where it would have
    ended. At an epoch's end nothing happens: a soft boundary of Deep SVDD keeps its radius, since a loss that
    changes its meaning would say nothing about rates.
    """

    records_per_epoch = 200
    records_may_be_late = False

    def __init__(self, trainer: Trainer, saver: Saver, already_elapsed: float) -> None:
        """Follow a test; see ``Hooks``."""
        super().__init__(trainer, saver, already_elapsed)
        self._losses: list[float] = []
        """Of all records so far, in rank 0."""
        if saver.group.is_rank0:
            self._losses = [entry["loss"] for entry in read_metrics(saver.path)]
        self._diverged = has_diverged(self._losses)

    @property
    def is_over(self) -> bool:
        """Whether the loss has diverged."""
        return self._diverged

    def after_step(self, samples: int, loss: Tensor, lr: float, momentum: float | None) -> None:
        """Record the loss; one that is not finite ends the test, and is no failure."""
        with self._trainer.timeline("logging"):
            try:
                recorded = self._recorder.step(samples, loss, lr, momentum)
            except FloatingPointError:
                self._diverged = True
                return
            if recorded is not None and self._saver.group.is_rank0:
                self._losses.append(recorded)
                self._diverged = self._diverged or has_diverged(self._losses)

    def after_epoch(self, progress: Progress) -> Progress:
        """Do nothing."""
        return progress

    def save(self, progress: Progress) -> Future[str] | None:
        """Save a checkpoint; where weights are not finite any more, end the test instead."""
        try:
            return super().save(progress)
        except FloatingPointError:
            self._diverged = True
            return None

    def _result(self, progress: Progress) -> dict[str, Any]:
        """Return how far the test came; its curve stands in metrics.jsonl, and there is no model."""
        (diverged,) = self._saver.group.any(self._diverged)
        seconds = self._recorder.elapsed_seconds
        epochs = self._trainer.epochs(progress.samples)
        return {
            "status": "done",
            "reason": None,
            "samples": progress.samples,
            "epochs": epochs,
            "stopped_early": epochs < self._trainer.spec.training.epochs,
            "diverged": diverged,
            "constant_answer_loss": self._trainer.constant_prediction_loss(),
            "train": None,
            "validation": None,
            "models": {},
            "seconds": seconds,
            "checkpoint_sha256": None,
        }
