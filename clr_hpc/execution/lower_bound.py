"""What bounds a study's end from below, whatever the plan."""

from collections import Counter
from dataclasses import dataclass

from clr_hpc.execution.forecast import Forecast

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
