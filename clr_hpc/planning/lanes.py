"""A search for the lanes with which a study ends soonest."""

from collections import Counter
from collections.abc import Iterator, Sequence
from functools import cache
from itertools import permutations
from math import ceil, floor

from clr_hpc.config.resources import LaneShape, Resources
from clr_hpc.planning.schedule import LowerBound, Schedule, schedule
from clr_hpc.planning.throughput import Forecast


def cut_lanes(
    resources: Resources, shapes: Sequence[LaneShape], wanted: Sequence[float], most: Sequence[int]
) -> list[int]:
    """Return how many lanes of each shape there will be; at least one lane in all.

    Args:
        resources: of the place; no lane lies across two nodes.
        shapes: of lanes.
        wanted: (shapes,) GPUs or CPUs that lanes of each shape are to have, together the capacity or less.
        most: (shapes,) lanes that there is work for.
    """
    space = _Space(resources)
    counts = [0] * len(shapes)
    # the widest first: what they leave in a node the narrow ones fill
    order = sorted(range(len(shapes)), key=lambda column: -resources.taken(shapes[column]))
    for column in order:
        if most[column]:
            lanes = round(wanted[column] / resources.taken(shapes[column]))
            counts[column] = space.take(shapes[column], min(lanes, most[column]))
    # what rounding has left goes to the shapes that still have work for it, and one lane there must be
    for column in order:
        spare = most[column] - counts[column]
        if wanted[column] and spare > 0:
            counts[column] += space.take(shapes[column], spare)
    if not any(counts):
        narrowest = order[-1]
        counts[narrowest] = space.take(shapes[narrowest], 1)
    return counts


class _Space:
    """GPUs (or CPUs) that are free, by node. Lanes that share GPUs take whole ones between them."""

    def __init__(self, resources: Resources) -> None:
        self._resources = resources
        self._nodes_with = Counter({resources.capacity // resources.nodes: resources.nodes})
        self._room_in_shared: Counter[int] = Counter()

    def take(self, shape: LaneShape, lanes: int) -> int:
        """Make room for as many of ``lanes`` as fit, and return their number."""
        taken = self._resources.taken(shape)
        if taken < 1:
            return self._take_shares(shape.runs_per_gpu, lanes)
        return self._take_whole(floor(taken), lanes)

    def _take_shares(self, share: int, lanes: int) -> int:
        whole = self._take_whole(1, ceil((lanes - self._room_in_shared[share]) / share))
        got = min(lanes, whole * share + self._room_in_shared[share])
        self._room_in_shared[share] += whole * share - got
        return got

    def _take_whole(self, units: int, lanes: int) -> int:
        got = 0
        # the fullest node that still has room, so that wide lanes find empty ones
        for free in sorted(size for size in self._nodes_with if size >= units):
            in_a_node = free // units
            nodes = min(self._nodes_with[free], ceil((lanes - got) / in_a_node))
            if nodes <= 0:
                break
            placed = min(lanes - got, nodes * in_a_node)
            full, rest = divmod(placed, in_a_node)
            self._nodes_with[free] -= full + bool(rest)
            self._nodes_with[free - in_a_node * units] += full
            self._nodes_with[free - rest * units] += bool(rest)
            got += placed
        self._nodes_with = +self._nodes_with
        return got


def choose_shapes(forecast: Forecast, deadline: float) -> list[int]:
    """Return a column of the forecast for each run.

    Wide lanes end a run sooner and use more GPU time for it. A chain, a baseline and what waits for it, gets the
    widths that end it by the deadline (seconds after the lanes are up) for the least GPU time; one that can't end
    by then gets the fastest. Chains of one and the same make-up are chosen for once.
    """
    load_of = forecast.load_of

    @cache
    def of_chain(baseline: int, waiting: tuple[int, ...]) -> tuple[int, dict[int, int]]:
        return _cheapest_chain(forecast, baseline, Counter(waiting), deadline)

    columns = [0] * len(load_of)
    for run, parent in enumerate(forecast.parent):
        if parent is None:
            children = forecast.children.get(run, ())
            own, of_children = of_chain(load_of[run], tuple(sorted(load_of[child] for child in children)))
            columns[run] = own
            for child in children:
                columns[child] = of_children[load_of[child]]
    return columns


def _cheapest_chain(
    forecast: Forecast, baseline: int, waiting: Counter[int], deadline: float
) -> tuple[int, dict[int, int]]:
    """Return the shape of a baseline with this load, and of those that wait for it, by load."""
    best: tuple[bool, float, int, dict[int, int]] | None = None
    for column, seconds in enumerate(forecast.seconds[baseline]):
        left = deadline - seconds
        chosen = {load: _cheapest(forecast, load, left) for load in waiting}
        keeps = left >= 0 and all(forecast.seconds[load][to] <= left for load, to in chosen.items())
        cost = seconds * forecast.taken[column]
        cost += sum(forecast.seconds[load][to] * forecast.taken[to] * waiting[load] for load, to in chosen.items())
        # where nothing keeps the deadline, what is soonest counts
        soonest = seconds + max((forecast.seconds[load][to] for load, to in chosen.items()), default=0.0)
        candidate = (not keeps, cost if keeps else soonest, column, chosen)
        if best is None or candidate[:3] < best[:3]:
            best = candidate
    assert best is not None  # a forecast has a shape
    return best[2], best[3]


def _cheapest(forecast: Forecast, load: int, left: float) -> int:
    """Return the shape that does a load within ``left`` seconds for the least GPU time, or the fastest."""
    seconds = forecast.seconds[load]

    def rank(column: int) -> tuple[bool, float]:
        late = seconds[column] > left
        return late, seconds[column] if late else seconds[column] * forecast.taken[column]

    return min(range(len(seconds)), key=rank)


def gpu_seconds(forecast: Forecast, columns: Sequence[int]) -> list[float]:
    """Return the GPU (or CPU) seconds of the runs that are meant for each shape."""
    totals = [0.0] * len(forecast.shapes)
    for (load, column), runs in Counter(zip(forecast.load_of, columns, strict=True)).items():
        totals[column] += forecast.seconds[load][column] * forecast.taken[column] * runs
    return totals


CHAIN_DEADLINES = (float("inf"), 2.0, 1.5, 1.2, 1.1, 1.05, 1.0, 0.9, 0.8, 0.7, 0.6, 0.5, 0.4)
"""Times the lower bound, from the most efficient lanes to wide ones: by when chains are to end. Below 1: baselines
that end early leave room to choose when what waits for them starts."""
DEADLINES = (1.05, 1.1, 1.2, float("inf"))
"""Times the lower bound: up to when narrow lanes may end a chain."""
GOOD_ENOUGH = 1.025
"""Times the lower bound: no better plan is looked for."""
LEAST_GAIN = 0.999
"""Of the makespan: plans that end as good as together count as alike, and the first one is kept."""
MOST_PLACINGS = 800_000
"""Runs placed, over all plans that are tried: some seconds' work."""


def best_schedule(forecast: Forecast, bound: LowerBound) -> Schedule:
    """Return the best plan of several ways to cut lanes, and of small changes to the best of these."""
    search = _Search(forecast, bound)
    for lanes in _cuts(forecast, bound):
        search.consider(lanes)
    search.improve()
    assert search.best is not None  # the first cut is always tried
    return search.best


class _Search:
    """Keeps the best of the plans that were tried, and ends when it is good or enough were tried."""

    def __init__(self, forecast: Forecast, bound: LowerBound) -> None:
        self.best: Schedule | None = None
        self._lanes: tuple[int, ...] = ()
        self._forecast, self._bound = forecast, bound
        self._tried: set[tuple[int, ...]] = set()
        self._tries_left = max(1, MOST_PLACINGS // len(forecast.work))

    @property
    def is_over(self) -> bool:
        good = self.best is not None and self.best.makespan <= GOOD_ENOUGH * self._bound.hard_seconds
        return good or self._tries_left <= 0

    def consider(self, lanes: tuple[int, ...]) -> bool:
        """Plan with these lanes, for several deadlines, and say whether that is better than what there was."""
        if lanes in self._tried:
            return False
        self._tried.add(lanes)
        before = self.best
        for factor in DEADLINES:
            if self.is_over:
                break
            self._tries_left -= 1
            candidate = schedule(self._forecast, lanes, factor * self._bound.hard_seconds)
            if self.best is None or candidate.makespan < self.best.makespan * LEAST_GAIN:
                self.best, self._lanes = candidate, lanes
        return self.best is not before

    def improve(self) -> None:
        """Move capacity between shapes, in ever smaller portions, as long as that helps."""
        portion = 0.2
        while not self.is_over and portion > 0.01:
            gains = [self.consider(lanes) for lanes in self._neighbours(self._lanes, portion)]
            if not any(gains):
                portion /= 2

    def _neighbours(self, lanes: tuple[int, ...], portion: float) -> Iterator[tuple[int, ...]]:
        taken, resources = self._forecast.taken, self._forecast.resources
        for source, target in permutations(range(len(lanes)), 2):
            moved = ceil(lanes[source] * portion)
            if moved:
                wanted = [number * each for number, each in zip(lanes, taken, strict=True)]
                wanted[source] -= moved * taken[source]
                wanted[target] += moved * taken[source]
                most = [len(self._forecast.work) if number else 0 for number in wanted]
                yield tuple(cut_lanes(resources, self._forecast.shapes, wanted, most))


def _cuts(forecast: Forecast, bound: LowerBound) -> Iterator[tuple[int, ...]]:
    """Yield ways to cut lanes: shapes in proportion to the work that is best done in them by some deadline."""
    for factor in CHAIN_DEADLINES:
        chosen = choose_shapes(forecast, factor * bound.seconds)
        wanted = gpu_seconds(forecast, chosen)
        share = forecast.resources.capacity / (sum(wanted) or 1.0)
        runs = Counter(chosen)
        most = [runs[column] for column in range(len(forecast.shapes))]
        yield tuple(cut_lanes(forecast.resources, forecast.shapes, [each * share for each in wanted], most))
    for column in range(len(forecast.shapes)):
        wanted, most = [0.0] * len(forecast.shapes), [0] * len(forecast.shapes)
        wanted[column], most[column] = forecast.resources.capacity, len(forecast.work)
        yield tuple(cut_lanes(forecast.resources, forecast.shapes, wanted, most))
