"""One worker of a lane, whatever started it: it trains what the dispatcher gives until the study has ended."""

import json
import os
import socket
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from clr_hpc.config.resources import LaneShape
from clr_hpc.config.run import RunSpec
from clr_hpc.places.job import GivenRun, StopOrCancelled, WorkerTask
from clr_hpc.training.run import ExitStatus, train_run

if TYPE_CHECKING:
    import torch
    from torch.distributed import Store  # type: ignore[attr-defined]

STOP_POLL_SECONDS = 1.0
"""How often each worker asks whether to stop: a question a second, not one a step."""
WAIT_SECONDS = 0.2
"""Between two questions of a lane for which nothing is ready, and before it tries a run again that was in use."""


@dataclass(frozen=True)
class LaneTask:
    """What a lane's workers are given."""

    lane: int
    shape: LaneShape
    worker: WorkerTask
    group_timeout_seconds: float = 300.0


@dataclass(frozen=True)
class LaneWorker:
    """What a worker knows of itself, and how it talks to the dispatcher and the other workers of its lane."""

    rank: int
    size: int
    device: "torch.device"
    node: str
    """An id, as the dispatcher is told which nodes are alive."""
    address: str
    """By which the other workers of the lane reach this node."""
    call: Callable[..., Any]
    """``call("next_run", lane)`` returns what ``Dispatcher.next_run(lane)`` does."""
    from_first: Callable[[str], str]
    """Called by all workers of the lane together, returns what the first one gave."""


def drain_queue(task: LaneTask, worker: LaneWorker) -> None:
    """Train what the dispatcher gives until the study has ended.

    Raises:
        RankLostError: another worker of the lane was lost; start the lane anew, and the run goes on.
    """
    import torch
    import torch.distributed as dist

    from clr_hpc.data.pack import Pack
    from clr_hpc.training.distributed import ProcessGroup

    torch.set_num_threads(task.shape.cpus_per_worker)
    if dist.is_initialized():
        dist.destroy_process_group()  # each run has a group of its own, so that it can fail alone
    should_stop = _stop_signal(worker)
    pack = Pack.open(task.worker.pack_folder)
    place = (task.worker.place or "lane {number}").format(number=task.lane)
    desk = _Desk(worker, task.lane)
    desk.arrive()
    while (run := desk.next_run()) is not None:
        group = ProcessGroup(
            worker.rank, worker.size, worker.device, desk.store_of_run(), task.group_timeout_seconds
        )
        folder = task.worker.runs_folder / run.spec.name
        leave = StopOrCancelled(should_stop, task.worker.cancelled_folder, run.spec.name)
        outcome = train_run(run.spec, pack, folder, group, leave, task.worker.settings, place, run.until_epochs)
        desk.run_ended(outcome)


def _stop_signal(worker: LaneWorker) -> Callable[[], bool]:
    """Return a function that says whether to stop, answered from memory: a thread asks the dispatcher."""
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


class _Desk:
    """Where a lane's workers learn what they train next: rank 0 asks the dispatcher and tells the others."""

    def __init__(self, worker: LaneWorker, lane: int) -> None:
        self._worker, self._lane = worker, lane
        self._number = 0
        self._store = _lane_store(worker) if worker.size > 1 else None

    def arrive(self) -> None:
        """Report this lane and the nodes it is on."""
        nodes = [self._worker.node]
        if self._store is not None:
            self._store.set(f"node/{self._worker.rank}", self._worker.node)
            nodes = [self._store.get(f"node/{rank}").decode() for rank in range(self._worker.size)]
        if self._worker.rank == 0:
            self._worker.call("lane_started", self._lane, tuple(nodes))

    def next_run(self) -> GivenRun | None:
        """Wait for the next run; None when the study has ended."""
        self._number += 1
        if self._worker.rank == 0:
            run = self._ask()
            self._tell("" if run is None else json.dumps([run.spec.model_dump_json(), run.until_epochs]))
            return run
        assert self._store is not None
        text = self._store.get(f"run/{self._number}").decode()
        if not text:
            return None
        spec, until_epochs = json.loads(text)
        return GivenRun(RunSpec.model_validate_json(spec), until_epochs)

    def store_of_run(self) -> "Store | None":
        """Return a store in which the ranks of the run that was given last find each other."""
        from torch.distributed import PrefixStore  # type: ignore[attr-defined]

        return None if self._store is None else PrefixStore(f"group/{self._number}", self._store)

    def run_ended(self, outcome: ExitStatus) -> None:
        """Report what became of the run that was given last."""
        if self._worker.rank == 0:
            self._worker.call("run_ended", self._lane, outcome)
            if outcome == "in use":
                time.sleep(WAIT_SECONDS)

    def _ask(self) -> GivenRun | None:
        while True:
            answer = self._worker.call("next_run", self._lane)
            if answer == "finished":
                return None
            if answer != "wait":
                run: GivenRun = answer
                return run
            time.sleep(WAIT_SECONDS)

    def _tell(self, text: str) -> None:
        if self._store is not None:
            self._store.set(f"run/{self._number}", text)


def _lane_store(worker: LaneWorker) -> "Store":
    """Return the store that the workers of a lane share while it lives; rank 0 serves it.

    It listens on the address alone by which the lane's workers reach each other.
    """
    from torch.distributed import TCPStore  # type: ignore[attr-defined]

    patience = timedelta(days=7)  # rank 0 may wait long for a run; when it dies the connection breaks at once
    if worker.rank != 0:
        host, port = json.loads(worker.from_first(""))
        return TCPStore(host, port, is_master=False, timeout=patience)
    with socket.create_server((worker.address, 0)) as listening:
        port = listening.getsockname()[1]
        store = TCPStore(
            worker.address,
            port,
            is_master=True,
            wait_for_workers=False,
            timeout=patience,
            master_listen_fd=os.dup(listening.fileno()),
        )
    worker.from_first(json.dumps([worker.address, port]))
    return store
