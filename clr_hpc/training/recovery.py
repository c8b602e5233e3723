"""Recovery of a run that diverged or ran out of memory: it resumes from a checkpoint with changed settings.

The changes are part of the checkpoint's progress, so they survive a kill.
"""

from dataclasses import replace
from pathlib import Path

from clr_hpc.config.run import RunSpec
from clr_hpc.store import layout
from clr_hpc.store.checkpoints import RATE_CUT, Divergence, Progress
from clr_hpc.training.checkpoint import Checkpoints, DamagedCheckpointError, Snapshots, load_tensors
from clr_hpc.training.distributed import Kind

MOST_DIVERGENCES = 3
SMALLEST_MICRO_BATCH = 2
"""Images; batch norm needs two."""


class UnrecoverableError(Exception):
    """The run has used up its recoveries."""


def recover(kind: Kind, folder: Path, spec: RunSpec, batch_size: int, least: int) -> None:
    """Prepare the run in ``folder`` to resume from its newest usable checkpoint, or from its beginning.

    After a divergence every rate is divided by three, so a wave keeps its shape. When memory runs out the
    micro-batches are halved.

    Args:
        kind: of the failure.
        folder: of the run.
        spec: of the run.
        batch_size: images of a global batch.
        least: samples of a micro-batch that the processes need, which train the run together.

    Raises:
        UnrecoverableError: the rates were lowered three times, the micro-batches are as small as they can be, or
            what was written can't be read back.
    """
    checkpoints = Checkpoints(folder / layout.CHECKPOINTS)
    latest = checkpoints.latest()
    if kind == "diverged":
        progress = _with_lower_rates(latest.progress, spec, batch_size)
    else:
        progress = _with_smaller_micro_batches(latest.progress, batch_size, least)
    Snapshots(folder / layout.SNAPSHOTS).forget_after(progress.samples)
    progress = _with_best_on_disk(progress, folder / layout.BEST)
    checkpoints.save(latest.tensors, progress)
    written = checkpoints.latest()
    if written.progress != progress:  # resumed from another one, the run would come back here for ever
        found = "; ".join(written.passed_over) or f"it holds {written.progress}"
        raise UnrecoverableError(f"the checkpoint to resume from does not hold what was written: {found}")


def _with_lower_rates(progress: Progress, spec: RunSpec, batch_size: int) -> Progress:
    if len(progress.divergences) == MOST_DIVERGENCES:
        raise UnrecoverableError(
            f"it was resumed {MOST_DIVERGENCES} times, with its rates divided by {RATE_CUT} each time"
        )
    scale = spec.training.rate_scale(batch_size)
    lr_max = spec.policy.lr_max * scale * progress.rate_factor / RATE_CUT
    return replace(progress, divergences=(*progress.divergences, Divergence(progress.samples, lr_max)))


def _with_smaller_micro_batches(progress: Progress, batch_size: int, least: int) -> Progress:
    parts = 2 * progress.micro_batches
    if batch_size // parts < max(SMALLEST_MICRO_BATCH, least):
        raise UnrecoverableError(
            f"not even micro-batches of {batch_size // progress.micro_batches} images fit into memory; "
            "lower image_size, or use a smaller architecture or a device with more memory"
        )
    return replace(progress, micro_batches=parts)


def _with_best_on_disk(progress: Progress, best: Path) -> Progress:
    """Take the best weights on disk as the best so far: they may be newer than the checkpoint."""
    try:
        _, metadata = load_tensors(best)
    except DamagedCheckpointError:
        metadata = {}
    if not {"progress", "validation_loss"} <= metadata.keys():
        return replace(progress, best_loss=None, best_progress=0.0, epochs_without_improvement=0)
    if metadata["progress"] == progress.best_progress:
        return progress
    return replace(
        progress,
        best_loss=metadata["validation_loss"],
        best_progress=metadata["progress"],
        epochs_without_improvement=0,
    )
