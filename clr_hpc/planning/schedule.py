"""List scheduling: whenever a lane is idle, it gets the run with the longest tail that suits it.

Graham 1966 and 1969 for the method and what it can lose. A run's tail is what must follow one after the other from
its start on: its own time and that of the longest run that waits for it.
"""

from bisect import insort
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from heapq import heappop, heappush
from itertools import count

from clr_hpc.planning.throughput import Forecast

NEARLY_THE_FASTEST = 1.1
"""A run that is late in any lane may take one in which its tail is this much longer than in the fastest."""


@dataclass
class Schedule:
    """Which lane trains what and when; shapes are columns of the forecast."""

    column_of: list[int]
    """(lanes,) the shape of each lane."""
    runs: list[list[int]]
    """(lanes,) the runs of each lane, in order."""
    start: list[float]
    """(runs,) seconds after the lanes were up."""
    end: list[float]

    @property
    def makespan(self) -> float:
        """Seconds from when the lanes are up to the last end."""
        return max(self.end, default=0.0)


def schedule(forecast: Forecast, lanes: Sequence[int], deadline: float) -> Schedule:
    """Give every run a lane and a time.

    Args:
        forecast: of the runs.
        lanes: (shapes,) how many lanes have each shape; not all zero.
        deadline: an idle lane leaves a run to wider lanes where it would end the run's chain after this.
    """
    return _Scheduler(forecast, lanes, deadline).run()


class _Scheduler:
    """Runs that are alike (equal load, equal sequel) stand in one line, since they suit the same lanes."""

    def __init__(self, forecast: Forecast, lanes: Sequence[int], deadline: float) -> None:
        self._forecast = forecast
        existing = [column for column, number in enumerate(lanes) if number]
        fastest = [min(row[column] for column in existing) for row in forecast.seconds]
        self._line_of: list[int] = []
        lines: dict[tuple[int, tuple[int, ...]], int] = {}
        tails: list[tuple[float, float]] = []
        self._until: list[list[float]] = []
        """(lines, shapes) the latest start in a lane of a shape."""
        for run, load in enumerate(forecast.load_of):
            sequel = tuple(sorted(forecast.load_of[child] for child in forecast.children.get(run, ())))
            if (load, sequel) not in lines:
                lines[load, sequel] = len(lines)
                after = max((fastest[child] for child in sequel), default=0.0)
                tail = fastest[load] + after
                tails.append((-tail, -sum(fastest[child] for child in sequel)))
                self._until.append([deadline - seconds - after for seconds in forecast.seconds[load]])
                for column, seconds in enumerate(forecast.seconds[load]):
                    if seconds + after <= tail * NEARLY_THE_FASTEST:
                        self._until[-1][column] = float("inf")
            self._line_of.append(lines[load, sequel])
        rank = sorted(range(len(lines)), key=tails.__getitem__)
        place = {line: position for position, line in enumerate(rank)}
        self._line_of = [place[line] for line in self._line_of]
        self._until = [self._until[line] for line in rank]
        self._waiting: list[list[int]] = [[] for _ in rank]
        self._lines: list[int] = []
        """Those with a run that is ready, the longest tail first."""
        for run in reversed(range(len(forecast.work))):
            if forecast.parent[run] is None:
                self._make_ready(run)
        numbers = count()
        self._idle = [[next(numbers) for _ in range(lanes_of_shape)] for lanes_of_shape in lanes]
        for idle in self._idle:
            idle.reverse()  # lanes are taken from the end
        self._result = Schedule(
            column_of=[column for column, lanes_of_shape in enumerate(lanes) for _ in range(lanes_of_shape)],
            runs=[[] for _ in range(sum(lanes))],
            start=[0.0] * len(forecast.work),
            end=[0.0] * len(forecast.work),
        )
        self._ends: list[tuple[float, int, int]] = []
        self._order = sorted(existing, key=lambda column: -forecast.taken[column])

    def run(self) -> Schedule:
        self._hand_out(0.0)
        while self._ends:
            now = self._ends[0][0]
            while self._ends and self._ends[0][0] == now:
                _, lane, run = heappop(self._ends)
                self._idle[self._result.column_of[lane]].append(lane)
                for child in reversed(self._forecast.children.get(run, ())):
                    self._make_ready(child)
            self._hand_out(now)
        return self._result

    def _make_ready(self, run: int) -> None:
        line = self._line_of[run]
        if not self._waiting[line]:
            insort(self._lines, line)
        self._waiting[line].append(run)

    def _hand_out(self, now: float) -> None:
        for column in self._order:
            idle = self._idle[column]
            while idle and (run := self._next(column, now)) is not None:
                lane = idle.pop()
                end = now + self._forecast.seconds[self._forecast.load_of[run]][column]
                self._result.runs[lane].append(run)
                self._result.start[run], self._result.end[run] = now, end
                heappush(self._ends, (end, lane, run))

    def _next(self, column: int, now: float) -> int | None:
        for position, line in enumerate(self._lines):
            if now <= self._until[line][column]:
                waiting = self._waiting[line]
                run = waiting.pop()
                if not waiting:
                    del self._lines[position]
                return run
        return None


BISECTIONS = 30


@dataclass(frozen=True)
class LowerBound:
    """Seconds, once the lanes are up, before which no plan on these resources can end."""

    work_seconds: float
    """All work, each run in its most efficient shape, shared out over all GPUs without a gap."""
    chain_seconds: float
    """The longest baseline and what waits for it, each in its fastest shape."""
    hard_seconds: float
    """As hard a bound and at least as large: work and chain are had in different shapes, and what waits for
    baselines can't fill the beginning. See ``lower_bound``."""

    @property
    def seconds(self) -> float:
        """The plain bound: the larger of work and chain."""
        return max(self.work_seconds, self.chain_seconds)


@dataclass(frozen=True)
class _Alike:
    """Runs of one load with the same before and after them, as seconds in the fastest shapes."""

    load: int
    before: float
    after: float


def lower_bound(forecast: Forecast) -> LowerBound:
    """Return what bounds the end of a study.

    A plan that ends by T trains each run in a shape in which its chain can end by T, and begins none before its
    baseline can have ended. So it takes, after any moment t, at least what is then left of the cheapest such
    shapes' GPU time, had each run begun as early as it can; and there are capacity × (T − t) GPU seconds for it.
    The hard bound is the smallest T for which this holds at every t at which a baseline can end.
    """
    capacity = forecast.resources.capacity
    fastest = [min(row) for row in forecast.seconds]
    least = [min(s * taken for s, taken in zip(row, forecast.taken, strict=True)) for row in forecast.seconds]
    alike = _alike(forecast, fastest)
    work = sum(least[runs.load] * count for runs, count in alike.items()) / capacity
    chain = max((runs.before + fastest[runs.load] + runs.after for runs in alike), default=0.0)
    low, high = max(work, chain), max(work, chain)
    while alike and not _fits(forecast, alike, high):
        low, high = high, high * 1.5
    for _ in range(BISECTIONS if high > low else 0):
        middle = (low + high) / 2
        low, high = (low, middle) if _fits(forecast, alike, middle) else (middle, high)
    return LowerBound(work, chain, low)


def _alike(forecast: Forecast, fastest: list[float]) -> Counter[_Alike]:
    alike: Counter[_Alike] = Counter()
    load_of = forecast.load_of
    for run, parent in enumerate(forecast.parent):
        before = 0.0 if parent is None else fastest[load_of[parent]]
        after = max((fastest[load_of[child]] for child in forecast.children.get(run, ())), default=0.0)
        alike[_Alike(load_of[run], before, after)] += 1
    return alike


def _fits(forecast: Forecast, alike: Counter[_Alike], end: float) -> bool:
    moments = {runs.before for runs in alike}
    return all(
        sum(count * _left(forecast, runs, moment, end) for runs, count in alike.items())
        <= forecast.resources.capacity * (end - moment) * (1 + 1e-9)
        for moment in moments
    )


def _left(forecast: Forecast, runs: _Alike, moment: float, end: float) -> float:
    """Return the GPU seconds that a run takes after a moment at least."""
    latest = end - runs.after - runs.before + 1e-9 * end
    begun = max(0.0, moment - runs.before)
    return min(
        (
            taken * max(0.0, seconds - begun)
            for seconds, taken in zip(forecast.seconds[runs.load], forecast.taken, strict=True)
            if seconds <= latest
        ),
        default=float("inf"),
    )
