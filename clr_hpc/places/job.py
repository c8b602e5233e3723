"""In which order a machine's warm processes take runs."""

import math
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from clr_hpc.config.run import RunSpec
from clr_hpc.training.run import ExitStatus, RunSettings


@dataclass(frozen=True)
class WorkerTask:
    """What every process that trains is given, whichever place started it."""

    pack_folder: Path
    """Already verified."""
    runs_folder: Path
    """Each run has its folder in it, named ``RunSpec.name``."""
    settings: RunSettings
    place: str = ""
    """Where a run is trained, for people; ``{number}`` is that of the process or lane. Empty: just these."""
    cancelled_folder: Path | None = None
    """A file with a run's name in it stops that run."""


@dataclass(frozen=True)
class GivenRun:
    """A run for a lane, and how far it is to train it."""

    spec: RunSpec
    until_epochs: float = math.inf
    """After so many epochs it pauses, with outcome ``stopped``; infinity: it doesn't."""


class LaneQueue(Protocol):
    """Gives each lane a run at a time."""

    def take(self, lane: int) -> GivenRun | None:
        """Return the run that a lane has or gets now; None where there is none at this moment."""

    def ended(self, lane: int) -> None:
        """Count a lane's run as ended, or as paused."""

    def lost(self, lane: int) -> str | None:
        """Take the run of a lane that is gone, or that stopped, for others; return its name."""

    @property
    def under_way(self) -> Mapping[int, GivenRun]:
        """The run that each lane has."""

    @property
    def asking(self) -> frozenset[int]:
        """The lanes for which the command is asked to hand over a run."""

    @property
    def is_finished(self) -> bool:
        """Whether every run has ended, and none will come."""


class RunQueue(Protocol):
    """Where warm processes get their runs from."""

    def next_run(self, under_way: Collection[RunSpec]) -> RunSpec | None:
        """Return a run to start beside those under way; None where there is none at this moment."""

    def ended(self, spec: RunSpec, outcome: ExitStatus) -> None:
        """Hear what became of a run; of those that the end of all stopped nothing is heard."""

    def until_epochs(self, spec: RunSpec) -> float:
        """Return after how many epochs a run is to pause, with outcome ``stopped``; infinity: it doesn't."""

    @property
    def is_finished(self) -> bool:
        """Whether there is nothing to wait for, besides what is under way."""

    @property
    def wants_fresh_processes(self) -> bool:
        """Whether the processes are to be ended and started anew before they take another run."""

    def processes_started(self) -> None:
        """Hear that the processes are fresh."""


class ListedRuns:
    """Runs that nobody else trains, in their order, each after its baseline."""

    wants_fresh_processes = False

    def __init__(self, runs: Sequence[RunSpec]) -> None:
        """Take runs that are not done."""
        self._left = {spec.run_id: spec for spec in runs}

    def next_run(self, under_way: Collection[RunSpec]) -> RunSpec | None:
        """Return the first run that waits for no baseline."""
        taken = {spec.run_id for spec in under_way}
        for run_id, spec in self._left.items():
            if run_id not in taken and (spec.start is None or spec.start.baseline.run_id not in self._left):
                return spec
        return None

    def until_epochs(self, spec: RunSpec) -> float:  # noqa: ARG002
        """Let every run go on to its end."""
        return math.inf

    def ended(self, spec: RunSpec, outcome: ExitStatus) -> None:  # noqa: ARG002
        """Strike a run off, whatever became of it."""
        del self._left[spec.run_id]

    def processes_started(self) -> None:
        """Do nothing."""

    @property
    def is_finished(self) -> bool:
        """Whether all have ended."""
        return not self._left


POLL_SECONDS = 5.0


def is_cancelled(cancelled_folder: Path | None, name: str) -> bool:
    """Say whether a file in the folder has a run's name."""
    return cancelled_folder is not None and (cancelled_folder / name).exists()


class StopOrCancelled:
    """Answers from memory, but for a look at the disk now and then, so that it can be asked at each step."""

    def __init__(self, stop: Callable[[], bool], cancelled_folder: Path | None, name: str) -> None:
        """Watch a run; ``stop`` says whether all are to stop."""
        self._stop, self._folder, self._name = stop, cancelled_folder, name
        self._looked = float("-inf")
        self._is_cancelled = False

    def __call__(self) -> bool:
        """Say whether to save and leave the run."""
        if self._folder is not None and time.monotonic() - self._looked >= POLL_SECONDS:
            self._looked = time.monotonic()
            self._is_cancelled = is_cancelled(self._folder, self._name)
        return self._is_cancelled or self._stop()
