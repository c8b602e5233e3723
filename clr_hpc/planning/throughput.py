"""Throughput of runs in lanes of each shape: measured by the probe, or given as a file.

A throughput file describes one type of machine, so that a login node can plan for other nodes::

    {"measured_on": {"gpu": "..."}, "lane_start_seconds": 8.0,
     "rates": [{"network": "densenet121", "image_size": 224, "batch_size": 64, "precision": "bfloat16",
                "gpus_per_worker": 1.0, "images_per_second": 1500, "evaluated_per_second": 5000}]}
"""

from collections import Counter, defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pydantic import Field, NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt, TypeAdapter

from clr_hpc.config.base import FrozenSpec, UserError
from clr_hpc.config.resources import LaneShape, Resources
from clr_hpc.planning.workload import Load, StepKind, WorkItem
from clr_hpc.store.atomic import write_json
from clr_hpc.store.records import Damaged, read_record

SERIAL_SHARE = 0.05
"""An assumption, used for lanes of several workers that were not measured: the share of a step that more workers
don't shorten (starting kernels, waiting for gradients). Amdahl 1967: n workers take ``share + (1 − share) / n`` of
the time of one, so two are 95 % efficient, four 87 %, eight 74 %."""
FEWEST_IMAGES_A_WORKER = 16
"""Of a global batch. Smaller shares leave a GPU idle between kernels, and batch norm little to average over."""


class ThroughputError(UserError, ValueError):
    """A throughput is missing, or its file can't be read; the message names the remedy."""


class Throughput(FrozenSpec):
    """Throughput of one lane while its neighbours are busy, too."""

    network: str
    """An architecture, or ``autoencoder``."""
    image_size: PositiveInt
    batch_size: PositiveInt
    precision: str = "float32"
    workers: PositiveInt = 1
    gpus_per_worker: float = Field(default=0.0, ge=0, le=1)
    cpus_per_worker: PositiveInt = 1
    images_per_second: PositiveFloat
    """Trained on, by all workers of the lane together."""
    evaluated_per_second: PositiveFloat
    start_seconds: NonNegativeFloat = 0.0
    """What a run takes in a warm lane besides its images: build, first step, final checkpoint."""
    epoch_seconds: NonNegativeFloat = 0.0
    """What the end of an epoch takes besides its images: weights on disk."""
    memory_bytes: NonNegativeInt = 0
    """Largest of a worker: of GPU memory where it has a GPU, else resident. 0: unknown."""

    @property
    def kind(self) -> StepKind:
        """Kind of step that was measured."""
        return StepKind(self.network, self.image_size, self.batch_size, self.precision)

    @property
    def shape(self) -> LaneShape:
        """The lane it was measured in."""
        return LaneShape(
            workers=self.workers, gpus_per_worker=self.gpus_per_worker, cpus_per_worker=self.cpus_per_worker
        )

    def training_seconds(self, load: Load) -> float:
        """Return what ``seconds`` in ``result.json`` counts: up to the last step, with evaluations on the way."""
        return (
            load.epochs * self.epoch_seconds
            + load.training_images / self.images_per_second
            + load.evaluated_images / self.evaluated_per_second
        )

    def seconds(self, load: Load) -> float:
        """Return how long a run with this load keeps its lane busy."""
        return self.start_seconds + self.training_seconds(load) + load.final_images / self.evaluated_per_second

    def with_workers(self, workers: int) -> "Throughput":
        """Return what ``workers`` of the one measured would do together, by Amdahl's law."""
        faster = 1 / (SERIAL_SHARE + (1 - SERIAL_SHARE) / workers)
        changes = {
            "workers": workers,
            "images_per_second": self.images_per_second * faster,
            "evaluated_per_second": self.evaluated_per_second * faster,
        }
        return self.model_copy(update=changes)


class ThroughputTable(FrozenSpec):
    """All throughputs known of one type of machine."""

    measured_on: dict[str, Any] = Field(default_factory=dict)
    lane_start_seconds: NonNegativeFloat = 0.0
    """From the start of a lane's processes to their readiness for a first run."""
    rates: tuple[Throughput, ...]

    def find(self, kind: StepKind, shape: LaneShape, is_requested: bool = False) -> Throughput | None:
        """Return the throughput of a kind in a shape: measured, else modelled from that of one worker.

        None: not known, or more workers than its batch suits and none that were asked for.
        """
        measured = {_as_measured(rate.shape): rate for rate in self.rates if rate.kind == kind}
        if (found := measured.get(_as_measured(shape))) is not None:
            return found
        alone = measured.get(_as_measured(shape.model_copy(update={"workers": 1})))
        if alone is None or shape.workers == 1:
            return None
        if kind.batch_size < FEWEST_IMAGES_A_WORKER * shape.workers and not is_requested:
            return None
        return alone.with_workers(shape.workers)

    def with_rates(self, new: tuple[Throughput, ...]) -> "ThroughputTable":
        """Return these rates and ``new``, which replace those of the same kind and shape."""
        replaced = {(rate.kind, rate.shape) for rate in new}
        kept = tuple(rate for rate in self.rates if (rate.kind, rate.shape) not in replaced)
        return self.model_copy(update={"rates": kept + new})


def _as_measured(shape: LaneShape) -> tuple[int, float, int]:
    """Return what of a shape decides its throughput: with a GPU, CPUs don't."""
    return shape.workers, shape.gpus_per_worker, 0 if shape.gpus_per_worker else shape.cpus_per_worker


def read_throughput(file: Path) -> ThroughputTable:
    """Read a throughput file.

    Raises:
        ThroughputError: it is not there, or not of this form.
    """
    found = read_record(file, TypeAdapter(ThroughputTable), "clr-hpc manual plan has its format")
    if found is None:
        raise ThroughputError(f"{file} does not exist; give a file that a probe has written")
    if isinstance(found, Damaged):
        raise ThroughputError(str(found))
    return found


def write_throughput(file: Path, table: ThroughputTable) -> None:
    """Write a throughput file atomically."""
    file.parent.mkdir(parents=True, exist_ok=True)
    write_json(file, table.model_dump(mode="json"))


class Forecast:
    """Predicted seconds of a study's runs in each lane shape of a place."""

    def __init__(
        self,
        work: Sequence[WorkItem],
        rates: ThroughputTable,
        resources: Resources,
        shapes: Sequence[LaneShape],
        are_requested: bool = False,
    ) -> None:
        """Look up the throughput of each kind of step in each shape.

        Shapes that some kind has no rate in, or not the memory for, are left out: any lane may train any run.

        Args:
            work: runs, no two of one name. A baseline that is not among them has ended before.
            rates: of this place.
            resources: of this place.
            shapes: that lanes may have.
            are_requested: the shapes are the user's, who may spread a small batch over more workers than suits it.

        Raises:
            ThroughputError: no shape is left.
            ValueError: two runs have one name, or a run waits for one that itself waits.
        """
        self.work, self.resources = tuple(work), resources
        self.loads = loads = list(dict.fromkeys(item.load for item in work))
        self.shapes = _usable(loads, rates, resources, shapes, are_requested)
        self._rate: dict[tuple[Load, LaneShape], Throughput] = {}
        for load in loads:
            for shape in self.shapes:
                rate = rates.find(load.kind, shape, are_requested)
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
    rates: ThroughputTable,
    resources: Resources,
    shapes: Sequence[LaneShape],
    are_requested: bool,
) -> tuple[LaneShape, ...]:
    rejected = []
    usable = []
    for shape in shapes:
        known = [(load, rates.find(load.kind, shape, are_requested)) for load in loads]
        reasons = [reason for load, rate in known if (reason := _reason_against(load, shape, resources, rate))]
        rejected += reasons[:1]
        if not reasons:
            usable.append(shape)
    if not usable:
        raise ThroughputError("; ".join(dict.fromkeys(rejected)) or "no shape of lanes to choose from; give one")
    return tuple(usable)


def _reason_against(load: Load, shape: LaneShape, resources: Resources, rate: Throughput | None) -> str | None:
    if rate is None:
        return (
            f"no throughput for {load.kind.text} in a lane of {shape.text}; "
            "plan where that hardware is, or add it to the throughput file"
        )
    available = resources.memory_bytes_per_gpu
    if available is not None and shape.gpus_per_worker and rate.memory_bytes * shape.runs_per_gpu > available:
        return (
            f"{load.kind.text} needs {rate.memory_bytes * shape.runs_per_gpu / 2**30:.1f} GiB in a lane of "
            f"{shape.text}, of {available / 2**30:.1f} GiB; lower training.batch_size"
        )
    return None
