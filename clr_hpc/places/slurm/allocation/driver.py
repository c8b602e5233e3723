"""The process that has a job's Ray cluster train: apart from the job's own, since Ray ends it when a node is lost.

It tells its parent what happens; the parent hears SLURM's signals and tells it to stop.
"""

import multiprocessing
import os
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection
from pathlib import Path
from typing import NoReturn

from clr_hpc.config.resources import LaneShape, Resources
from clr_hpc.config.run import RunSpec
from clr_hpc.places.job import WorkerTask
from clr_hpc.places.processes.forkserver import die_with_parent
from clr_hpc.places.queue import ListedRuns, PlannedRuns, Queue
from clr_hpc.places.signals import blocked_signals
from clr_hpc.training.run import ExitStatus

NODES_SECONDS = 180.0
"""After the head is up, for the other nodes; then those that are there begin, and the others may still join."""
IN_USE_SECONDS = 150.0
"""A lease that another job left when it was killed is taken over within two minutes."""


@dataclass(frozen=True)
class DriverTask:
    """What the driver is told."""

    address: str
    nodes: int
    """Those of the job."""
    runs: tuple[RunSpec, ...]
    """Those to train."""
    worker: WorkerTask
    lanes: int | None
    workers_per_lane: int | None
    rates: Path | None
    storage: Path


@dataclass(frozen=True)
class UnderWay:
    """The names of the runs that are being trained."""

    names: tuple[str, ...]


@dataclass(frozen=True)
class Ended:
    """A run ended."""

    spec: RunSpec
    outcome: ExitStatus


@dataclass(frozen=True)
class Finished:
    """All is over: whether every run has ended, or the reason for which none can be trained."""

    every_run_ended: bool = False
    error: str | None = None


@dataclass(frozen=True)
class Said:
    """Something for the job's log."""

    what: str


class Driver:
    """The process, as its parent sees it."""

    def __init__(self, task: DriverTask) -> None:
        """Start it."""
        context = multiprocessing.get_context("spawn")
        with blocked_signals():
            resource_tracker.ensure_running()  # which unblocks SIGTERM in this process
        with blocked_signals():
            self._connection, theirs = context.Pipe()
            self._process = context.Process(target=drive, args=(task, theirs), daemon=True)
            self._process.start()
        theirs.close()
        self._was_told = False

    def stop(self) -> None:
        """Have every run under way saved."""
        if not self._was_told:
            self._was_told = True
            with suppress(OSError):  # it has ended
                self._connection.send("stop")

    def rounds(self, seconds: float) -> Iterator[list["UnderWay | Ended | Finished | Said"]]:
        """Yield what it has said, again and again after so many seconds at most, until it has ended."""
        heard: list[UnderWay | Ended | Finished | Said] = []
        try:
            while True:
                if self._connection.poll(0 if heard else seconds):
                    heard.append(self._connection.recv())
                else:
                    yield heard
                    heard = []
        except (EOFError, OSError):  # its end of the pipe went with it
            yield heard

    def __enter__(self) -> "Driver":
        return self

    def __exit__(self, *_: object) -> None:
        """Kill it, where it still runs; the lanes of its cluster follow."""
        self._process.kill()
        self._process.join()
        self._connection.close()


class _Orders:
    """Whether the parent has said to stop."""

    def __init__(self, connection: Connection) -> None:
        self._connection, self._stop = connection, False

    def __call__(self) -> bool:
        if not self._stop and self._connection.poll():
            self._connection.recv()
            self._stop = True
        return self._stop


def drive(task: DriverTask, connection: Connection) -> None:
    """Train in the lanes of the cluster until every run has ended, in a process of its own."""
    die_with_parent()
    from clr_hpc.places.lanes import LaneError
    from clr_hpc.places.ray.cluster import ClusterError
    from clr_hpc.planning.throughput import RatesError

    try:
        _train(task, connection)
    except (ClusterError, LaneError, RatesError) as error:
        _leave(connection, Finished(error=str(error)))


def _leave(connection: Connection, finished: Finished) -> NoReturn:
    """Say how it ended and be gone: to take leave of Ray, in which lanes still end, takes seconds and may fail."""
    connection.send(finished)
    connection.close()
    os._exit(0)


def _train(task: DriverTask, connection: Connection) -> NoReturn:
    from clr_hpc.places.lanes import shapes_without_plan
    from clr_hpc.places.ray.place import cluster, cluster_resources, train_on_ray, wait_for_nodes

    should_stop = _Orders(connection)
    with cluster(task.address, None, None):
        found = wait_for_nodes(task.nodes, NODES_SECONDS, should_stop)
        missing = f"; {task.nodes - found} did not come in {NODES_SECONDS:g} s" if found < task.nodes else ""
        connection.send(Said(f"{found} of {task.nodes} nodes are up{missing}"))
        own = cluster_resources()
        if task.rates is not None and task.lanes is None and task.workers_per_lane is None:
            shapes, queue = _planned(task, own)
        else:
            shapes = shapes_without_plan(own, task.lanes, task.workers_per_lane, may_grow=True)
            queue = ListedRuns(task.runs)
        connection.send(Said(f"starting {len(shapes)} lanes, the first of {shapes[0].text}"))
        every_run_ended = train_on_ray(
            queue,
            shapes,
            grow=task.lanes is None,
            task=task.worker,
            on_poll=lambda specs: connection.send(UnderWay(tuple(sorted(spec.name for spec in specs)))),
            on_end=lambda spec, outcome: connection.send(Ended(spec, outcome)),
            should_stop=should_stop,
            storage=task.storage,
            in_use_seconds=IN_USE_SECONDS,
        )
        _leave(connection, Finished(every_run_ended))


def _planned(task: DriverTask, resources: Resources) -> tuple[Sequence[LaneShape], Queue]:
    from clr_hpc.planning.plan import plan_with_rates, write_plan
    from clr_hpc.planning.throughput import read_rates

    assert task.rates is not None
    plan = plan_with_rates(task.runs, task.worker.pack_folder, "ray", resources, read_rates(task.rates))
    write_plan(task.worker.runs_folder.parent, plan, "slurm")
    return [lane.shape for lane in plan.lanes], PlannedRuns(plan.queue(), task.runs)
