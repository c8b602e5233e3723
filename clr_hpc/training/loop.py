"""The training loop. It knows neither the kind of task, nor the place it runs in, nor the vendor of the device."""

import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from clr_hpc.training.checkpoint import Checkpoints, Progress, model_tensors, save_tensors
from clr_hpc.training.cycle_ends import Snapshots, is_cycle_end
from clr_hpc.training.outcome import outcome
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
        BaselineError: the run starts from a baseline that is missing, failed or damaged.
    """
    checkpoints, snapshots = Checkpoints(folder.path / "checkpoints"), Snapshots(folder.path / "snapshots")
    progress, damaged = checkpoints.load_latest(run.model, run.optimizer)
    log = StepLog(run, folder, already_elapsed=folder.resume_at(progress.samples))
    if progress.samples == 0:
        run.begin(folder.path.parent)
        log.restart_window()
    saved_at = time.monotonic()

    while not run.is_finished(progress):
        epochs = run.epochs(progress.samples)
        lr, momentum = run.set_rate(epochs)
        loss, batch_size = run.step(progress.samples)
        progress = replace(progress, samples=progress.samples + batch_size)
        log.step(progress.samples, loss, lr, momentum, batch_size)
        if progress.samples % run.samples_per_epoch == 0:
            progress = _end_epoch(run, folder, progress, log)
        if is_cycle_end(run.spec.policy, epochs, run.epochs(progress.samples)):
            snapshots.save(run.model, progress.samples)
        if should_stop():
            checkpoints.save(run.model, run.optimizer, progress)
            raise StoppedError(
                f"saved after {run.epochs(progress.samples):.2f} of {run.spec.training.epochs} epochs"
            )
        if time.monotonic() - saved_at >= checkpoint_seconds:
            checkpoints.save(run.model, run.optimizer, progress)
            saved_at = time.monotonic()

    checksum = checkpoints.save(run.model, run.optimizer, progress)
    result = outcome(run, folder, progress, snapshots, log)
    return result | {"damaged_checkpoints": damaged, "checkpoint_sha256": checksum}


def _end_epoch(run: PreparedRun, folder: RunFolder, progress: Progress, log: StepLog) -> Progress:
    """Measure, record what was measured, and keep the weights if they are the best so far."""
    evaluations = run.evaluate("train", "validation")
    epochs = run.epochs(progress.samples)
    for split, evaluation in evaluations.items():
        folder.record_epoch(progress.samples, epochs, split, evaluation.metrics.as_dict(), log.elapsed_seconds)
    run.end_epoch(evaluations["train"])
    log.restart_window()
    loss = evaluations["validation"].metrics.loss
    if loss is not None and progress.best_loss is not None and loss >= progress.best_loss:
        return replace(progress, epochs_without_improvement=progress.epochs_without_improvement + 1)
    save_tensors(folder.path / "best.safetensors", model_tensors(run.model), {"progress": epochs})
    return replace(progress, best_loss=loss, best_progress=epochs, epochs_without_improvement=0)
