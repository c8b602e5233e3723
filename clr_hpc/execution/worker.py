"""What every place calls: train one run in its folder and leave a result there, whatever happens."""

import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from clr_hpc.durable import write_json
from clr_hpc.spec.run import RunSpec

if TYPE_CHECKING:
    from clr_hpc.data.packed import Pack
    from clr_hpc.training.world import World

Outcome = Literal["done", "failed", "stopped", "in use"]
"""``stopped``: a checkpoint is saved and nothing is lost. ``in use``: another process trains it."""


def train_run(
    spec: RunSpec,
    pack: "Pack",
    folder: Path,
    world: "World",
    should_stop: Callable[[], bool],
    checkpoint_seconds: float,
    place: str,
) -> Outcome:
    """Train a run, or go on with it, or do nothing where its result is there.

    ``place`` says to people where it is trained, such as ``lane 2``.

    A run that raises leaves ``result.json`` with status ``failed``, the reason and the traceback, and can be
    tried again. Only an interrupt from the keyboard comes through.
    """
    from clr_hpc.models.layers import describe_layers
    from clr_hpc.training.environment import describe_environment
    from clr_hpc.training.loop import StoppedError, train
    from clr_hpc.training.prepared_run import PreparedRun
    from clr_hpc.training.run_folder import RunFolder, RunInUseError

    run_folder = RunFolder(folder)
    if is_done(run_folder.result()):
        return "done"
    started = time.monotonic()
    try:
        with run_folder.open(spec, describe_environment(world.device), place):
            try:
                prepared = PreparedRun(spec, pack, world.device)
                write_json(folder / "architecture.json", describe_layers(prepared.model, spec.training.image_size))
                result = train(prepared, run_folder, should_stop, checkpoint_seconds)
            except StoppedError:
                return "stopped"
            except Exception as error:
                result = failure(error, time.monotonic() - started)
            run_folder.finish(result, spec)
    except RunInUseError:
        return "in use"
    return "done" if is_done(result) else "failed"


def is_done(result: dict[str, Any] | None) -> bool:
    """Say whether a run's result is that of a finished training."""
    return result is not None and result["status"] == "done"


def failure(error: BaseException, seconds: float) -> dict[str, Any]:
    """Return the result of a run that raised."""
    return {
        "status": "failed",
        "reason": f"{type(error).__name__}: {error}",
        "traceback": "".join(traceback.format_exception(error)),
        "seconds": round(seconds, 3),
    }
