"""``--on ray``: the runs of a study spread over the lanes of a Ray cluster."""

import math
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

from clr_hpc.config.base import counted
from clr_hpc.config.plugins import require
from clr_hpc.config.resources import LaneShape, Resources
from clr_hpc.places.base import Ended, Events, Place, TrainingJob
from clr_hpc.places.job import WorkerTask
from clr_hpc.places.lanes import shapes_without_plan
from clr_hpc.places.machine import Processes, resources_of
from clr_hpc.places.options import SearchOptions
from clr_hpc.places.processes.measured_plan import plan_if_possible
from clr_hpc.places.queue import ListedRuns, PlannedRuns, Queue
from clr_hpc.places.ray.cluster import check_gpus
from clr_hpc.places.ray.train import cluster, cluster_resources, train_on_ray
from clr_hpc.planning.plan import Plan, write_plan


class Ray(Place):
    """Lanes of a Ray cluster: one that is there, or one that starts on this machine."""

    name = "ray"
    ray_lanes = True
    options = frozenset({"address", "cpus", "gpus", "lanes", "workers_per_lane"})
    instead: ClassVar[Mapping[str, str]] = {"cohort": "let lanes share a GPU with --lanes"}

    def check(self, options: SearchOptions) -> None:
        """See that Ray is installed, and that this machine has the GPUs that a cluster of its own is to have."""
        require("ray", "ray", f"--on {self.name}")
        if options.address is None:
            check_gpus(options.gpus)

    def describe(self, job: TrainingJob, events: Events) -> None:
        """Show the lanes, the plan as far as throughput is known, and the runs; start and join no cluster."""
        if not job.show(events):
            return
        if job.options.address is not None:
            events.say(f"would join {job.options.address}; its nodes decide on the lanes")
        else:
            lanes = _lanes(job, resources_of(job.options.gpus, job.options.cpus), events)
            count = counted(len(lanes.shapes), "lane")
            events.say(f"would start a cluster and {count}, the first of {lanes.shapes[0].text}")
        for spec in job.missing:
            events.say(f"  {spec.name}")

    def run(self, job: TrainingJob, events: Events) -> Ended:
        """Train in the lanes of a cluster, which ends with the command if it was started by it.

        Raises:
            ClusterError: the cluster can't be started or joined, or has no room for a lane.
            LaneError: there is no room for the lanes that were asked for.
        """
        options = job.options
        job.prepare()
        if not job.show(events):
            return Ended(is_complete=True)
        own, joined = resources_of(options.gpus, options.cpus), options.address is not None
        with ExitStack() as stack:
            if joined:  # what it has is known once it is joined
                dashboard = stack.enter_context(cluster(options.address, None, None))
                own = cluster_resources()
            lanes = _lanes(job, own, events)
            if not joined:  # what it runs would be in the way of what the plan measures
                dashboard = stack.enter_context(cluster(None, own.cpus, own.gpus))
            if lanes.plan is not None:
                write_plan(job.folder.path, lanes.plan, self.name)
            events.say(_starting(len(lanes.shapes), dashboard))
            may_grow = joined and options.lanes is None
            return Ended(
                train_on_ray(
                    lanes.queue, lanes.shapes, may_grow, job.worker_task(), events.under_way, events.ended
                )
            )

    @contextmanager
    def trials(self, options: SearchOptions) -> "Iterator[RayTrials]":
        """Yield equal lanes of a Ray cluster, which is left at the end of all.

        Write what came of it before: to leave a cluster in which a lane still ends can take this process with it.

        Raises:
            ClusterError: the cluster can't be joined, or has nothing to train on.
            LaneError: there is no room for so many.
        """
        own = resources_of(options.gpus, options.cpus)
        with ExitStack() as entered:
            if options.address is None:
                shapes = shapes_without_plan(own, options.lanes, options.workers_per_lane)

                def start() -> str:
                    return entered.enter_context(cluster(None, own.cpus, own.gpus))

                yield RayTrials(own, tuple(shapes), start, may_grow=False)
            else:
                dashboard = entered.enter_context(cluster(options.address, None, None))
                own = cluster_resources()
                shapes = shapes_without_plan(own, options.lanes, options.workers_per_lane, may_grow=True)
                yield RayTrials(own, tuple(shapes), lambda: dashboard, may_grow=options.lanes is None)


class _Lanes(NamedTuple):
    shapes: Sequence[LaneShape]
    queue: Queue
    plan: Plan | None


def _lanes(job: TrainingJob, resources: Resources, events: Events) -> _Lanes:
    """Return the lanes that were asked for, else those of the plan, else equal ones."""
    lanes, workers = job.options.lanes, job.options.workers_per_lane
    joined = job.options.address is not None
    asked = shapes_without_plan(resources, lanes, workers, may_grow=joined) if lanes or workers else None
    plan = plan_if_possible(job, Ray.ray_lanes, resources, asked, events)
    if plan is not None:
        return _Lanes([lane.shape for lane in plan.lanes], PlannedRuns(plan.queue(), job.missing), plan)
    return _Lanes(asked or shapes_without_plan(resources, None, None), ListedRuns(job.missing), None)


def _starting(lanes: int, dashboard: str) -> str:
    token = os.environ.get("RAY_AUTH_TOKEN_PATH")
    return f"starting {counted(lanes, 'lane')}; dashboard: {dashboard}, which asks for the token in {token}"


@dataclass(frozen=True)
class RayTrials:
    """Lanes of a Ray cluster that train a search's trials."""

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
    def processor(self) -> str:
        """GPUs where the cluster has any."""
        return "GPU" if self.resources.gpus else "CPU"

    @property
    def processors(self) -> float:
        """What a lane takes."""
        return self.resources.taken(self.shapes[0])

    def train(self, queue: Queue, task: WorkerTask, say: Callable[[str], None]) -> bool:
        """Train in lanes.

        Raises:
            ClusterError: the cluster can't be started, has no room for a lane, or every lane was given up.
        """
        if queue.next(0, ()) == "finished":
            return True  # a cluster takes seconds to start; a run that it gave is given again
        dashboard = self.enter()
        say(_starting(len(self.shapes), dashboard))
        return train_on_ray(queue, self.shapes, self.may_grow, task, lambda _: None, lambda *_: None)
