"""Where a dispatcher takes the runs of its lanes from: a study, or what it is handed one by one."""

from collections.abc import Mapping

from clr_hpc.config.run import RunSpec
from clr_hpc.places.job import GivenRun
from clr_hpc.planning.queue import StudyQueue


class PlannedRuns:
    """The runs of a study in the order of its queue."""

    asking: frozenset[int] = frozenset()

    def __init__(self, queue: StudyQueue, specs: Mapping[str, RunSpec]) -> None:
        """Take the runs that are not done, and every run's spec by its name."""
        self._queue, self._specs = queue, specs

    def take(self, lane: int) -> GivenRun | None:
        """Return what the study's queue gives."""
        run = self._queue.take(lane)
        return None if run is None else GivenRun(self._specs[run.name])

    def ended(self, lane: int) -> None:
        """Count a lane's run as ended, whatever became of it."""
        self._queue.ended(lane)

    def lost(self, lane: int) -> str | None:
        """Let another lane take the run."""
        return self._queue.lost(lane)

    @property
    def under_way(self) -> dict[int, GivenRun]:
        """The run that each lane has."""
        return {lane: GivenRun(self._specs[name]) for lane, name in self._queue.under_way.items()}

    @property
    def is_finished(self) -> bool:
        """Whether every run has ended."""
        return self._queue.is_finished


class HandedRuns:
    """Runs that come one by one from a queue elsewhere, which has to be where the command is.

    It decides nothing: a lane that is free asks and is handed a run, and what becomes of that is for the other
    queue to judge.
    """

    def __init__(self) -> None:
        """Begin with nothing to give."""
        self._under_way: dict[int, GivenRun] = {}
        self._asking: set[int] = set()
        self._is_finished = False

    def take(self, lane: int) -> GivenRun | None:
        """Return the run that was handed over for a lane; where none was, ask for it."""
        if lane not in self._under_way:
            self._asking.add(lane)
        return self._under_way.get(lane)

    def hand(self, runs: Mapping[int, GivenRun]) -> None:
        """Give lanes their runs; one that is gone since it asked gets none, so that its run is still to be had."""
        for lane in self._asking & runs.keys():
            self._under_way[lane] = runs[lane]
        self._asking -= runs.keys()

    def finish(self) -> None:
        """Hear that no run will come any more."""
        self._is_finished = True

    def ended(self, lane: int) -> None:
        """Forget a lane's run."""
        del self._under_way[lane]

    def lost(self, lane: int) -> str | None:
        """Forget a lane and its run, which the other queue gives out again when it sees that no lane has it."""
        self._asking.discard(lane)
        run = self._under_way.pop(lane, None)
        return None if run is None else run.spec.name

    @property
    def under_way(self) -> dict[int, GivenRun]:
        """The run that each lane has."""
        return dict(self._under_way)

    @property
    def asking(self) -> frozenset[int]:
        """The lanes that have asked in vain."""
        return frozenset(self._asking)

    @property
    def is_finished(self) -> bool:
        """Whether the other queue has said so."""
        return self._is_finished
