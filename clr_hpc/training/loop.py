"""The training loop. It knows neither the kind of task, nor the place it runs in, nor the vendor of the device."""

import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from clr_hpc.schedule.scheduler import apply_policy
from clr_hpc.training.checkpoint import Checkpoints, Progress, save_tensors
from clr_hpc.training.metrics import Evaluation
from clr_hpc.training.prepared_run import PreparedRun
from clr_hpc.training.run_folder import RunFolder
from clr_hpc.training.step_log import StepLog


class StoppedError(Exception):
    """Training was asked to stop and has saved a checkpoint; starting it again goes on from there."""


def train(
    run: PreparedRun, folder: RunFolder, should_stop: Callable[[], bool], checkpoint_seconds: float
) -> dict[str, Any]:
    """Train a run to its end, from its newest checkpoint if there is one, and return its result.

    Args:
        run: model, optimizer and data, as they are before the first step.
        folder: of the run, open.
        should_stop: asked after every step.
        checkpoint_seconds: a checkpoint is written when the last one is this old, and at the end.

    Raises:
        StoppedError: ``should_stop`` said so.
        FloatingPointError: the loss or a score is not finite.
    """
    checkpoints = Checkpoints(folder.path / "checkpoints")
    progress, damaged = checkpoints.load_latest(run.model, run.optimizer)
    log = StepLog(run, folder, already_elapsed=folder.resume_at(progress.samples))
    evaluations: dict[str, Evaluation] = {}
    saved_at = time.monotonic()

    while not run.is_finished(progress):
        lr, momentum = apply_policy(run.optimizer, run.spec.policy, run.epochs(progress.samples))
        loss, batch_size = run.step(progress.samples)
        progress = replace(progress, samples=progress.samples + batch_size)
        log.step(progress.samples, loss, lr, momentum, batch_size)
        if progress.samples % run.samples_per_epoch == 0:
            evaluations = run.evaluate()
            progress = _end_epoch(run, folder, progress, evaluations, log)
        if should_stop():
            checkpoints.save(run.model, run.optimizer, progress)
            raise StoppedError(
                f"saved after {run.epochs(progress.samples):.2f} of {run.spec.training.epochs} epochs"
            )
        if time.monotonic() - saved_at >= checkpoint_seconds:
            checkpoints.save(run.model, run.optimizer, progress)
            saved_at = time.monotonic()

    checksum = checkpoints.save(run.model, run.optimizer, progress)
    evaluations = evaluations or run.evaluate()
    run.write_predictions(folder.path / "predictions.parquet", evaluations)
    return {
        "status": "done",
        "reason": None,
        "samples": progress.samples,
        "epochs": run.epochs(progress.samples),
        "stopped_early": run.epochs(progress.samples) < run.spec.training.epochs,
        **{split: evaluation.metrics.as_dict() for split, evaluation in evaluations.items()},
        "best": {"progress": progress.best_progress, "validation_loss": progress.best_loss},
        "seconds": log.elapsed_seconds,
        "damaged_checkpoints": damaged,
        "checkpoint_sha256": checksum,
    }


def _end_epoch(
    run: PreparedRun, folder: RunFolder, progress: Progress, evaluations: dict[str, Evaluation], log: StepLog
) -> Progress:
    """Record what was measured, and keep the weights if they are the best so far."""
    epochs = run.epochs(progress.samples)
    for split, evaluation in evaluations.items():
        folder.record_epoch(progress.samples, epochs, split, evaluation.metrics.as_dict(), log.elapsed_seconds)
    log.restart_window()
    loss = evaluations["validation"].metrics.loss
    if loss is not None and progress.best_loss is not None and loss >= progress.best_loss:
        return replace(progress, epochs_without_improvement=progress.epochs_without_improvement + 1)
    save_tensors(folder.path / "best.safetensors", run.model.state_dict(), {"progress": epochs})
    return replace(progress, best_loss=loss, best_progress=epochs, epochs_without_improvement=0)
