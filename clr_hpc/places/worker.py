"""One worker of a lane, whatever started it: it trains what the dispatcher assigns until the study has ended."""

import json
import os
import threading
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from clr_hpc.config.resources import LaneShape
from clr_hpc.config.run import RunSpec
from clr_hpc.places.job import WorkerTask
from clr_hpc.places.network import network_settings, serve_store
from clr_hpc.places.queue import Assignment
from clr_hpc.places.signals import StopOrCancelled
from clr_hpc.training.run import ExitStatus, train_run

if TYPE_CHECKING:
    import torch
    from torch.distributed import Store  # type: ignore[attr-defined]

STOP_POLL_SECONDS = 1.0
"""Between two requests of a worker whether to stop, which are not made in each step."""


@dataclass(frozen=True)
class LaneTask:
    """What the workers of a lane are given."""

    lane: int
    shape: LaneShape
    worker: WorkerTask
    group_timeout_seconds: float = 300.0


@dataclass(frozen=True)
class LaneWorker:
    """A worker's own part of its lane, and its connections to the dispatcher and the other workers."""

    rank: int
    size: int
    device: "torch.device"
    node: str
    """Id of its node in the cluster."""
    address: str
    """Address by which the other workers of the lane reach this node."""
    call: Callable[..., Any]
    """``call("run_ended", lane, outcome)`` returns what ``DispatcherActor.run_ended(lane, outcome)`` does."""
    from_first: Callable[[str], str]
    """Called by all workers of the lane together, returns the argument of the first one."""


def drain_queue(task: LaneTask, worker: LaneWorker) -> None:
    """Train what the dispatcher assigns until the study has ended.

    Raises:
        RankLostError: another worker of the lane was lost; start the lane again to resume the run.
    """
    import torch

    from clr_hpc.data.pack import Pack
    from clr_hpc.training.distributed import ProcessGroup

    torch.set_num_threads(task.shape.cpus_per_worker)
    os.environ.update(network_settings(worker.address))
    should_stop = _stop_signal(worker)
    pack = Pack.open(task.worker.pack_folder)
    place = (task.worker.place or "lane {number}").format(number=task.lane)
    queue = _QueueClient(worker, task.lane)
    queue.report_start()
    while (run := queue.next()) is not None:
        group = ProcessGroup(
            worker.rank, worker.size, worker.device, queue.store_of_run(), task.group_timeout_seconds
        )
        spec, folder = run.spec, task.worker.runs_folder / run.spec.name
        leave = StopOrCancelled(should_stop, task.worker.cancelled_folder, spec.name)
        outcome = train_run(spec, pack, folder, group, leave, task.worker.settings, place, run.until_epochs)
        queue.ended(outcome)


def _stop_signal(worker: LaneWorker) -> Callable[[], bool]:
    """Return a function that returns whether to stop, from memory: a thread asks the dispatcher."""
    stop = threading.Event()

    def ask() -> None:
        while not stop.wait(STOP_POLL_SECONDS):
            try:
                if worker.call("must_stop", worker.node):
                    stop.set()
            except Exception:
                stop.set()  # nobody is left to train for

    threading.Thread(target=ask, daemon=True).start()
    return stop.is_set


class _QueueClient:
    """A lane's connection to the queue: rank 0 asks the dispatcher and shares the answers with the other ranks."""

    def __init__(self, worker: LaneWorker, lane: int) -> None:
        self._worker, self._lane = worker, lane
        self._number = 0
        self._store = _lane_store(worker) if worker.size > 1 else None

    def report_start(self) -> None:
        """Report this lane and its nodes to the dispatcher."""
        nodes = [self._worker.node]
        if self._store is not None:
            self._store.set(f"node/{self._worker.rank}", self._worker.node)
            nodes = [self._store.get(f"node/{rank}").decode() for rank in range(self._worker.size)]
        if self._worker.rank == 0:
            self._worker.call("lane_started", self._lane, tuple(nodes))

    def next(self) -> Assignment | None:
        """Wait for the next run; None when the study has ended."""
        self._number += 1
        if self._worker.rank == 0:
            while (answer := self._worker.call("wait_for_next", self._lane)) == "wait":
                continue
            run: Assignment | None = None if answer == "finished" else answer
            if self._store is not None:
                text = "" if run is None else json.dumps([run.spec.model_dump_json(), run.until_epochs])
                self._store.set(f"run/{self._number}", text)
            return run
        assert self._store is not None
        text = self._store.get(f"run/{self._number}").decode()
        if not text:
            return None
        spec, until_epochs = json.loads(text)
        return Assignment(RunSpec.model_validate_json(spec), until_epochs)

    def store_of_run(self) -> "Store | None":
        """Return the store in which the ranks find each other for the current run."""
        from torch.distributed import PrefixStore  # type: ignore[attr-defined]

        return None if self._store is None else PrefixStore(f"group/{self._number}", self._store)

    def ended(self, outcome: ExitStatus) -> None:
        """Report the outcome of the current run."""
        if self._worker.rank == 0:
            self._worker.call("run_ended", self._lane, outcome)


def _lane_store(worker: LaneWorker) -> "Store":
    """Return the store that the workers of a lane share while it lives; rank 0 serves it."""
    from torch.distributed import TCPStore  # type: ignore[attr-defined]

    patience = timedelta(days=7)  # rank 0 may wait long for a run; when it dies the connection breaks at once
    if worker.rank != 0:
        host, port = json.loads(worker.from_first(""))
        return TCPStore(host, port, is_master=False, timeout=patience)
    store = serve_store(worker.address, patience)
    worker.from_first(json.dumps([worker.address, store.port]))
    return store
