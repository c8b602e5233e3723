"""The mailbox between the lanes of a study and the command, which alone asks the queue.

Lanes request runs and report outcomes; the command reads the state and posts assignments. The run folders are the
truth, so nothing is lost when this is.
"""

import asyncio
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

from clr_hpc.config.run import RunSpec
from clr_hpc.places.queue import Assignment, Assignments, Finished, Wait
from clr_hpc.training.run import ExitStatus

LANE_SECONDS = 1.0
"""Longest time that a lane's request waits in the actor for an answer."""
COMMAND_SECONDS = 0.5
"""Longest time that the command's request waits in the actor for a change."""
TICK_SECONDS = 0.02


@dataclass(frozen=True)
class DispatcherState:
    """What the command reads."""

    ended: tuple[tuple[RunSpec, ExitStatus | Literal["lane died"]], ...]
    """Runs that lanes have left since the state was last read, with their outcomes."""
    busy: dict[int, RunSpec]
    """The run that each lane trains."""
    requesting: frozenset[int]
    """Lanes that wait for an assignment."""
    lost: tuple[int, ...]
    """Lanes that were lost since the state was last read, or could not be started."""


@dataclass(frozen=True)
class Answers:
    """What the command makes of a state."""

    assignments: dict[int, Assignment]
    """For each requesting lane for which there is one."""
    is_last: bool
    """Whether there will be no more."""
    told: list[tuple[RunSpec, ExitStatus]]
    """What there is to tell people: see ``Assignments.ended``."""


def assign(runs: Assignments, state: DispatcherState) -> Answers:
    """Return what lanes are to train next."""
    told: list[tuple[RunSpec, ExitStatus]] = []
    for spec, outcome in state.ended:
        if outcome != "lane died":
            told += [(spec, outcome)] if runs.ended(spec, outcome) else []
        elif (last := runs.died(spec, "a process of its lane died")) is not None:
            told.append((spec, last))
    for lane in state.lost:
        runs.lost(lane)
    busy = list(state.busy.values())
    assignments: dict[int, Assignment] = {}
    is_last = False
    for lane in sorted(state.requesting):
        answer = runs.next(lane, busy)
        if isinstance(answer, Assignment):
            assignments[lane] = answer
            busy.append(answer.spec)
        is_last = answer == "finished" and not busy
    return Answers(assignments, is_last, told)


class Dispatcher:
    """The mailbox of one study. It knows no Ray."""

    def __init__(self) -> None:
        """Start with no lane."""
        self._nodes_of: dict[int, tuple[str, ...]] = {}
        self._starts: dict[int, int] = {}
        self._busy: dict[int, Assignment] = {}
        self._requesting: set[int] = set()
        self._lost: list[int] = []
        self._gone_nodes: set[str] = set()
        self._ended: list[tuple[RunSpec, ExitStatus | Literal["lane died"]]] = []
        self._stopping = self._is_finished = False
        self._has_changed = True
        """Since the state was last read, in a way that the command can act on."""

    # for lanes

    def lane_started(self, lane: int, nodes: tuple[str, ...]) -> None:
        """Note that a lane is up on these nodes. If it was training a run, it died of it."""
        self._nodes_of[lane] = nodes
        self._starts[lane] = self._starts.get(lane, 0) + 1
        if lane in self._busy and not self._stopping:
            self._leave(lane, "lane died")

    def next(self, lane: int) -> Assignment | Wait | Finished:
        """Return what a lane trains next."""
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
        """Note the outcome of a lane's run. After a stop, one that stopped is no news."""
        if outcome == "stopped" and self._stopping:
            self._busy.pop(lane, None)
            self._has_changed = True
        else:
            self._leave(lane, outcome)

    def _leave(self, lane: int, outcome: ExitStatus | Literal["lane died"]) -> None:
        self._has_changed = True
        if (assignment := self._busy.pop(lane, None)) is not None:
            self._ended.append((assignment.spec, outcome))

    def must_stop(self, node: str) -> bool:
        """Return whether a worker must stop: all must, or its node counts as lost and its run is another's."""
        return self._stopping or node in self._gone_nodes

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
        self._busy.pop(lane, None)

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
