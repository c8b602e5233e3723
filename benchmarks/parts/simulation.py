"""A study on lanes of uneven speed that fail and come back, without training anything. Pure and seeded.

The queue is the one that real lanes ask; time and failures are simulated. One event at a time: a run ends, a lane
fails, a lane comes back.
"""

import random
from collections import defaultdict
from dataclasses import dataclass
from heapq import heappop, heappush
from math import exp
from typing import Literal

from clr_hpc.planning.plan import Plan
from clr_hpc.planning.throughput import Forecast

SECONDS_A_DAY = 86_400.0
Happening = Literal["run ends", "lane fails", "lane is back"]


@dataclass(frozen=True)
class Conditions:
    """What goes otherwise than planned."""

    speed_spread: float = 0.0
    """Standard deviation of the logarithm of a lane's speed against the planned one; 0.1 is about ± 10 %."""
    failures_per_lane_day: float = 0.0
    """Mean; they come at random, whatever the lane does."""
    restart_seconds: float = 60.0
    """From a lane's failure to its next run."""
    checkpoint_seconds: float = 60.0
    """Age at which a checkpoint is renewed: a failure loses this much work at most."""


@dataclass(frozen=True, slots=True)
class SimulatedRun:
    """A piece of a run: from its start in a lane to its end there."""

    name: str
    lane: int
    start: float
    end: float
    is_whole: bool
    """False: the lane failed, and the run went on elsewhere or later."""


@dataclass(frozen=True)
class Simulation:
    """What came of a plan; seconds count from the start of the lanes' processes."""

    pieces: tuple[SimulatedRun, ...]
    makespan_seconds: float
    lower_bound_seconds: float
    """The plan's lower bound, with the lanes' real speeds and without failures."""
    failures: int
    lost_seconds: float
    """Work that was done again, since it was after the last checkpoint."""


def simulate(plan: Plan, forecast: Forecast, conditions: Conditions, seed: int) -> Simulation:
    """Carry out a plan.

    Args:
        plan: of the study.
        forecast: which the plan was made from: how long each run takes in each shape.
        conditions: that the lanes work under.
        seed: of speeds and failures; each lane has its own random numbers.
    """
    return _Simulator(plan, forecast, conditions, seed).run()


class _Simulator:
    def __init__(self, plan: Plan, forecast: Forecast, conditions: Conditions, seed: int) -> None:
        self._plan, self._forecast, self._conditions = plan, forecast, conditions
        self._queue = plan.queue()
        lanes = range(len(plan.lanes))
        self._random = [random.Random(f"{seed} {lane}") for lane in lanes]
        self._speed = [exp(self._random[lane].gauss(0, conditions.speed_spread)) for lane in lanes]
        self._planned_lane = {run.name: lane for lane in lanes for run in plan.lanes[lane].runs}
        self._events: list[tuple[float, int, Happening]] = []
        self._ends_at: dict[int, float] = {}
        """When the run of each busy lane ends; an event that says otherwise is out of date."""
        self._started: dict[int, float] = {}
        self._done: dict[str, float] = defaultdict(float)
        """Share of each run that is in a checkpoint."""
        self._idle: dict[int, dict[int, None]] = defaultdict(dict)
        """Lanes that wait, in the order in which they began to, by shape."""
        self._column = [forecast.shapes.index(lane.shape) for lane in plan.lanes]
        self._pieces: list[SimulatedRun] = []
        self._failures, self._lost = 0, 0.0

    def run(self) -> Simulation:
        for lane in range(len(self._plan.lanes)):
            self._idle[self._column[lane]][lane] = None
            self._draw_failure(lane, self._plan.lane_start_seconds)
        self._wake(self._plan.lane_start_seconds, list(range(len(self._plan.lanes))))
        while not self._queue.is_finished:
            now, lane, happening = heappop(self._events)
            if happening == "run ends":
                if self._ends_at.get(lane) == now:
                    self._end(lane, now)
            elif happening == "lane fails":
                self._fail(lane, now)
            else:
                self._idle[self._column[lane]][lane] = None
                self._draw_failure(lane, now)
                self._wake(now, [lane])
        return Simulation(
            tuple(self._pieces),
            max((piece.end for piece in self._pieces), default=0.0),
            self._lower_bound(),
            self._failures,
            self._lost,
        )

    def _seconds(self, lane: int, name: str) -> float:
        return self._forecast.seconds_in(name, self._plan.lanes[lane].shape) / self._speed[lane]

    def _wake(self, now: float, first: list[int]) -> None:
        """Let idle lanes ask: those that the news is for, then those of each shape until one gets nothing."""
        for lane in first:
            if lane in self._idle[self._column[lane]]:
                self._ask(lane, now)
        for idle in self._idle.values():
            while idle and self._ask(next(iter(idle)), now):
                pass

    def _ask(self, lane: int, now: float) -> bool:
        run = self._queue.take(lane)
        if run is None:
            return False
        del self._idle[self._column[lane]][lane]
        end = now + (1 - self._done[run.name]) * self._seconds(lane, run.name)
        self._started[lane], self._ends_at[lane] = now, end
        heappush(self._events, (end, lane, "run ends"))
        return True

    def _end(self, lane: int, now: float) -> None:
        self._note_piece(lane, now, is_whole=True)
        released = self._queue.ended(lane)
        self._idle[self._column[lane]][lane] = None
        self._wake(now, [lane, *(self._planned_lane[name] for name in released)])

    def _fail(self, lane: int, now: float) -> None:
        self._failures += 1
        heappush(self._events, (now + self._conditions.restart_seconds, lane, "lane is back"))
        self._idle[self._column[lane]].pop(lane, None)
        if lane in self._ends_at:
            name = self._queue.under_way[lane]
            worked = now - self._started[lane]
            kept = worked // self._conditions.checkpoint_seconds * self._conditions.checkpoint_seconds
            self._done[name] += kept / self._seconds(lane, name)
            self._lost += worked - kept
            self._note_piece(lane, now, is_whole=False)
        self._queue.lost(lane)
        self._wake(now, [])

    def _note_piece(self, lane: int, now: float, is_whole: bool) -> None:
        name = self._queue.under_way[lane]
        del self._ends_at[lane]
        self._pieces.append(SimulatedRun(name, lane, self._started.pop(lane), now, is_whole))

    def _draw_failure(self, lane: int, now: float) -> None:
        if self._conditions.failures_per_lane_day:
            after = self._random[lane].expovariate(self._conditions.failures_per_lane_day / SECONDS_A_DAY)
            heappush(self._events, (now + after, lane, "lane fails"))

    def _lower_bound(self) -> float:
        """Return the plan's bound for these speeds: work over the capacity that the lanes' speeds come to.

        Capacity that the plan leaves unused counts with the fastest lane's speed, which it might have had.
        """
        if not self._plan.lanes:
            return 0.0
        fastest = max(self._speed)
        resources = self._plan.resources
        taken = [resources.taken(lane.shape) for lane in self._plan.lanes]
        unused = resources.capacity - sum(taken)
        capacity = sum(s * t for s, t in zip(self._speed, taken, strict=True)) + max(0.0, unused) * fastest
        work = self._plan.bound.work_seconds * resources.capacity / capacity
        return self._plan.lane_start_seconds + max(work, self._plan.bound.chain_seconds / fastest)
