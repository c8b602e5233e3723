"""What a place has to train on, and how lanes are cut out of it."""

import os
from collections.abc import Iterable

from pydantic import Field, NonNegativeInt, PositiveInt, model_validator

from clr_hpc.config.base import FrozenSpec


class LaneShape(FrozenSpec):
    """What one lane takes of a place: its workers, and the share of a GPU or the CPUs of each."""

    workers: PositiveInt = 1
    """Processes that train a run together, under DDP where there are several."""
    gpus_per_worker: float = Field(default=0.0, ge=0, le=1)
    """0: it trains on CPUs. Below 1 lanes share a GPU."""
    cpus_per_worker: PositiveInt = 1

    @model_validator(mode="after")
    def _ranks_have_a_gpu_each(self) -> "LaneShape":
        if self.workers > 1 and 0 < self.gpus_per_worker < 1:
            raise ValueError(
                f"workers={self.workers} with gpus_per_worker={self.gpus_per_worker:g}: NCCL rejects two ranks on "
                "one GPU; give each worker a whole one, or the lane one worker"
            )
        return self

    @property
    def runs_per_gpu(self) -> int:
        """How many lanes of this shape share a GPU; 1 on CPUs."""
        return round(1 / self.gpus_per_worker) if self.gpus_per_worker else 1

    @property
    def text(self) -> str:
        """What people read: ``2 workers, 1 GPU each``."""
        workers = "1 worker" if self.workers == 1 else f"{self.workers} workers"
        if not self.gpus_per_worker:
            return f"{workers}, {self.cpus_per_worker} CPU{'s' if self.cpus_per_worker > 1 else ''} each"
        share = "1 GPU each" if self.gpus_per_worker == 1 else f"1/{self.runs_per_gpu} of a GPU"
        return f"{workers}, {share}"


class Resources(FrozenSpec):
    """What a place has. With GPUs runs are trained on these; without, on CPUs."""

    gpus: NonNegativeInt = 0
    cpus: PositiveInt
    memory_bytes_per_gpu: PositiveInt | None = None
    """None: unknown; then nothing is rejected because of it."""
    nodes: PositiveInt = 1
    """Machines, all alike; a lane lies within one."""

    @model_validator(mode="after")
    def _nodes_are_alike(self) -> "Resources":
        for name, count in (("gpus", self.gpus), ("cpus", self.cpus)):
            if count % self.nodes:
                raise ValueError(
                    f"{name}={count} can't be shared out evenly among nodes={self.nodes}; give a multiple"
                )
        return self

    @property
    def trains_on(self) -> str:
        """``GPU`` or ``CPU``: what is counted."""
        return "GPU" if self.gpus else "CPU"

    @property
    def capacity(self) -> int:
        """GPUs, or CPUs where there are none."""
        return self.gpus or self.cpus

    def taken(self, shape: LaneShape) -> float:
        """Return how much of ``capacity`` a lane takes."""
        return shape.workers * (shape.gpus_per_worker if self.gpus else shape.cpus_per_worker)

    def shapes(self, most_workers: int = 1, runs_per_gpu: Iterable[int] = (1,)) -> tuple[LaneShape, ...]:
        """Return the shapes that lanes can have here, the one-worker ones first.

        Args:
            most_workers: of a lane. Only powers of two are offered, so that lanes fill nodes without gaps.
            runs_per_gpu: how many one-worker lanes may share a GPU; each of them needs a CPU of its own.
        """
        node_capacity = self.capacity // self.nodes
        widths = [1 << power for power in range(1, min(most_workers, node_capacity).bit_length())]
        if not self.gpus:
            return tuple(LaneShape(workers=workers) for workers in (1, *widths))
        shares = sorted({share for share in runs_per_gpu if share == 1 or share * self.gpus <= self.cpus})
        return (
            *(LaneShape(gpus_per_worker=1 / share) for share in shares),
            *(LaneShape(workers=workers, gpus_per_worker=1) for workers in widths),
        )


def usable_cores() -> int:
    """Return how many cores this process may use: on a cluster fewer than the machine has."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
