"""How long each run of a study takes in a lane of each shape."""

from collections import Counter, defaultdict
from collections.abc import Sequence

from clr_hpc.config.resources import LaneShape, Resources
from clr_hpc.execution.rates import Rate, RatesError, RateTable
from clr_hpc.execution.workload import Load, WorkItem


class Forecast:
    """The work of a study against the rates of a place."""

    def __init__(
        self,
        work: Sequence[WorkItem],
        rates: RateTable,
        resources: Resources,
        shapes: Sequence[LaneShape],
        are_asked_for: bool = False,
    ) -> None:
        """Look up a rate for each kind of work in each shape.

        Shapes that some kind has no rate in, or not the memory for, are left out: any lane may train any run.

        Args:
            work: runs, no two of one name. A baseline that is not among them has ended before.
            rates: of this place.
            resources: of this place.
            shapes: that lanes may have.
            are_asked_for: the shapes are the user's, who may spread a small batch over more workers than suits it.

        Raises:
            RatesError: no shape is left.
            ValueError: two runs have one name, or a run waits for one that itself waits.
        """
        self.work, self.resources = tuple(work), resources
        self.loads = loads = list(dict.fromkeys(item.load for item in work))
        self.shapes = _usable(loads, rates, resources, shapes, are_asked_for)
        self._rate: dict[tuple[Load, LaneShape], Rate] = {}
        for load in loads:
            for shape in self.shapes:
                rate = rates.find(load.kind, shape, are_asked_for)
                assert rate is not None  # what _usable saw to
                self._rate[load, shape] = rate
        number = {load: position for position, load in enumerate(loads)}
        self.load_of = [number[item.load] for item in work]
        """(runs,) the row of ``seconds`` for each run."""
        self.seconds = [[self._rate[load, shape].seconds(load) for shape in self.shapes] for load in loads]
        """(loads, shapes)"""
        self.taken = [resources.taken(shape) for shape in self.shapes]
        """(shapes,) GPUs or CPUs."""
        self.position = {item.name: position for position, item in enumerate(work)}
        if len(self.position) < len(work):
            twice = next(name for name, times in Counter(item.name for item in work).items() if times > 1)
            raise ValueError(f"{twice} is planned twice; plan each run once")
        self.parent = [self.position.get(item.after) if item.after else None for item in work]
        """(runs,) the baseline among these runs that each waits for."""
        self.children: dict[int, list[int]] = defaultdict(list)
        for run, parent in enumerate(self.parent):
            if parent is not None:
                self.children[parent].append(run)
                if self.parent[parent] is not None:
                    raise ValueError(
                        f"{work[run].name} waits for {work[parent].name}, which itself waits; "
                        "a run starts from a baseline"
                    )

    def seconds_in(self, name: str, shape: LaneShape) -> float:
        """Return how long a run keeps a lane of this shape busy."""
        return self.seconds[self.load_of[self.position[name]]][self.shapes.index(shape)]

    def training_seconds(self, run: int, shape: LaneShape) -> float:
        """Return what ``result.json`` will call ``seconds`` of a run, which leaves out its final evaluation."""
        load = self.work[run].load
        return self._rate[load, shape].training_seconds(load)

    def memory_bytes(self, shape: LaneShape) -> int:
        """Return the most memory that a worker of this shape needs for any of the runs."""
        return max((self._rate[load, shape].memory_bytes for load in self.loads), default=0)

    def speed(self, shape: LaneShape) -> float:
        """Return how much sooner than in the first shape the whole work is done in one lane of this shape."""
        runs = Counter(self.load_of)
        first, own = (
            sum(self.seconds[load][column] * count for load, count in runs.items())
            for column in (0, self.shapes.index(shape))
        )
        return first / own if own else 1.0


def _usable(
    loads: Sequence[Load],
    rates: RateTable,
    resources: Resources,
    shapes: Sequence[LaneShape],
    are_asked_for: bool,
) -> tuple[LaneShape, ...]:
    refused = []
    usable = []
    for shape in shapes:
        known = [(load, rates.find(load.kind, shape, are_asked_for)) for load in loads]
        reasons = [reason for load, rate in known if (reason := _reason_against(load, shape, resources, rate))]
        refused += reasons[:1]
        if not reasons:
            usable.append(shape)
    if not usable:
        raise RatesError("; ".join(dict.fromkeys(refused)) or "no shape of lanes to choose from; give one")
    return tuple(usable)


def _reason_against(load: Load, shape: LaneShape, resources: Resources, rate: Rate | None) -> str | None:
    if rate is None:
        return (
            f"no rate for {load.kind.text} in a lane of {shape.text}; "
            "plan where that hardware is, or add the rate to the file of rates"
        )
    available = resources.memory_bytes_per_gpu
    if available is not None and shape.gpus_per_worker and rate.memory_bytes * shape.runs_per_gpu > available:
        return (
            f"{load.kind.text} needs {rate.memory_bytes * shape.runs_per_gpu / 2**30:.1f} GiB in a lane of "
            f"{shape.text}, of {available / 2**30:.1f} GiB; lower training.batch_size"
        )
    return None
