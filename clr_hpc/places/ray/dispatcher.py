"""The mailbox between the lanes of a study and the command, which alone asks the queue.

Lanes request runs and report outcomes; the command reads the state and posts assignments. What a lane that dies
leaves behind is decided here. The run folders are the truth, so nothing is lost when this is.
"""

import asyncio
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from clr_hpc.config.run import RunSpec
from clr_hpc.places.queue import Assignment, Finished, Queue, Wait, leave_failure
from clr_hpc.places.signals import is_cancelled
from clr_hpc.store.checkpoints import newest_checkpoint
from clr_hpc.training.run import ExitStatus

DEATHS_WITHOUT_PROGRESS = 3
"""Deaths of a lane, without a newer checkpoint in between, after which its run counts as the cause and fails."""
LANE_SECONDS = 1.0
"""Longest time that a lane's request waits in the actor for an answer."""
COMMAND_SECONDS = 0.5
"""Longest time that the command's request waits in the actor for a change."""
TICK_SECONDS = 0.02


@dataclass(frozen=True)
class DispatcherState:
    """What the command reads."""

    ended: tuple[tuple[RunSpec, ExitStatus], ...]
    """Runs that ended since the state was last read, with their outcomes."""
    busy: dict[int, RunSpec]
    """The run that each lane trains."""
    requesting: frozenset[int]
    """Lanes that wait for an assignment."""
    lost: tuple[int, ...]
    """Lanes that were lost since the state was last read, or could not be started."""


def assign(
    queue: Queue, state: DispatcherState, cancelled_folder: Path | None = None
) -> tuple[dict[int, Assignment], bool]:
    """Return an assignment for each requesting lane for which there is one, and whether there will be no more."""
    for spec, outcome in state.ended:
        queue.ended(spec, outcome)
    for lane in state.lost:
        queue.lost(lane)
    busy = list(state.busy.values())
    assignments: dict[int, Assignment] = {}
    is_last = False
    for lane in sorted(state.requesting):
        while isinstance(answer := queue.next(lane, busy), Assignment):
            if not is_cancelled(cancelled_folder, answer.spec.name):
                assignments[lane] = answer
                busy.append(answer.spec)
                break
            queue.ended(answer.spec, "stopped")
        is_last = answer == "finished" and not busy
    return assignments, is_last


@dataclass
class _Deaths:
    count: int = 0
    samples: int = -1
    """Of the newest checkpoint when the last one was counted."""


class Dispatcher:
    """The mailbox of one study. It knows no Ray."""

    def __init__(
        self, runs_folder: Path, cancelled_folder: Path | None = None, in_use_seconds: float = 0.0
    ) -> None:
        """Start with no lane.

        Args:
            runs_folder: where each run has its folder.
            cancelled_folder: a file with a run's name in it means that this run is not to be trained.
            in_use_seconds: how long to retry a run that another process holds, which may be dead.
        """
        self._runs_folder, self._cancelled_folder = runs_folder, cancelled_folder
        self._in_use_seconds = in_use_seconds
        self._in_use_since: dict[str, float] = {}
        self._nodes_of: dict[int, tuple[str, ...]] = {}
        self._starts: dict[int, int] = {}
        self._deaths: dict[str, _Deaths] = {}
        self._busy: dict[int, Assignment] = {}
        self._requesting: set[int] = set()
        self._lost: list[int] = []
        self._taken_back: set[str] = set()
        self._gone_nodes: set[str] = set()
        self._ended: list[tuple[RunSpec, ExitStatus]] = []
        self._stopping = self._is_finished = False
        self._has_changed = True
        """Since the state was last read, in a way that the command can act on."""

    # for lanes

    def lane_started(self, lane: int, nodes: tuple[str, ...]) -> None:
        """Note that a lane is up on these nodes. If it was training a run, it died of it, and starts it again.

        A run under which lanes die again and again, without a newer checkpoint in between, fails.
        """
        self._nodes_of[lane] = nodes
        self._starts[lane] = self._starts.get(lane, 0) + 1
        if lane not in self._busy:
            return
        name = self._busy[lane].spec.name
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
            self.run_ended(lane, leave_failure(self._runs_folder / name, reason))

    def next(self, lane: int) -> Assignment | Wait | Finished:
        """Return what a lane trains next: after a restart, the run that it had."""
        answer = self._answer(lane)
        if answer == "wait":
            self._has_changed |= lane not in self._requesting
            self._requesting.add(lane)
        return answer

    def _answer(self, lane: int) -> Assignment | Wait | Finished:
        if self._stopping:
            self._busy.pop(lane, None)  # assigned just now, or before it died: it will not train it
        if self._stopping or self._is_finished:
            return "finished"
        return self._busy.get(lane, "wait")

    def run_ended(self, lane: int, outcome: ExitStatus) -> None:
        """Note the outcome of a lane's run.

        A run that was taken back from a lost node can still be held by a process that has not noticed yet. Then it
        is in use for a while, and is assigned again.
        """
        assignment = self._busy.pop(lane)
        self._has_changed = True
        name = assignment.spec.name
        is_pause = assignment.until_epochs < math.inf and not self._stopping
        has_ended = is_pause or is_cancelled(self._cancelled_folder, name)
        if (outcome != "stopped" or has_ended) and (outcome != "in use" or not self._may_come_free(name)):
            self._ended.append((assignment.spec, outcome))

    def must_stop(self, node: str) -> bool:
        """Return whether a worker must stop: all must, or its node counts as lost and its run is another's."""
        return self._stopping or node in self._gone_nodes

    def _may_come_free(self, name: str) -> bool:
        since = self._in_use_since.setdefault(name, time.monotonic())
        return name in self._taken_back or time.monotonic() - since < self._in_use_seconds

    # for the command

    def starts(self, lane: int) -> int:
        """Return how often a lane has started."""
        return self._starts.get(lane, 0)

    def state(self, alive_nodes: frozenset[str] | None = None) -> DispatcherState:
        """Return the state, after taking back the runs of lanes on nodes that are lost."""
        if alive_nodes is not None:
            for lane, nodes in list(self._nodes_of.items()):
                if not alive_nodes.issuperset(nodes):
                    self._gone_nodes.update(set(nodes) - alive_nodes)
                    self.lane_lost(lane)
        ended, self._ended = tuple(self._ended), []
        lost, self._lost = tuple(self._lost), []
        self._has_changed = False
        busy = {lane: assignment.spec for lane, assignment in self._busy.items()}
        requesting = frozenset() if self._stopping else frozenset(self._requesting)
        return DispatcherState(ended, busy, requesting, lost)

    def assign(self, assignments: Mapping[int, Assignment], is_last: bool) -> None:
        """Take the assignments of requesting lanes, and whether there will be no more.

        A lane that was lost since it requested one gets none, so that the queue assigns the run again.
        """
        for lane in self._requesting & assignments.keys():
            self._busy[lane] = assignments[lane]
        self._requesting -= assignments.keys()
        self._is_finished |= is_last

    def lane_lost(self, lane: int) -> None:
        """Take back the run of a lane that is gone or could not be started."""
        self._nodes_of.pop(lane, None)
        self._requesting.discard(lane)
        self._lost.append(lane)
        if lane in self._busy:
            self._taken_back.add(self._busy.pop(lane).spec.name)

    def stop(self) -> None:
        """Have every lane save its run and end."""
        self._stopping = True


class DispatcherActor(Dispatcher):
    """The dispatcher as an actor, in whose event loop requests wait, so that an answer takes milliseconds."""

    async def wait_for_next(self, lane: int) -> Assignment | Wait | Finished:
        """Return what a lane trains next, or ``wait`` after a second without an assignment."""
        if (answer := self.next(lane)) == "wait":
            # no new request meanwhile: who waits may be dead, and the lane lost
            await _until(lambda: lane not in self._requesting or self._answer(lane) != "wait", LANE_SECONDS)
            answer = self._answer(lane)
        return answer

    async def wait_for_state(self, alive_nodes: frozenset[str]) -> DispatcherState:
        """Return the state when it has changed, or after half a second."""
        await _until(lambda: self._has_changed, COMMAND_SECONDS)
        return self.state(alive_nodes)


async def _until(has_come: Callable[[], bool], seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while not has_come() and time.monotonic() < deadline:
        await asyncio.sleep(TICK_SECONDS)
