"""How fast runs are trained in lanes of each shape: measured by the probe, or given as a file.

A file of rates holds what one kind of machine does, so that a login node can plan for nodes it isn't::

    {"measured_on": {"gpu": "..."}, "lane_start_seconds": 8.0,
     "rates": [{"network": "densenet121", "image_size": 224, "batch_size": 64, "precision": "bfloat16",
                "gpus_per_worker": 1.0, "images_per_second": 1500, "evaluated_per_second": 5000}]}
"""

import json
from collections import Counter, defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pydantic import Field, NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt, ValidationError

from clr_hpc.config.base import FrozenSpec, UserError
from clr_hpc.config.resources import LaneShape, Resources
from clr_hpc.planning.workload import Kind, Load, WorkItem
from clr_hpc.store.atomic import write_json

SERIAL_SHARE = 0.05
"""An assumption, used for lanes of several workers that were not measured: the share of a step that more workers
don't shorten (starting kernels, waiting for gradients). Amdahl 1967: n workers take ``share + (1 − share) / n`` of
the time of one, so two are 95 % efficient, four 87 %, eight 74 %."""
FEWEST_IMAGES_A_WORKER = 16
"""Of a global batch. Smaller shares leave a GPU idle between kernels, and batch norm little to average over."""


class RatesError(UserError, ValueError):
    """Rates can't be read, or lack what is to be planned; the message names both and the remedy."""


class Rate(FrozenSpec):
    """What one lane does while the lanes beside it are busy too."""

    network: str
    """An architecture, or ``autoencoder``."""
    image_size: PositiveInt
    batch_size: PositiveInt
    """The global one."""
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
    def kind(self) -> Kind:
        """What it is the rate of."""
        return Kind(self.network, self.image_size, self.batch_size, self.precision)

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

    def with_workers(self, workers: int) -> "Rate":
        """Return what ``workers`` of the one measured would do together, by Amdahl's law."""
        faster = 1 / (SERIAL_SHARE + (1 - SERIAL_SHARE) / workers)
        changes = {
            "workers": workers,
            "images_per_second": self.images_per_second * faster,
            "evaluated_per_second": self.evaluated_per_second * faster,
        }
        return self.model_copy(update=changes)


class RateTable(FrozenSpec):
    """All rates that one kind of machine is known by."""

    measured_on: dict[str, Any] = Field(default_factory=dict)
    lane_start_seconds: NonNegativeFloat = 0.0
    """From the start of a lane's processes to their readiness for a first run."""
    rates: tuple[Rate, ...]

    def find(self, kind: Kind, shape: LaneShape, is_asked_for: bool = False) -> Rate | None:
        """Return the rate of a kind in a shape: as measured, else modelled from that of one worker.

        None: not known, or more workers than its batch suits and none that were asked for.
        """
        measured = {_as_measured(rate.shape): rate for rate in self.rates if rate.kind == kind}
        if (found := measured.get(_as_measured(shape))) is not None:
            return found
        alone = measured.get(_as_measured(shape.model_copy(update={"workers": 1})))
        if alone is None or shape.workers == 1:
            return None
        if kind.batch_size < FEWEST_IMAGES_A_WORKER * shape.workers and not is_asked_for:
            return None
        return alone.with_workers(shape.workers)

    def with_rates(self, new: tuple[Rate, ...]) -> "RateTable":
        """Return these rates and ``new``, which replace those of the same kind and shape."""
        replaced = {(rate.kind, rate.shape) for rate in new}
        kept = tuple(rate for rate in self.rates if (rate.kind, rate.shape) not in replaced)
        return self.model_copy(update={"rates": kept + new})


def _as_measured(shape: LaneShape) -> tuple[int, float, int]:
    """Return what of a shape decides its rate: of the CPUs beside a GPU, none."""
    return shape.workers, shape.gpus_per_worker, 0 if shape.gpus_per_worker else shape.cpus_per_worker


def read_rates(file: Path) -> RateTable:
    """Read a file of rates.

    Raises:
        RatesError: it is not there, or not of this form.
    """
    try:
        return RateTable.model_validate(json.loads(file.read_text()))
    except OSError as error:
        raise RatesError(
            f"{file} can't be read: {error.strerror}; give a file that a probe has written"
        ) from error
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"]))
        raise RatesError(
            f"{file}: {place}: {first['msg']}; see docs/reference/plan.md for the form of rates"
        ) from error
    except ValueError as error:
        raise RatesError(
            f"{file} is not JSON: {error}; see docs/reference/plan.md for the form of rates"
        ) from error


def write_rates(file: Path, table: RateTable) -> None:
    """Write a file of rates, whole or not at all."""
    file.parent.mkdir(parents=True, exist_ok=True)
    write_json(file, table.model_dump(mode="json"))


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
