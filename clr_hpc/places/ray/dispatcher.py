"""What the lanes of a study share: who trains which run, what became of it, and what to do when a lane dies.

It knows no cluster. Ray Train's lanes ask it through an actor; the run folders are the truth, and this is lost
without harm when the command that started it is killed.
"""

import math
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from clr_hpc.config.run import RunSpec
from clr_hpc.places.job import GivenRun, LaneQueue, is_cancelled
from clr_hpc.places.ray.lane_queue import HandedRuns
from clr_hpc.store.atomic import write_json
from clr_hpc.store.run_folder import failure, newest_checkpoint
from clr_hpc.training.run import ExitStatus

DEATHS_WITHOUT_PROGRESS = 3
"""After so many, a run counts as the cause and fails."""


@dataclass(frozen=True)
class News:
    """What happened since it was last asked for."""

    ended: tuple[tuple[RunSpec, ExitStatus], ...]
    under_way: dict[int, str]
    """The name of the run that each lane trains."""
    is_finished: bool
    asking: frozenset[int] = frozenset()
    """The lanes that want to be handed a run."""


@dataclass
class _Deaths:
    count: int = 0
    samples: int = -1
    """Of the newest checkpoint when the last one was counted."""


class Dispatcher:
    """Answers the lanes of one study, one call after the other."""

    def __init__(
        self,
        queue: LaneQueue,
        runs_folder: Path,
        cancelled_folder: Path | None = None,
        in_use_seconds: float = 0.0,
    ) -> None:
        """Hand out the runs of ``queue``.

        Args:
            queue: the runs that are not done.
            runs_folder: where each run has its folder.
            cancelled_folder: where a file with a run's name says that nobody is to train it.
            in_use_seconds: how long to try a run again that another process holds, which may be dead.
        """
        self._queue = queue
        self._cancelled_folder, self._in_use_seconds = cancelled_folder, in_use_seconds
        self._in_use_since: dict[str, float] = {}
        self._runs_folder = runs_folder
        self._nodes_of: dict[int, tuple[str, ...]] = {}
        self._starts: dict[int, int] = {}
        self._deaths: dict[str, _Deaths] = {}
        self._handed_back: set[str] = set()
        self._gone_nodes: set[str] = set()
        self._ended: list[tuple[RunSpec, ExitStatus]] = []
        self._stopping = False

    def lane_started(self, lane: int, nodes: tuple[str, ...]) -> None:
        """Hear that a lane is up on these nodes; had it a run under way, it died while training that.

        A run under which lanes die again and again, without a newer checkpoint in between, fails.
        """
        self._nodes_of[lane] = nodes
        self._starts[lane] = self._starts.get(lane, 0) + 1
        run = self._queue.under_way.get(lane)
        if run is None:
            return
        name = run.spec.name
        deaths = self._deaths.setdefault(name, _Deaths())
        samples = newest_checkpoint(self._runs_folder / name)
        deaths.count = deaths.count + 1 if samples <= deaths.samples else 1
        deaths.samples = samples
        if deaths.count >= DEATHS_WITHOUT_PROGRESS:
            reason = ChildProcessError(
                f"a process that trained it died {deaths.count} times without getting further than "
                f"{max(samples, 0)} samples; when memory is short the kernel kills processes: look into the "
                "system log, or lower training.batch_size"
            )
            folder = self._runs_folder / name
            folder.mkdir(parents=True, exist_ok=True)
            write_json(folder / "result.json", failure(reason, 0.0))
            self.run_ended(lane, "failed")

    def starts(self, lane: int) -> int:
        """Return how often a lane has come up."""
        return self._starts.get(lane, 0)

    def next_run(self, lane: int) -> GivenRun | Literal["wait", "finished"]:
        """Return what a lane is to train next; ``wait``: ask again, since others must end first."""
        if self._stopping:
            self._queue.lost(lane)  # what it was handed just now, or had when it died, it will not train
            return "finished"
        if self._queue.is_finished:
            return "finished"
        while (run := self._queue.take(lane)) is not None:
            if not is_cancelled(self._cancelled_folder, run.spec.name):
                return run
            self._queue.ended(lane)
        return "finished" if self._queue.is_finished else "wait"

    def run_ended(self, lane: int, outcome: ExitStatus) -> None:
        """Hear what became of the run that a lane has.

        A run that was handed back because a node is gone can still be held by a process that has not noticed yet:
        then it is in use for a while, and is handed out again.
        """
        run = self._queue.under_way[lane]
        name = run.spec.name
        is_pause = run.until_epochs < math.inf and not self._stopping
        has_ended = is_pause or is_cancelled(self._cancelled_folder, name)
        if (outcome == "stopped" and not has_ended) or (outcome == "in use" and self._may_come_free(name)):
            self._queue.lost(lane)
            return
        self._queue.ended(lane)
        self._ended.append((run.spec, outcome))

    def hand_out(self, runs: Mapping[int, GivenRun], is_last: bool) -> None:
        """Take runs for the lanes of ``News.asking``, or hear that there are no more; for ``HandedRuns`` alone."""
        assert isinstance(self._queue, HandedRuns), "a study's runs are all there from the start"
        self._queue.hand(runs)
        if is_last:
            self._queue.finish()

    def _may_come_free(self, name: str) -> bool:
        since = self._in_use_since.setdefault(name, time.monotonic())
        return name in self._handed_back or time.monotonic() - since < self._in_use_seconds

    def news(self, alive_nodes: frozenset[str] | None = None) -> News:
        """Return what happened since the last call; runs of lanes on nodes that are gone are handed back first."""
        if alive_nodes is not None:
            for lane, nodes in list(self._nodes_of.items()):
                if not alive_nodes.issuperset(nodes):
                    self._gone_nodes.update(set(nodes) - alive_nodes)
                    self.lane_gone(lane)
        ended, self._ended = tuple(self._ended), []
        under_way = {lane: run.spec.name for lane, run in self._queue.under_way.items()}
        return News(ended, under_way, self._queue.is_finished, self._queue.asking)

    def lane_gone(self, lane: int) -> None:
        """Hand what a lane that is gone, or never came, was to train to the others."""
        self._nodes_of.pop(lane, None)
        name = self._queue.lost(lane)
        if name is not None:
            self._handed_back.add(name)

    def stop(self) -> None:
        """Have every lane save its run and end."""
        self._stopping = True

    def must_stop(self, node: str) -> bool:
        """Say to a worker whether ``stop`` was called, or its node counts as gone and its run is another's."""
        return self._stopping or node in self._gone_nodes
