"""Between lanes and a queue that stays with the command, which so is the only one that writes its journal."""

from collections.abc import Sequence
from dataclasses import dataclass

from clr_hpc.config.run import RunSpec
from clr_hpc.places.job import GivenRun, RunQueue
from clr_hpc.places.ray.dispatcher import News
from clr_hpc.training.run import ExitStatus


@dataclass(frozen=True)
class Handed:
    """What a dispatcher is handed after it was asked for news."""

    runs: dict[int, GivenRun]
    """By the lane that asked."""
    is_last: bool
    """Whether every run has ended, and none will come."""


class RunSupply:
    """Asks a queue what the lanes that have asked are to train."""

    def __init__(self, queue: RunQueue) -> None:
        """Give out the runs of ``queue``. Lanes stay warm: that it may want fresh processes counts for nothing."""
        self._queue = queue
        self._given: dict[str, RunSpec] = {}

    def ended(self, ended: Sequence[tuple[RunSpec, ExitStatus]]) -> None:
        """Tell the queue what became of runs."""
        for spec, outcome in ended:
            self._queue.ended(spec, outcome)

    def for_lanes(self, news: News) -> Handed:
        """Return a run for each lane that asks, as far as there are any; ``ended`` has heard the same news."""
        under_way = [self._given[name] for name in news.under_way.values()]
        runs: dict[int, GivenRun] = {}
        for lane in sorted(news.asking):
            spec = self._queue.next_run(under_way)
            if spec is None:
                break
            self._given[spec.name] = spec
            under_way.append(spec)
            runs[lane] = GivenRun(spec, self._queue.until_epochs(spec))
        return Handed(runs, is_last=self._queue.is_finished and not under_way)
