"""The training loop. It knows neither the kind of task, nor the place it runs in, nor the vendor of the device."""

import math
from collections.abc import Callable
from dataclasses import asdict, replace
from typing import Any

from torch import Tensor

from clr_hpc.data.packed import Pack
from clr_hpc.durable import write_json
from clr_hpc.models.layers import describe_layers
from clr_hpc.spec.run import RunSpec
from clr_hpc.training.checkpoint import Progress
from clr_hpc.training.cycle_ends import is_cycle_end
from clr_hpc.training.outcome import outcome
from clr_hpc.training.prepared_run import PreparedRun
from clr_hpc.training.shared_folder import SharedFolder
from clr_hpc.training.step_log import StepLog

SHOWN_INPUTS = 8


class StoppedError(Exception):
    """Training was asked to stop and has saved a checkpoint; starting it again goes on from there."""


def train(
    spec: RunSpec,
    pack: Pack,
    folder: SharedFolder,
    should_stop: Callable[[], bool],
    until_epochs: float = math.inf,
) -> dict[str, Any]:
    """Train a run to its end, from its newest checkpoint if there is one, and return its result.

    All processes of the world call it together; they take the same steps and stop after the same one.

    Args:
        spec: of the run.
        pack: what it learns from.
        folder: of the run, open in the first process.
        should_stop: asked after every step; one process that says so is enough.
        until_epochs: after so many it stops in the same way, with the rates of the whole run until then.

    Raises:
        StoppedError: ``should_stop`` said so, or ``until_epochs`` are over.
        FloatingPointError: the loss, the gradient, a weight or a score is not finite.
        BaselineError: the run starts from a baseline that is missing, failed or damaged.
    """
    latest = folder.latest_checkpoint()
    progress, world = latest.progress, folder.world
    run = PreparedRun(spec, pack, world, progress.micro_batches)
    log = StepLog(run, folder.folder, already_elapsed=folder.resume_at(progress.samples))
    _start(run, folder, progress, latest.tensors)
    log.restart_window()

    while not run.is_finished(progress):
        epochs = run.epochs(progress.samples)
        lr, momentum = run.set_rate(epochs)
        loss = run.step(progress.samples)
        progress = replace(progress, samples=progress.samples + run.batch_size)
        # before anything waits for the device: a process that is gone is noticed here at once
        pauses = run.epochs(progress.samples) >= until_epochs
        stops, is_due = world.any(pauses or should_stop(), folder.checkpoint_is_due)
        log.step(progress.samples, loss, lr, momentum)
        if progress.samples % run.samples_per_epoch == 0:
            progress = _end_epoch(run, folder, progress, log)
        if is_cycle_end(spec.policy, epochs, run.epochs(progress.samples)):
            folder.save_snapshot(run.model, progress.samples)
        if stops or is_due:
            _save(run, folder, progress, log)
        if stops:
            raise StoppedError(f"saved after {run.epochs(progress.samples):.2f} of {spec.training.epochs} epochs")

    checksum = _save(run, folder, progress, log)
    result = outcome(run, folder, progress, log)
    return result | {
        "divergences": [asdict(divergence) for divergence in progress.divergences],
        "micro_batches": progress.micro_batches,
        "damaged_checkpoints": list(latest.passed_over),
        "checkpoint_sha256": checksum,
    }


def _start(run: PreparedRun, folder: SharedFolder, progress: Progress, tensors: dict[str, Tensor]) -> None:
    """Bring the run to where it was, or to its beginning."""
    if progress.samples or tensors:
        run.restore(tensors)
    else:
        run.begin(folder.baseline(run.spec.start) if run.spec.start else None)
        if folder.world.is_first:
            layers = describe_layers(run.model, run.spec.training.image_size)
            write_json(folder.path / "architecture.json", layers)
            folder.folder.record_inputs(run.first_inputs(SHOWN_INPUTS), samples=0)
    run.make_ready(progress.rate_factor)


def _save(run: PreparedRun, folder: SharedFolder, progress: Progress, log: StepLog) -> str | None:
    """Save a checkpoint, but never one that training can't go on from."""
    log.require_finite(progress.samples)
    if not run.state_is_finite():
        raise FloatingPointError(
            f"a weight is not finite after {progress.samples} samples: training diverged; lower lr_max"
        )
    return folder.save_checkpoint(run.model, run.optimizer, progress)


def _end_epoch(run: PreparedRun, folder: SharedFolder, progress: Progress, log: StepLog) -> Progress:
    """Measure, record what was measured, and keep the weights if they are the best so far."""
    evaluations = run.evaluate("train", "validation")
    epochs = run.epochs(progress.samples)
    if folder.world.is_first:
        for split, evaluation in evaluations.items():
            metrics = evaluation.metrics.as_dict()
            folder.folder.record_epoch(progress.samples, epochs, split, metrics, log.elapsed_seconds)
    run.end_epoch(evaluations["train"])
    log.restart_window()
    # by the first process's numbers, so that no rounding can part them
    loss = folder.world.from_first(lambda: evaluations["validation"].metrics.loss)
    if loss is not None and progress.best_loss is not None and loss >= progress.best_loss:
        return replace(progress, epochs_without_improvement=progress.epochs_without_improvement + 1)
    progress = replace(progress, best_loss=loss, best_progress=epochs, epochs_without_improvement=0)
    folder.save_best(run.model, progress)
    return progress
