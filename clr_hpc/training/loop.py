"""The training loop. It knows neither the kind of task, nor the place it runs in, nor the vendor of the device."""

import math
from collections.abc import Callable
from dataclasses import asdict, replace
from typing import Any

from torch import Tensor

from clr_hpc.config.run import RunSpec
from clr_hpc.data.pack import Pack
from clr_hpc.models.summary import describe_layers
from clr_hpc.store.atomic import write_json
from clr_hpc.training.checkpoint import Progress, is_cycle_end
from clr_hpc.training.hooks import Hooks, LrRangeHooks
from clr_hpc.training.saver import Saver
from clr_hpc.training.timeline import Phases, untimed
from clr_hpc.training.trainer import Trainer

SHOWN_INPUTS = 8
HOOKS: dict[str, type[Hooks]] = {"range_test": LrRangeHooks}
"""By stage; all other runs come to a model."""


class StoppedError(Exception):
    """Training was asked to stop and has saved a checkpoint; starting it again goes on from there."""


def train(
    spec: RunSpec,
    pack: Pack,
    folder: Saver,
    should_stop: Callable[[], bool],
    until_epochs: float = math.inf,
    phases: Phases = untimed,
) -> dict[str, Any]:
    """Train a run to its end, from its newest checkpoint if there is one, and return its result.

    All processes of the group call it together; they take the same steps and stop after the same one.

    Args:
        spec: of the run.
        pack: what it learns from.
        folder: of the run, open in the first process.
        should_stop: asked after every step; one process that says so is enough.
        until_epochs: after so many it stops in the same way, with the rates of the whole run until then.
        phases: told of each part of the run.

    Raises:
        StoppedError: ``should_stop`` said so, or ``until_epochs`` are over.
        FloatingPointError: the loss, the gradient, a weight or a score is not finite.
        BaselineError: the run starts from a baseline that is missing, failed or damaged.
    """
    with phases("start-up"):
        latest = folder.latest_checkpoint()
        progress, group = latest.progress, folder.group
        run = Trainer(spec, pack, group, progress.micro_batches, phases)
        elapsed = folder.resume_at(progress.samples)
        course = HOOKS.get(spec.stage, Hooks)(run, folder, elapsed)
        _start(run, folder, progress, latest.tensors)
        course.begin()

    while not run.is_finished(progress):
        epochs = run.epochs(progress.samples)
        lr, momentum = run.set_rate(epochs)
        loss = run.step(progress.samples)
        progress = replace(progress, samples=progress.samples + run.batch_size)
        # before anything waits for the device: a process that is gone is noticed here at once
        pauses = run.epochs(progress.samples) >= until_epochs
        stops, is_due, is_over = group.any(pauses or should_stop(), folder.checkpoint_is_due, course.is_over)
        if is_over:
            break
        with phases("logging"):
            course.step(progress.samples, loss, lr, momentum)
        if progress.samples % run.samples_per_epoch == 0:
            progress = course.end_epoch(progress)
        if is_cycle_end(spec.policy, epochs, run.epochs(progress.samples)):
            with phases("checkpoints"):
                folder.save_snapshot(run.model, progress.samples)
        if stops or is_due:
            with phases("checkpoints"):
                course.save(progress)
        if stops:
            with phases("checkpoints"):
                folder.wait_until_written()
            raise StoppedError(f"saved after {run.epochs(progress.samples):.2f} of {spec.training.epochs} epochs")

    return course.result(progress) | {
        "divergences": [asdict(divergence) for divergence in progress.divergences],
        "micro_batches": progress.micro_batches,
        "damaged_checkpoints": list(latest.passed_over),
    }


def _start(run: Trainer, folder: Saver, progress: Progress, tensors: dict[str, Tensor]) -> None:
    """Bring the run to where it was, or to its beginning."""
    if progress.samples or tensors:
        run.restore(tensors)
    else:
        run.begin(folder.baseline(run.spec.start) if run.spec.start else None)
        if folder.group.is_rank0:
            layers = describe_layers(run.model, run.spec.training.image_size)
            write_json(folder.path / "architecture.json", layers)
            folder.folder.record_inputs(run.first_inputs(SHOWN_INPUTS), samples=0)
    run.wrap_model(progress.rate_factor)
