"""What a worker trains next: one protocol for the lanes of Ray, warm processes, array tasks and trials."""

import logging
import math
import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

from clr_hpc.config.run import RunSpec
from clr_hpc.places.signals import is_cancelled
from clr_hpc.planning.queue import StudyQueue
from clr_hpc.store import run_folder
from clr_hpc.store.checkpoints import newest_checkpoint
from clr_hpc.training.run import ExitStatus

log = logging.getLogger(__name__)

Wait = Literal["wait"]
Finished = Literal["finished"]
DEATHS_WITHOUT_PROGRESS = 3
"""Deaths of a run's process, without a newer checkpoint in between, after which the run counts as their cause."""
IN_USE_SECONDS = 5.0
"""Before a run is assigned again that another process trains, or trained until it died."""
MEMORY_MAY_BE_SHORT = (
    "when memory is short the kernel kills processes: look into the system log, or lower training.batch_size or "
    "the number of processes"
)


@dataclass(frozen=True)
class Assignment:
    """A run for a worker, and how far to train it."""

    spec: RunSpec
    until_epochs: float = math.inf
    """Epochs after which it pauses, with outcome ``stopped``; infinity: it is trained to its end."""


class Queue(Protocol):
    """Assigns runs to workers, one at a time. One process asks it, which knows what all workers are at."""

    def next(self, worker: int, busy: Collection[RunSpec], /) -> Assignment | Wait | Finished:
        """Return what a free worker trains next.

        A run that was assigned, has not ended and is not in ``busy`` was lost with its worker and is assigned
        again.

        Args:
            worker: number of the worker. Only a plan distinguishes them.
            busy: runs that are being trained, by whichever process.

        Returns:
            ``wait`` where nothing is ready now, ``finished`` where there is nothing to wait for but ``busy``.
        """
        ...

    def ended(self, spec: RunSpec, outcome: ExitStatus, /) -> None:
        """Note that nothing more is to come of an assignment: see ``Assignments``.

        It is ``stopped`` where the run has paused as it was to, or was cancelled, and ``in use`` where it is left
        to another process.
        """
        ...

    def lost(self, _worker: int, /) -> None:
        """Note that a worker died, or could not be started, so that others need not leave it its runs."""
        return


@dataclass
class _Deaths:
    count: int = 0
    samples: int = -1
    """Of the newest checkpoint when the last one was counted."""


class Assignments:
    """A queue's runs, each assigned again until something came of it: for whoever has workers.

    - A run that stops has not ended, unless it was to pause or is cancelled: its worker was told to stop, and
      another one resumes it.
    - A run that another process trains counts as busy, and is tried again from time to time.
    - A run whose worker dies is tried again. One under which workers die again and again fails.
    """

    def __init__(
        self,
        queue: Queue,
        runs_folder: Path,
        cancelled_folder: Path | None = None,
        patience_seconds: float = math.inf,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Take a queue.

        Args:
            queue: of runs.
            runs_folder: where each run has its folder.
            cancelled_folder: a file with a run's name in it means that this run is not to be trained.
            patience_seconds: after which a run that another process trains is left to it.
            clock: in seconds.
        """
        self._queue, self._runs_folder, self._cancelled_folder = queue, runs_folder, cancelled_folder
        self._patience_seconds, self._clock = patience_seconds, clock
        self._until: dict[str, float] = {}
        """The epochs that each assigned run was to be trained for."""
        self._in_use_since: dict[str, float] = {}
        self._held: dict[RunSpec, float] = {}
        """Runs that other processes train, and when to try them again."""
        self._deaths: dict[RunSpec, _Deaths] = {}

    def next(self, worker: int, busy: Collection[RunSpec]) -> Assignment | Wait | Finished:
        """Return what a free worker trains next; see ``Queue.next``."""
        self._held = {spec: until for spec, until in self._held.items() if until > self._clock()}
        while isinstance(answer := self._queue.next(worker, [*busy, *self._held]), Assignment):
            if not is_cancelled(self._cancelled_folder, answer.spec.name):
                self._until[answer.spec.name] = answer.until_epochs
                break
            self._queue.ended(answer.spec, "stopped")
        return answer

    def ended(self, spec: RunSpec, outcome: ExitStatus) -> bool:
        """Take a worker's outcome; return whether there is something to tell people of it.

        That is an end, or for the first time that another process trains the run.
        """
        name = spec.name
        is_told = True
        if outcome == "in use":
            is_told = name not in self._in_use_since
            since = self._in_use_since.setdefault(name, self._clock())
            if self._clock() - since < self._patience_seconds:
                self._held[spec] = self._clock() + IN_USE_SECONDS
                return is_told
        elif outcome == "stopped":
            is_pause = self._until.get(name, math.inf) < math.inf
            if not is_pause and not is_cancelled(self._cancelled_folder, name):
                return False
        self._in_use_since.pop(name, None)
        self._deaths.pop(spec, None)
        self._queue.ended(spec, outcome)
        return is_told

    def died(self, spec: RunSpec, how: str) -> ExitStatus | None:
        """Note that a run's process died; return the run's outcome where this was once too often.

        Args:
            spec: of the run.
            how: what is known of the death: ``process 17 was killed by SIGKILL``.
        """
        samples = newest_checkpoint(self._runs_folder / spec.name)
        deaths = self._deaths.setdefault(spec, _Deaths())
        deaths.count = deaths.count + 1 if samples <= deaths.samples else 1
        deaths.samples = samples
        if deaths.count < DEATHS_WITHOUT_PROGRESS:
            log.warning("%s while it trained %s, which is tried again; %s", how, spec.name, MEMORY_MAY_BE_SHORT)
            return None
        times = f"the process that trained it died {deaths.count} times without getting further than "
        times += f"{max(samples, 0)} samples; the last time {how}; {MEMORY_MAY_BE_SHORT}"
        outcome = leave_failure(self._runs_folder / spec.name, ChildProcessError(times))
        self.ended(spec, outcome)
        return outcome

    def lost(self, worker: int) -> None:
        """Note that a worker is gone; see ``Queue.lost``."""
        self._queue.lost(worker)

    @property
    def suspects(self) -> list[RunSpec]:
        """The runs that have one try left: their workers may have died because others were there besides."""
        last = DEATHS_WITHOUT_PROGRESS - 1
        return [spec for spec, deaths in self._deaths.items() if deaths.count >= last]


class ListedRuns(Queue):
    """Runs in their order, each after its baseline."""

    def __init__(self, runs: Sequence[RunSpec], until_epochs: float = math.inf) -> None:
        """Take runs that are not done."""
        self._left = {spec.run_id: spec for spec in runs}
        self._until_epochs = until_epochs

    def next(self, _worker: int, busy: Collection[RunSpec], /) -> Assignment | Wait | Finished:
        """Return the first run that waits for no baseline."""
        taken = {spec.run_id for spec in busy}
        for run_id, spec in self._left.items():
            if run_id not in taken and (spec.start is None or spec.start.baseline.run_id not in self._left):
                return Assignment(spec, self._until_epochs)
        return "wait" if self._left else "finished"

    def ended(self, spec: RunSpec, outcome: ExitStatus, /) -> None:
        """Remove a run; where it has no result, also those that start from it."""
        del self._left[spec.run_id]
        if has_no_result(outcome):
            for sequel in [one for one in self._left.values() if starts_from(one, spec)]:
                del self._left[sequel.run_id]


class PlannedRuns(Queue):
    """Runs in the order and the lanes of a plan."""

    def __init__(self, queue: StudyQueue, runs: Sequence[RunSpec]) -> None:
        """Take the plan's queue and the specs of its runs."""
        self._queue, self._specs = queue, {spec.name: spec for spec in runs}
        self._without_baseline: set[str] = set()

    def next(self, worker: int, busy: Collection[RunSpec], /) -> Assignment | Wait | Finished:
        """Return the lane's next run, or one of another lane that it helps."""
        names = {spec.name for spec in busy}
        for lane, name in self._queue.under_way.items():
            if name not in names:
                self._queue.lost(lane)
            elif lane == worker:
                self._queue.leave_to_others(lane)
        while (run := self._queue.take(worker)) is not None:
            if run.name not in self._without_baseline:
                return Assignment(self._specs[run.name])
            self._queue.ended(worker)
        return "finished" if self._queue.is_finished else "wait"

    def ended(self, spec: RunSpec, outcome: ExitStatus, /) -> None:
        """Remove a run; where it has no result, also those that start from it."""
        self._queue.ended(next(lane for lane, name in self._queue.under_way.items() if name == spec.name))
        if has_no_result(outcome):
            self._without_baseline |= {one.name for one in self._specs.values() if starts_from(one, spec)}

    def lost(self, worker: int, /) -> None:
        """Leave the runs that were planned for a lane to the others."""
        self._queue.lost(worker)


def has_no_result(outcome: ExitStatus) -> bool:
    """Say whether a run was left without a result, so that none can start from it."""
    return outcome in ("stopped", "in use")


def starts_from(spec: RunSpec, baseline: RunSpec) -> bool:
    """Say whether a run starts from the weights of another."""
    return spec.start is not None and spec.start.baseline.run_id == baseline.run_id


def leave_failure(folder: Path, error: Exception) -> ExitStatus:
    """Write an error as the result of a run, on behalf of a process that could not; return what came of it."""
    try:
        run_folder.leave_failure(folder, error)
    except run_folder.RunInUseError:
        return "in use"
    except OSError as of_disk:
        log.warning("%s failed, which can't be written down (%s): %s", folder.name, of_disk, error)
    return "failed"
