"""How fast runs are trained in lanes of each shape: measured by the probe, or given as a file.

A file of rates holds what one kind of machine does, so that a login node can plan for nodes it isn't::

    {"measured_on": {"gpu": "..."}, "lane_start_seconds": 8.0,
     "rates": [{"network": "densenet121", "image_size": 224, "batch_size": 64, "precision": "bfloat16",
                "gpus_per_worker": 1.0, "images_per_second": 1500, "evaluated_per_second": 5000}]}
"""

import json
from pathlib import Path
from typing import Any

from pydantic import Field, NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt, ValidationError

from clr_hpc.config.base import FrozenSpec
from clr_hpc.config.resources import LaneShape
from clr_hpc.execution.workload import Kind, Load
from clr_hpc.store.atomic import write_json

SERIAL_SHARE = 0.05
"""An assumption, used for lanes of several workers that were not measured: the share of a step that more workers
don't shorten (starting kernels, waiting for gradients). Amdahl 1967: n workers take ``share + (1 − share) / n`` of
the time of one, so two are 95 % efficient, four 87 %, eight 74 %."""
FEWEST_IMAGES_A_WORKER = 16
"""Of a global batch. Smaller shares leave a GPU idle between kernels, and batch norm little to average over."""


class RatesError(ValueError):
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
        raise RatesError(f"{file}: {place}: {first['msg']}; see docs/plan.md for the form of rates") from error
    except ValueError as error:
        raise RatesError(f"{file} is not JSON: {error}; see docs/plan.md for the form of rates") from error


def write_rates(file: Path, table: RateTable) -> None:
    """Write a file of rates, whole or not at all."""
    file.parent.mkdir(parents=True, exist_ok=True)
    write_json(file, table.model_dump(mode="json"))
