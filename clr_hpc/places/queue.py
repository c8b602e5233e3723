"""What a worker trains next: one protocol for the lanes of Ray, warm processes, array tasks and trials."""

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

from clr_hpc.config.run import RunSpec
from clr_hpc.planning.queue import StudyQueue
from clr_hpc.store import run_folder
from clr_hpc.training.run import ExitStatus

Wait = Literal["wait"]
Finished = Literal["finished"]


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
            busy: runs that are being trained.

        Returns:
            ``wait`` where nothing is ready now, ``finished`` where there is nothing to wait for but ``busy``.
        """
        ...

    def ended(self, spec: RunSpec, outcome: ExitStatus, /) -> None:
        """Note the outcome of an assignment; not called for those that Ctrl-C or a signal interrupted."""
        ...

    def lost(self, _worker: int, /) -> None:
        """Note that a worker died, or could not be started, so that others need not leave it its runs."""
        return


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

    def ended(self, spec: RunSpec, _outcome: ExitStatus, /) -> None:
        """Remove a run, whatever its outcome."""
        del self._left[spec.run_id]


class PlannedRuns(Queue):
    """Runs in the order and the lanes of a plan."""

    def __init__(self, queue: StudyQueue, runs: Sequence[RunSpec]) -> None:
        """Take the plan's queue and the specs of its runs."""
        self._queue, self._specs = queue, {spec.name: spec for spec in runs}

    def next(self, worker: int, busy: Collection[RunSpec], /) -> Assignment | Wait | Finished:
        """Return the lane's next run, or one of another lane that it helps."""
        names = {spec.name for spec in busy}
        for lane, name in self._queue.under_way.items():
            if name not in names:
                self._queue.lost(lane)
        run = self._queue.take(worker)
        if run is None:
            return "finished" if self._queue.is_finished else "wait"
        return Assignment(self._specs[run.name])

    def ended(self, spec: RunSpec, _outcome: ExitStatus, /) -> None:
        """Remove a run, whatever its outcome."""
        self._queue.ended(next(lane for lane, name in self._queue.under_way.items() if name == spec.name))

    def lost(self, worker: int, /) -> None:
        """Leave the runs that were planned for a lane to the others."""
        self._queue.lost(worker)


def leave_failure(folder: Path, error: Exception) -> ExitStatus:
    """Write an error as the result of a run, on behalf of a process that could not."""
    run_folder.leave_failure(folder, error)
    return "failed"
