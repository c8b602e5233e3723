"""The training loop. It knows neither the kind of task, nor the place it runs in, nor the vendor of the device."""

import logging
import math
from collections.abc import Callable
from typing import Any

from clr_hpc.config.run import RunSpec
from clr_hpc.data.pack import Pack
from clr_hpc.models.summary import describe_layers
from clr_hpc.store import layout
from clr_hpc.store.atomic import write_json
from clr_hpc.training.checkpoint import Checkpoint
from clr_hpc.training.hooks import Hooks, LrRangeHooks
from clr_hpc.training.saver import Saver
from clr_hpc.training.trainer import Trainer

log = logging.getLogger(__name__)
SHOWN_INPUTS = 8
HOOKS: dict[str, type[Hooks]] = {"range_test": LrRangeHooks}
"""By stage; all other runs train a model."""


class StoppedError(Exception):
    """Training was asked to stop and has saved a checkpoint, from which it resumes when it is started again."""


def train(
    spec: RunSpec, pack: Pack, saver: Saver, should_stop: Callable[[], bool], until_epochs: float = math.inf
) -> dict[str, Any]:
    """Train a run to its end, from its newest checkpoint if there is one, and return its result.

    All processes of the group call it together; they take the same steps and stop after the same one.

    Args:
        spec: of the run.
        pack: what it learns from.
        saver: of the run's folder.
        should_stop: called after every step; one process in which it returns True is enough.
        until_epochs: after so many it stops in the same way, with the rates of the whole run until then.

    Raises:
        StoppedError: ``should_stop`` returned True, or ``until_epochs`` are over.
        FloatingPointError: the loss, the gradient, a weight or a score is not finite.
        BaselineError: the run starts from a baseline that is missing, failed or damaged.
    """
    trainer, hooks, checkpoint = _resume(spec, pack, saver)
    progress = checkpoint.progress
    while not trainer.is_finished(progress):
        lr, momentum = trainer.set_lr(progress.samples)
        loss = trainer.step(progress.samples)
        progress = progress.after(trainer.batch_size)
        # before anything waits for the device: a process that is gone is noticed here at once
        pauses = trainer.epochs(progress.samples) >= until_epochs
        stops, saves, is_over = saver.group.any(pauses or should_stop(), saver.checkpoint_is_due, hooks.is_over)
        if is_over:
            break
        hooks.after_step(progress.samples, loss, lr, momentum)
        if trainer.ends_epoch(progress.samples):
            progress = hooks.after_epoch(progress)
        elif trainer.ends_cycle(progress.samples):
            trainer.fit_scores()
        if trainer.ends_cycle(progress.samples):
            saver.save_snapshot(trainer.model, progress.samples)
        if stops or saves:
            hooks.save(progress)
        if stops:
            saver.wait_until_written()
            epochs = trainer.epochs(progress.samples)
            raise StoppedError(f"saved after {epochs:.2f} of {spec.training.epochs} epochs")
    return hooks.result(progress) | {"damaged_checkpoints": list(checkpoint.passed_over)}


def _resume(spec: RunSpec, pack: Pack, saver: Saver) -> tuple[Trainer, Hooks, Checkpoint]:
    """Bring a run to its newest checkpoint, or to its beginning."""
    with saver.timeline("start-up"):
        unfit: dict[int, str] = {}
        while True:
            checkpoint = saver.latest_checkpoint(unfit)
            progress = checkpoint.progress
            trainer = Trainer(spec, pack, saver.group, progress.micro_batches, saver.timeline)
            why = trainer.misfit(checkpoint.tensors) if checkpoint.tensors else None
            if why is None:
                break
            unfit[progress.samples] = why
        hooks = HOOKS.get(spec.stage, Hooks)(trainer, saver, saver.resume_at(progress.samples))
        for damage in checkpoint.passed_over:
            log.warning("%s: checkpoint passed over: %s", spec.name, damage)
        log.info("%s: training from sample %d on", spec.name, progress.samples)
        if progress.samples or checkpoint.tensors:
            trainer.restore(checkpoint.tensors)
        else:
            trainer.begin(saver.baseline(spec.start) if spec.start else None)
            if saver.group.is_rank0:
                layers = describe_layers(trainer.model, spec.training.image_size)
                write_json(saver.path / layout.ARCHITECTURE, layers)
                saver.folder.record_inputs(trainer.first_inputs(SHOWN_INPUTS), samples=0)
        trainer.wrap_model(progress.rate_factor)
        hooks.begin(progress.samples)
    return trainer, hooks, checkpoint
