"""Where the runs of trials are trained: in processes of this machine, or in the lanes of a Ray cluster."""

import math
import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Literal, Protocol

from clr_hpc.config.resources import LaneShape, Resources
from clr_hpc.places.job import WorkerTask
from clr_hpc.places.local.place import Processes, drain_here, visible_gpus
from clr_hpc.places.queue import Queue

Processor = Literal["GPU", "CPU"]


class TrialPlace(Protocol):
    """A place that trains what a queue gives."""

    @property
    def sharing(self) -> Processes:
        """How the runs share a machine, which says what batch fits into its memory."""

    @property
    def processor(self) -> Processor:
        """What it trains on."""

    @property
    def processors(self) -> float:
        """How many of these a run has."""

    def train(
        self,
        queue: Queue,
        task: WorkerTask,
        say: Callable[[str], None],
    ) -> bool:
        """Train until the queue is finished; return False where Ctrl-C stopped it, with every run saved."""


@dataclass(frozen=True)
class ThisMachine:
    """Processes of this machine."""

    sharing: Processes

    @property
    def processor(self) -> Processor:
        """GPUs where there are any."""
        return "GPU" if visible_gpus() else "CPU"

    @property
    def processors(self) -> float:
        """A GPU, or the CPU threads of a run."""
        return 1 if self.processor == "GPU" else self.sharing.threads

    def train(
        self,
        queue: Queue,
        task: WorkerTask,
        say: Callable[[str], None],
    ) -> bool:
        """Train in warm processes."""
        say(f"training {self.sharing.count} at a time")
        return drain_here(queue, task, self.sharing, lambda _: None, lambda *_: None)


@dataclass(frozen=True)
class RayLanes:
    """Lanes of a Ray cluster: one that is there, or one that starts when training does."""

    resources: Resources
    shapes: tuple[LaneShape, ...]
    enter: Callable[[], str]
    """Starts the cluster, where it isn't there, and returns the dashboard's URL."""
    may_grow: bool
    """Whether nodes that join later get lanes too."""

    @property
    def sharing(self) -> Processes:
        """As many runs as a node has workers."""
        shape = self.shapes[0]
        workers = math.ceil(len(self.shapes) * shape.workers / self.resources.nodes)
        return Processes(workers, shape.cpus_per_worker)

    @property
    def processor(self) -> Processor:
        """GPUs where the cluster has any."""
        return "GPU" if self.resources.gpus else "CPU"

    @property
    def processors(self) -> float:
        """What a lane takes."""
        return self.resources.taken(self.shapes[0])

    def train(
        self,
        queue: Queue,
        task: WorkerTask,
        say: Callable[[str], None],
    ) -> bool:
        """Train in lanes.

        Raises:
            ClusterError: the cluster can't be started, has no room for a lane, or every lane was given up.
        """
        from clr_hpc.places.ray.place import train_on_ray

        if queue.next(0, ()) == "finished":
            return True  # a cluster takes seconds to start; a run that it gave is given again
        dashboard = self.enter()
        token = os.environ.get("RAY_AUTH_TOKEN_PATH")
        say(f"starting {len(self.shapes)} lanes; dashboard: {dashboard}, which asks for the token in {token}")
        return train_on_ray(queue, self.shapes, self.may_grow, task, lambda _: None, lambda *_: None)


@contextmanager
def ray_lanes(
    own: Resources, address: str | None, lanes: int | None, workers_per_lane: int | None
) -> Iterator[RayLanes]:
    """Yield equal lanes of a Ray cluster, which is left at the end of all.

    Write what came of it before: to leave a cluster in which a lane still ends can take this process with it.

    Args:
        own: what a cluster on this machine is to have.
        address: of a cluster to join, ``HOST:PORT``, which has its own; None: one is started here.
        lanes: how many; None: as many as there is room for.
        workers_per_lane: processes that train a run together; None: one.

    Raises:
        ClusterError: the cluster can't be joined, or has nothing to train on.
        LaneError: there is no room for so many.
    """
    from clr_hpc.places.lanes import shapes_without_plan
    from clr_hpc.places.ray.place import cluster, cluster_resources

    with ExitStack() as entered:
        if address is None:
            shapes = shapes_without_plan(own, lanes, workers_per_lane)

            def start() -> str:
                return entered.enter_context(cluster(None, own.cpus, own.gpus))

            yield RayLanes(own, tuple(shapes), start, may_grow=False)
        else:
            dashboard = entered.enter_context(cluster(address, None, None))
            own = cluster_resources()
            shapes = shapes_without_plan(own, lanes, workers_per_lane, may_grow=True)
            yield RayLanes(own, tuple(shapes), lambda: dashboard, may_grow=lanes is None)
