"""Which shape of lane each run is meant for, so that its chain ends by a deadline at the least cost."""

from collections import Counter
from collections.abc import Sequence
from functools import cache

from clr_hpc.execution.forecast import Forecast


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
