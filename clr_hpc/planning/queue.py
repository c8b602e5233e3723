"""Which run a lane trains next. Pure: lanes of a cluster and of the simulator use the same queue."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from heapq import heapify, heappop, heappush

NOTHING = 1e-6
"""Seconds; sums of planned times miss zero by rounding."""
PATIENCE = 100
"""Times that a lane is sent to wait while nothing is running: by then, those it waits for will not come."""


@dataclass(frozen=True)
class QueuedRun:
    """A run's place in the order."""

    name: str
    seconds: float
    """What it is predicted to take in the lane it is planned for."""
    after: str | None = None
    """The run whose end it waits for: its baseline."""


class StudyQueue:
    """Hands out runs to lanes in their planned order; an idle lane takes from the longest remainder.

    Help must help: a lane that waits for a baseline of its own plan leaves other lanes their runs, and a slow lane
    leaves a faster one what others wait for, and what it would end later than the faster lane ends all of its own.
    A lane that is gone, or can't be had, is reported as ``lost``, so that any lane may take its runs.

    A run is handed out once, and again only when its lane was lost. Whatever becomes of a run, those that wait
    for it may start when it has ended: each says for itself that its baseline failed.
    """

    def __init__(self, planned: Sequence[Sequence[QueuedRun]], speeds: Sequence[float] | None = None) -> None:
        """Take the runs of each lane, in the order in which it is to train them.

        Args:
            planned: (lanes,) the runs of each.
            speeds: (lanes,) how fast each is, in any unit; None: all alike.

        Raises:
            ValueError: a run is planned twice, or there isn't a speed for each lane.
        """
        self._speeds = [1.0] * len(planned) if speeds is None else list(speeds)
        if len(self._speeds) != len(planned):
            raise ValueError(f"{len(self._speeds)} speeds for {len(planned)} lanes; give one for each")
        self._lane_of: dict[str, int] = {}
        self._position: dict[str, int] = {}
        self._run: dict[str, QueuedRun] = {}
        self._waiting: dict[str, list[str]] = {}
        self._ready: list[list[tuple[int, str]]] = [[] for _ in planned]
        self._remaining = [0.0 for _ in planned]
        """Seconds of each lane's runs that are not taken yet."""
        self._under_way: dict[int, str] = {}
        """By lane; below 0 for runs that others than these lanes train."""
        self._present_by_speed = Counter(self._speeds)
        self._in_vain: Counter[int] = Counter()
        """How often each lane was sent to wait while nothing was running."""
        self._lost: set[int] = set()
        """Lanes that are gone and haven't asked since."""
        for lane, runs in enumerate(planned):
            for position, run in enumerate(runs):
                if run.name in self._run:
                    raise ValueError(f"{run.name} is planned twice")
                self._run[run.name], self._lane_of[run.name] = run, lane
                self._position[run.name] = position
                self._remaining[lane] += run.seconds
        for run in self._run.values():
            if run.after in self._run:
                self._waiting.setdefault(run.after, []).append(run.name)
            else:
                self._ready[self._lane_of[run.name]].append((self._position[run.name], run.name))
        for ready in self._ready:
            heapify(ready)
        self._longest: list[tuple[float, int]] = []
        for lane in range(len(planned)):
            self._offer(lane)
        self._left = len(self._run)

    @property
    def is_finished(self) -> bool:
        """Whether every run has ended."""
        return self._left == 0

    @property
    def under_way(self) -> dict[int, str]:
        """The run that each lane trains."""
        return dict(self._under_way)

    def take(self, lane: int) -> QueuedRun | None:
        """Return the run that a lane trains next, or the one it has already; None where all wait or are taken.

        ``lane`` may be one that the plan didn't know: it takes from the others.
        """
        self._note_presence(lane)
        if lane in self._under_way:
            return self._run[self._under_way[lane]]
        own = lane < len(self._ready) and bool(self._ready[lane])
        source = lane if own else self._longest_remainder()
        if source is None:
            return None
        if not own and self._leaves_to_others(lane, source):
            self._in_vain[lane] += not self._under_way
            return None
        _, name = heappop(self._ready[source])
        run = self._run[name]
        self._remaining[source] -= run.seconds
        self._offer(source)
        self._under_way[lane] = name
        return run

    def ended(self, lane: int) -> Iterable[str]:
        """Count a lane's run as ended, and return the names of those that waited for it."""
        name = self._under_way.pop(lane)
        self._left -= 1
        released = self._waiting.pop(name, [])
        for waiting in released:
            self._make_ready(waiting)
        return released

    def leave_to_others(self, lane: int) -> None:
        """Free a lane of its run, which is under way outside of all lanes from now on.

        It ends like others, or is given back by ``lost``, under the lane that ``under_way`` has for it: a number
        below 0.
        """
        self._under_way[min([0, *self._under_way]) - 1] = self._under_way.pop(lane)

    def lost(self, lane: int) -> str | None:
        """Give the run of a lane that is gone, or never came, back to be taken by another; return its name."""
        if 0 <= lane < len(self._speeds) and lane not in self._lost:
            self._lost.add(lane)
            self._present_by_speed[self._speeds[lane]] -= 1
        name = self._under_way.pop(lane, None)
        if name is not None:
            self._remaining[self._lane_of[name]] += self._run[name].seconds
            self._make_ready(name)
        return name

    def _note_presence(self, lane: int) -> None:
        if lane in self._lost:
            self._lost.remove(lane)
            self._present_by_speed[self._speeds[lane]] += 1

    def _leaves_to_others(self, lane: int, source: int) -> bool:
        """Say whether ``lane`` is not to help ``source``, though it is idle.

        Where nothing is under way any more, it helps whatever comes of it: those it would wait for may never come.
        """
        no_other_comes = not self._under_way and (self._left < len(self._run) or self._in_vain[lane] >= PATIENCE)
        if lane >= len(self._speeds) or no_other_comes:
            return False
        if self._remaining[lane] > NOTHING and source not in self._lost:
            return True  # what it waits for is soon there, and the plan knew of this gap
        own, planned = self._speeds[lane], self._speeds[source]
        if own >= planned or not any(lanes for speed, lanes in self._present_by_speed.items() if speed >= planned):
            return False
        run = self._run[self._ready[source][0][1]]
        return run.name in self._waiting or run.seconds * planned / own > self._remaining[source]

    def _make_ready(self, name: str) -> None:
        lane = self._lane_of[name]
        heappush(self._ready[lane], (self._position[name], name))
        self._offer(lane)

    def _offer(self, lane: int) -> None:
        if self._ready[lane]:
            heappush(self._longest, (-self._remaining[lane], lane))

    def _longest_remainder(self) -> int | None:
        """Return the lane with the most seconds left among those that have something ready."""
        while self._longest:
            seconds, lane = self._longest[0]
            if self._ready[lane] and -seconds == self._remaining[lane]:
                return lane
            heappop(self._longest)
        return None
