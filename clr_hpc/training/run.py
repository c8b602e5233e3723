"""Entry point of every place: train one run in its folder and leave a result there, whatever happens."""

import gc
import itertools
import logging
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from clr_hpc.config.run import RunSpec
from clr_hpc.store.results import failed, now

if TYPE_CHECKING:
    from clr_hpc.data.pack import Pack
    from clr_hpc.store.run_folder import RunFolder
    from clr_hpc.training.distributed import Cause, ProcessGroup
    from clr_hpc.training.profiling.profile import Profile

log = logging.getLogger(__name__)
ExitStatus = Literal["done", "failed", "stopped", "in use"]
"""``stopped``: a checkpoint is saved and nothing is lost. ``in use``: another process trains it."""


@dataclass(frozen=True)
class RunSettings:
    """Options of a command for all its runs; results do not depend on them."""

    checkpoint_seconds: float = 60.0
    """Age at which a run's checkpoint is renewed."""
    profile: bool = False
    """Each run leaves ``profile.json`` and a trace in its folder, if one process trains it."""
    frees: bool = False
    """When a run is done, what its study doesn't ``keep`` is deleted."""


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
    """Train a run, or resume it, or do nothing where its result is there.

    Several processes call it together, each with its own group of the same store, and get the same status. Only
    rank 0 touches ``folder``. ``place`` names to people where it is trained, such as ``lane 2``. After
    ``until_epochs`` the run stops, saved; called again with more, it resumes.

    A run that raises, in whichever process, leaves ``result.json`` with status ``failed``, the reason and the
    traceback, and can be tried again; where the disk doesn't take that, it is logged. One that diverges or runs
    out of memory is tried again at once: see ``clr_hpc.training.recovery``.

    Raises:
        RankLostError: another process was lost. The run has no result; started again it resumes from its
            checkpoint.
        KeyboardInterrupt: Ctrl-C was pressed.
    """
    from clr_hpc.store.run_folder import RunFolder

    with RunFolder(folder) as run_folder:
        return _Run(spec, pack, run_folder, group, settings).train(should_stop, place, until_epochs)


@dataclass
class _Run:
    spec: RunSpec
    pack: "Pack"
    folder: "RunFolder"
    group: "ProcessGroup"
    settings: RunSettings

    def train(self, should_stop: Callable[[], bool], place: str, until_epochs: float) -> ExitStatus:
        """Try until the run is done, stopped or can't recover."""
        from clr_hpc.training.distributed import RankFailedError

        started, status, is_open = time.monotonic(), None, False
        for attempt in itertools.count():
            profile = self._begin_profile(attempt) if self.settings.profile else None
            try:
                with self.group.joined(attempt):
                    if not is_open:
                        status = self.group.broadcast_from_rank0(lambda: self._open(place))
                        is_open = True
                    else:
                        status = self.group.broadcast_from_rank0(lambda: status)  # noqa: B023
                    return status or self._attempt(should_stop, until_epochs, profile)
            except RankFailedError as failure:
                cause = failure.cause
            # the error is gone, and with it the frames that held the model
            _free_memory()
            seconds = time.monotonic() - started
            if not is_open:
                return self._fail(cause, cause.reason, seconds) if self.group.is_rank0 else "failed"
            if self.group.is_rank0:
                status = self._recover(cause, seconds)
        raise AssertionError("attempts are endless")

    def _begin_profile(self, attempt: int) -> "Profile":
        started = time.perf_counter()  # what a process imports for its first run is part of that run's start
        from clr_hpc.training.profiling.profile import Profile

        return Profile(self.spec, self.pack, self.folder, self.group, attempt, started)

    def _open(self, place: str) -> ExitStatus | None:
        """Open the folder, or return the status where there is nothing to train."""
        from clr_hpc.store.provenance import describe_environment
        from clr_hpc.store.run_folder import RunInUseError

        if self.folder.is_done:
            return "done"
        environment = describe_environment(self.group.device) | {"processes": self.group.size}
        try:
            self.folder.open(self.spec, environment, place)
        except RunInUseError:
            return "in use"
        # another machine may have ended it while its lease was waited for
        return "done" if self.folder.is_done else None

    def _attempt(
        self, should_stop: Callable[[], bool], until_epochs: float, profile: "Profile | None"
    ) -> ExitStatus:
        from clr_hpc.training.loop import StoppedError, train
        from clr_hpc.training.saver import Saver
        from clr_hpc.training.timeline import untimed
        from clr_hpc.training.upkeep.finish import finish

        identity = (self.spec.run_id, self.pack.manifest.checksum)
        self.group.assert_same_on_all_ranks("their run and its pack", identity)
        timeline = profile.timeline if profile else untimed
        try:
            with Saver(self.folder, self.group, self.settings.checkpoint_seconds, timeline) as saver:
                result = train(self.spec, self.pack, saver, should_stop, until_epochs)
        except StoppedError:
            if profile:
                profile.write_stopped()
            return "stopped"
        if self.group.is_rank0:
            with timeline("logging"):
                finish(self.folder, self.spec, result | {"ended": now()}, self.settings.frees)
        if profile:
            profile.write_done(result["micro_batches"], should_stop)
        return "done"

    def _recover(self, cause: "Cause", seconds: float) -> ExitStatus | None:
        """Take the run back to where it can resume, or write down that it failed."""
        from clr_hpc.training.data import make_sampler, task_data
        from clr_hpc.training.recovery import UnrecoverableError, recover

        if cause.kind == "lease lost":
            return "in use"
        reason = cause.reason
        if cause.kind != "error":
            try:
                sampler = make_sampler(self.spec, task_data(self.spec, self.pack).training)
                least = self.group.size * sampler.views  # samples of a micro-batch: an image per process
                recover(cause.kind, self.folder.path, self.spec, sampler.batch_size, least)
            except (UnrecoverableError, OSError) as error:
                reason = f"{reason}; {error}"
            else:
                log.info("%s: %s; resuming from the newest checkpoint", self.spec.name, reason)
                return None
        return self._fail(cause, reason, seconds)

    def _fail(self, cause: "Cause", reason: str, seconds: float) -> ExitStatus:
        """Write down that the run failed; where the disk doesn't take it, the run has failed all the same."""
        from clr_hpc.store.run_folder import RunInUseError

        log.info("%s failed: %s", self.spec.name, reason)
        try:
            self.folder.fail(failed(reason, cause.traceback, seconds))
        except RunInUseError:
            return "in use"
        except OSError as error:
            log.warning("%s failed: %s; that can't be written down: %s", self.spec.name, reason, error)
        return "failed"


def _free_memory() -> None:
    import torch

    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
