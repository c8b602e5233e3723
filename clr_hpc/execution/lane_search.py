"""A search for the lanes with which a study ends soonest."""

from collections import Counter
from collections.abc import Iterator
from itertools import permutations
from math import ceil

from clr_hpc.execution.forecast import Forecast
from clr_hpc.execution.lane_cut import cut_lanes
from clr_hpc.execution.list_schedule import Schedule, schedule
from clr_hpc.execution.lower_bound import LowerBound
from clr_hpc.execution.shape_choice import choose_shapes, gpu_seconds

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
