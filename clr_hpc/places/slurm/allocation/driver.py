"""The process that trains in a job's Ray cluster, apart from the job's own, since Ray ends it with its node's Ray.

It reports to its parent, which handles SLURM's signals and requests stops.
"""

import multiprocessing
import os
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Literal, NoReturn

from clr_hpc.config.resources import LaneShape, Resources
from clr_hpc.config.run import RunSpec
from clr_hpc.places.job import WorkerTask
from clr_hpc.places.processes.forkserver import die_with_parent
from clr_hpc.places.queue import ListedRuns, PlannedRuns, Queue
from clr_hpc.places.signals import blocked_signals
from clr_hpc.places.slurm.ledger import Submission
from clr_hpc.training.run import ExitStatus

NODES_SECONDS = 180.0
"""Wait for the other nodes. Then those that are there begin, and the others may still join."""
PATIENCE_SECONDS = 150.0
"""After which a run in use is left to its process: the lease of a killed job is taken over within two minutes."""


@dataclass(frozen=True)
class DriverTask:
    """What to train, and where."""

    address: str
    """``host:port`` of the head."""
    nodes: int
    runs: tuple[RunSpec, ...]
    worker: WorkerTask
    submission: Submission
    storage: Path


Message = (
    tuple[Literal["log"], str]
    | tuple[Literal["training"], tuple[str, ...]]
    | tuple[Literal["run ended"], RunSpec, ExitStatus]
    | tuple[Literal["over"], bool]
    | tuple[Literal["failed"], str]
)
"""Line for the job's log; names of the runs in training; outcome of a run; at the end whether every run has ended,
or why none can be trained."""


class Driver:
    """The process, from its parent's side."""

    def __init__(self, task: DriverTask) -> None:
        """Start the process."""
        context = multiprocessing.get_context("spawn")
        with blocked_signals():
            resource_tracker.ensure_running()  # which unblocks SIGTERM in this process
        with blocked_signals():
            self._connection, theirs = context.Pipe()
            self._process = context.Process(target=drive, args=(task, theirs), daemon=True)
            self._process.start()
        theirs.close()
        self._is_stopping = False

    def stop(self) -> None:
        """Have every run under way saved."""
        if not self._is_stopping:
            self._is_stopping = True
            with suppress(OSError):  # it has ended
                self._connection.send("stop")

    def rounds(self, seconds: float) -> Iterator[list[Message]]:
        """Yield its new messages, after so many seconds at most, until it has ended."""
        messages: list[Message] = []
        try:
            while True:
                if self._connection.poll(0 if messages else seconds):
                    messages.append(self._connection.recv())
                else:
                    yield messages
                    messages = []
        except (EOFError, OSError):  # its end of the pipe went with it
            yield messages

    def __enter__(self) -> "Driver":
        return self

    def __exit__(self, *_: object) -> None:
        """Kill it, where it still runs; the lanes of its cluster follow."""
        self._process.kill()
        self._process.join()
        self._connection.close()


class _StopRequest:
    """Whether the parent has requested a stop."""

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
    from clr_hpc.planning.throughput import ThroughputError

    try:
        _train(task, connection)
    except (ClusterError, LaneError, ThroughputError) as error:
        _leave(connection, ("failed", str(error)))


def _leave(connection: Connection, last: Message) -> NoReturn:
    """Report the end and exit at once: to disconnect from Ray while lanes end takes seconds and may fail."""
    connection.send(last)
    connection.close()
    os._exit(0)


def _train(task: DriverTask, connection: Connection) -> NoReturn:
    from clr_hpc.places.lanes import shapes_without_plan
    from clr_hpc.places.ray.train import cluster, cluster_resources, train_on_ray, wait_for_nodes

    should_stop = _StopRequest(connection)
    with cluster(task.address, None, None):
        found = wait_for_nodes(task.nodes, NODES_SECONDS, should_stop)
        missing = f"; {task.nodes - found} did not come in {NODES_SECONDS:g} s" if found < task.nodes else ""
        connection.send(("log", f"{found} of {task.nodes} nodes are up{missing}"))
        own = cluster_resources()
        lanes, workers, rates = task.submission.lanes, task.submission.workers_per_lane, task.submission.rates
        if rates is not None and lanes is None and workers is None:
            shapes, queue = _planned(task, own, Path(rates))
        else:
            shapes = shapes_without_plan(own, lanes, workers, may_grow=True)
            queue = ListedRuns(task.runs)
        connection.send(("log", f"starting {len(shapes)} lanes, the first of {shapes[0].text}"))
        every_run_ended = train_on_ray(
            queue,
            shapes,
            grow=lanes is None,
            task=task.worker,
            on_poll=lambda specs: connection.send(("training", tuple(spec.name for spec in specs))),
            on_end=lambda spec, outcome: connection.send(("run ended", spec, outcome)),
            should_stop=should_stop,
            storage=task.storage,
            patience_seconds=PATIENCE_SECONDS,
        )
        _leave(connection, ("over", every_run_ended))


def _planned(task: DriverTask, resources: Resources, rates: Path) -> tuple[Sequence[LaneShape], Queue]:
    from clr_hpc.planning.plan import plan_runs, write_plan
    from clr_hpc.planning.throughput import read_throughput

    plan = plan_runs(task.runs, task.worker.pack_folder, True, resources, read_throughput(rates))
    write_plan(task.worker.runs_folder.parent, plan, "slurm")
    return [lane.shape for lane in plan.lanes], PlannedRuns(plan.queue(), task.runs)
