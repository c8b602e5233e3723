"""What every place calls: train one run in its folder and leave a result there, whatever happens."""

import gc
import itertools
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from clr_hpc.config.run import RunSpec
from clr_hpc.store.run_folder import failed, is_done, now

if TYPE_CHECKING:
    from clr_hpc.data.pack import Pack
    from clr_hpc.store.run_folder import RunFolder
    from clr_hpc.training.distributed import Cause, ProcessGroup
    from clr_hpc.training.profiling.profile import Profile

ExitStatus = Literal["done", "failed", "stopped", "in use"]
"""``stopped``: a checkpoint is saved and nothing is lost. ``in use``: another process trains it."""


@dataclass(frozen=True)
class RunSettings:
    """How all runs of a command are trained, as its options say; what a run comes to does not depend on it."""

    checkpoint_seconds: float = 60.0
    """Age at which a run's checkpoint is renewed."""
    profile: bool = False
    """Each run leaves ``profile.json`` and a trace in its folder, if one process trains it."""


def train_run(
    spec: RunSpec,
    pack: "Pack",
    folder: Path,
    group: "ProcessGroup",
    should_stop: Callable[[], bool],
    settings: RunSettings,
    place: str,
    until_epochs: float = math.inf,
) -> ExitStatus:
    """Train a run, or go on with it, or do nothing where its result is there.

    Several processes call it together, each with its own group of the same store, and get the same outcome. Only
    the first touches ``folder``. ``place`` says to people where it is trained, such as ``lane 2``. After
    ``until_epochs`` the run stops, saved; called again with more, it resumes.

    A run that raises, in whichever process, leaves ``result.json`` with status ``failed``, the reason and the
    traceback, and can be tried again. One that diverges or runs out of memory is tried again at once: see
    ``clr_hpc.training.recovery``.

    Raises:
        RankLostError: another process was lost. The run has no result; started anew it goes on from its
            checkpoint.
        KeyboardInterrupt: the keyboard said so.
    """
    from clr_hpc.store.run_folder import RunFolder
    from clr_hpc.training.distributed import RankFailedError

    run_folder, started = RunFolder(folder), time.monotonic()
    ended: ExitStatus | None = None
    is_open = False
    with run_folder:
        for attempt in itertools.count():
            profile = _begin_profile(spec, pack, run_folder, group, attempt) if settings.profile else None
            try:
                with group.joined(attempt):
                    if not is_open:
                        ended = group.broadcast_from_rank0(lambda: _open(run_folder, spec, group, place))
                        is_open = True
                    else:
                        ended = group.broadcast_from_rank0(lambda: ended)  # noqa: B023
                    return ended or _attempt(
                        spec, pack, run_folder, group, should_stop, settings, until_epochs, profile
                    )
            except RankFailedError as failure:
                if not is_open:
                    raise
                cause = failure.cause
            # the error is gone, and with it the frames that held the model
            _free_memory()
            if group.is_rank0:
                ended = _after_failure(cause, spec, pack, run_folder, group, time.monotonic() - started)
    raise AssertionError("attempts are endless")


def _begin_profile(
    spec: RunSpec, pack: "Pack", run_folder: "RunFolder", group: "ProcessGroup", attempt: int
) -> "Profile":
    started = time.perf_counter()  # what a process imports for its first run is part of that run's start
    from clr_hpc.training.profiling.profile import Profile

    return Profile(spec, pack, run_folder, group, attempt, started)


def _open(run_folder: "RunFolder", spec: RunSpec, group: "ProcessGroup", place: str) -> ExitStatus | None:
    """Open the folder, or return the outcome where there is nothing to train."""
    from clr_hpc.store.provenance import describe_environment
    from clr_hpc.store.run_folder import RunInUseError

    if is_done(run_folder.result()):
        return "done"
    try:
        run_folder.open(spec, describe_environment(group.device) | {"processes": group.size}, place)
    except RunInUseError:
        return "in use"
    # another machine may have ended it while its lease was waited for
    return "done" if is_done(run_folder.result()) else None


def _attempt(
    spec: RunSpec,
    pack: "Pack",
    run_folder: "RunFolder",
    group: "ProcessGroup",
    should_stop: Callable[[], bool],
    settings: RunSettings,
    until_epochs: float,
    profile: "Profile | None",
) -> ExitStatus:
    from clr_hpc.training.checkpoint import Checkpoints
    from clr_hpc.training.loop import StoppedError, train
    from clr_hpc.training.saver import Saver
    from clr_hpc.training.timeline import untimed

    group.assert_same_on_all_ranks("their run and its pack", (spec.run_id, pack.manifest.checksum))
    timeline = profile.timeline if profile else untimed
    try:
        with Saver(run_folder, group, settings.checkpoint_seconds, timeline) as saver:
            result = train(spec, pack, saver, should_stop, until_epochs)
    except StoppedError:
        if profile:
            profile.write_stopped()
        return "stopped"
    if group.is_rank0:
        with timeline("logging"):
            run_folder.finish(result | {"ended": now()})
            Checkpoints(run_folder.path / "checkpoints").keep_alone(result["samples"])
    if profile:
        profile.write_done(result["micro_batches"], should_stop)
    return "done"


def _after_failure(
    cause: "Cause", spec: RunSpec, pack: "Pack", run_folder: "RunFolder", group: "ProcessGroup", seconds: float
) -> ExitStatus | None:
    """Let the run go back to where it can go on, or write down that it failed."""
    from clr_hpc.store.lease import LeaseLostError
    from clr_hpc.training.data import make_sampler, task_data
    from clr_hpc.training.recovery import UnrecoverableError, recover

    if cause.kind == "lease lost":
        return "in use"
    reason = cause.reason
    if cause.kind != "error":
        try:
            batch_size = make_sampler(spec, task_data(spec.task, pack).training).batch_size
            recover(cause.kind, run_folder.path, spec, batch_size, group.size)
        except UnrecoverableError as tried:
            reason = f"{reason}; {tried}"
        else:
            return None
    try:
        run_folder.finish(failed(reason, cause.traceback, seconds))
    except LeaseLostError:
        return "in use"
    return "failed"


def _free_memory() -> None:
    import torch

    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
