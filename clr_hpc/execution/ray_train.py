"""``--on ray``: the runs of a study spread over a Ray cluster, by lanes that start once and then stay warm.

A lane is one Ray Train ``TorchTrainer``, whose workers drain the study's queue until it is empty. Starting one
costs some ten seconds, the next run of a warm lane a fraction of one. This is the only file that imports ray.
"""

import json
import math
import os
import shutil
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from clr_hpc.execution.dispatcher import Dispatcher, News
from clr_hpc.execution.lanes import NodeCapacity, fitting
from clr_hpc.execution.ray_cluster import (
    OBJECT_STORE_BYTES,
    ClusterError,
    joining_settings,
    private_cluster_folder,
)
from clr_hpc.execution.study_queue import StudyQueue
from clr_hpc.execution.worker import Outcome, train_run
from clr_hpc.spec.resources import LaneShape, Resources
from clr_hpc.spec.run import RunSpec

if TYPE_CHECKING:
    import torch
    from torch.distributed import Store  # type: ignore[attr-defined]

POLL_SECONDS = 0.5
STOP_POLL_SECONDS = 1.0
"""How often each worker asks whether to stop: a question a second, not one a step."""
WAIT_SECONDS = 0.2
"""Between two questions of a lane for which nothing is ready, and before it tries a run again that was in use."""
GOODBYE_SECONDS = 20.0
"""For lanes to end by themselves when the study has; then the rest is cut off with the cluster."""
STOP_SECONDS = 60.0
"""For runs to be saved after Ctrl-C; one whose lane has just died is saved already."""
RESTARTS = 4
"""By Ray Train, after which a lane gets a new trainer, or is given up where its workers never came up."""


@dataclass(frozen=True)
class LaneTask:
    """What a lane's workers are told."""

    lane: int
    shape: LaneShape
    pack_folder: Path
    runs_folder: Path
    checkpoint_seconds: float
    group_timeout_seconds: float = 300.0


@contextmanager
def cluster(address: str | None, cpus: int | None, gpus: int | None) -> Iterator[str]:
    """Start a cluster for this machine alone, or join the one at ``address``; yield the dashboard's URL.

    What this command started ends with it; a cluster that it joined stays as it is.

    Raises:
        ClusterError: ray is not installed, or the cluster can't be started or joined.
    """
    with ExitStack() as stack:
        if address is None:
            folder = stack.enter_context(private_cluster_folder())
            where: dict[str, Any] = {
                "address": "local",
                "num_cpus": cpus,
                "num_gpus": gpus,
                "object_store_memory": OBJECT_STORE_BYTES,
                "dashboard_host": "127.0.0.1",
                # without the dashboard's process, nobody clears away the placement groups of a lane that died
                "include_dashboard": True,
                "_temp_dir": str(folder / "ray"),
            }
        else:
            stack.enter_context(joining_settings())
            where = {"address": address}
        # the variables above count when ray is imported
        ray = _import_ray()
        try:
            context = ray.init(**where, log_to_driver=False, logging_level="ERROR")
        except (ConnectionError, RuntimeError, ValueError, ray.exceptions.RayError) as error:
            raise ClusterError(f"no Ray cluster at {address or 'this machine'}: {error}") from error
        stack.callback(ray.shutdown)
        yield f"http://{context.dashboard_url}" if context.dashboard_url else ""


def cluster_resources() -> Resources:
    """Return what the cluster that this process has joined has, as nodes like the smallest of them."""
    nodes = [node for node in _nodes() if node.cpus >= 1]
    return Resources(
        gpus=len(nodes) * int(min(node.gpus for node in nodes)),
        cpus=len(nodes) * int(min(node.cpus for node in nodes)),
        nodes=len(nodes),
    )


def _import_ray() -> Any:
    try:
        import ray
        import ray.train.torch
    except ImportError as error:
        raise ClusterError(f"{error}; --on ray needs: pip install 'clr-hpc[ray]'") from error
    return ray


def train_on_ray(
    queue: StudyQueue,
    specs: Mapping[str, RunSpec],
    shapes: Sequence[LaneShape],
    grow: bool,
    task: LaneTask,
    on_poll: Callable[[dict[int, str]], None],
    on_end: Callable[[RunSpec, Outcome], None],
) -> bool:
    """Train runs in the lanes of the cluster that this process has joined until all have ended.

    Args:
        queue: the runs that are not done, planned for the lanes of ``shapes``.
        specs: every run's spec by its name.
        shapes: the lanes to start, as many as there is room for.
        grow: start more lanes like the last one while the cluster has room, also on nodes that join later.
        task: what all lanes are told; ``lane`` and ``shape`` are set for each.
        on_poll: called about twice a second with the name of the run of each lane.
        on_end: called when a run ends.

    Returns:
        False where Ctrl-C stopped it; every run then under way has saved a checkpoint.

    Raises:
        ClusterError: there is no room for a single lane, or every lane was given up.
    """
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
    actor = ray.remote(num_cpus=0)(Dispatcher).options(scheduling_strategy=here)
    dispatcher = actor.remote(queue, dict(specs), task.runs_folder)
    storage = task.runs_folder.parent / ".ray" / uuid4().hex[:8]
    lanes = _Lanes(task, storage, list(shapes), grow, dispatcher)
    stopping = threading.Event()
    stop_by = math.inf
    with _on_interrupt(stopping):
        while True:
            nodes = _nodes()
            lanes.keep_up(nodes)
            lanes.report_those_without_room()
            news: News = ray.get(dispatcher.news.remote(frozenset(node.node for node in nodes)))
            on_poll(news.under_way)
            for spec, outcome in news.ended:
                on_end(spec, outcome)
            if stopping.is_set() and stop_by == math.inf:
                ray.get(dispatcher.stop.remote())
                stop_by = time.monotonic() + STOP_SECONDS
            stopped = stopping.is_set() and (not news.under_way or time.monotonic() > stop_by)
            if news.is_finished or stopped:
                break
            time.sleep(POLL_SECONDS)
    lanes.join(GOODBYE_SECONDS)
    shutil.rmtree(storage, ignore_errors=True)
    return news.is_finished


class _Lanes:
    """The trainers of a study, each followed by a thread of this process."""

    def __init__(
        self, task: LaneTask, storage: Path, shapes: list[LaneShape], grow: bool, dispatcher: Any
    ) -> None:
        self._task, self._storage, self._shapes, self._grow = task, storage, shapes, grow
        self._dispatcher = dispatcher
        self._threads: list[threading.Thread] = []
        self._errors: dict[int, Exception] = {}
        self._given_up: set[int] = set()
        self._reported = 0
        """So many lanes have been started or reported as without room."""

    def keep_up(self, nodes: list[NodeCapacity]) -> None:
        """Start the lanes that have found room since the last call.

        Raises:
            ClusterError: not even one has room, or all were given up.
        """
        wanted = [*self._shapes, *([self._shapes[-1]] * _GROWTH if self._grow else [])]
        room_for = fitting(wanted, nodes)
        if not self._threads and not room_for:
            first = wanted[0]
            raise ClusterError(
                f"no room for a lane of {first.text} "
                f"on {len(nodes)} nodes: {', '.join(f'{n.cpus:g} CPUs, {n.gpus:g} GPUs' for n in nodes)}; "
                "ask for smaller or fewer lanes"
            )
        for lane in range(len(self._threads), len(room_for)):
            thread = threading.Thread(target=self._run, args=(lane, room_for[lane]), daemon=True)
            self._threads.append(thread)
            thread.start()
        if self._threads and len(self._given_up) == len(self._threads):
            raise ClusterError(f"every lane was given up; the last one said: {self._errors[max(self._given_up)]}")

    def report_those_without_room(self) -> None:
        """Let others have the runs of lanes that were planned and have no room."""
        import ray

        without_room = range(max(len(self._threads), self._reported), len(self._shapes))
        ray.get([self._dispatcher.lane_gone.remote(lane) for lane in without_room])
        self._reported = max(self._reported, len(self._shapes))

    def join(self, seconds: float) -> None:
        """Wait until the lanes have ended by themselves."""
        until = time.monotonic() + seconds
        for thread in self._threads:
            thread.join(max(0.0, until - time.monotonic()))

    def _run(self, lane: int, shape: LaneShape) -> None:
        import ray

        starts_before = -1
        while self._starts(lane) > starts_before:
            starts_before = self._starts(lane)
            try:
                _trainer(replace(self._task, lane=lane, shape=shape), self._storage, self._dispatcher).fit()
            except Exception as error:  # whatever it was, the other lanes go on
                self._errors[lane] = error
            else:
                return
        ray.get(self._dispatcher.lane_gone.remote(lane))
        self._given_up.add(lane)

    def _starts(self, lane: int) -> int:
        import ray

        starts: int = ray.get(self._dispatcher.starts.remote(lane))
        return starts


def _trainer(task: LaneTask, storage: Path, dispatcher: Any) -> Any:
    from ray.train import FailureConfig, RunConfig, ScalingConfig
    from ray.train.torch import TorchConfig, TorchTrainer

    shape = task.shape
    on_gpu = shape.gpus_per_worker > 0
    resources = {"CPU": shape.cpus_per_worker} | ({"GPU": shape.gpus_per_worker} if on_gpu else {})
    return TorchTrainer(
        _drain_queue,
        train_loop_config={"task": task, "dispatcher": dispatcher},
        torch_config=TorchConfig("nccl" if on_gpu else "gloo", timeout_s=int(task.group_timeout_seconds)),
        scaling_config=ScalingConfig(num_workers=shape.workers, use_gpu=on_gpu, resources_per_worker=resources),
        run_config=RunConfig(
            # a name that was used before would be resumed from Ray's own records; ours are the run folders
            name=f"lane-{task.lane}-{uuid4().hex[:8]}",
            storage_path=str(storage),
            failure_config=FailureConfig(max_failures=RESTARTS, controller_failure_limit=RESTARTS),
        ),
    )


_GROWTH = 10_000
"""More lanes than any cluster has room for."""


def _nodes() -> list[NodeCapacity]:
    import ray

    return [
        NodeCapacity(node["NodeID"], node["Resources"].get("CPU", 0.0), node["Resources"].get("GPU", 0.0))
        for node in ray.nodes()
        if node["Alive"]
    ]


@contextmanager
def _on_interrupt(stopping: threading.Event) -> Iterator[None]:
    def handle(_number: int, _frame: FrameType | None) -> None:
        if stopping.is_set():
            raise KeyboardInterrupt
        stopping.set()

    old = signal.signal(signal.SIGINT, handle)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, old)


# what follows runs in the workers


def _drain_queue(config: dict[str, Any]) -> None:
    """Train what the dispatcher gives until the study has ended: one worker of a lane."""
    import ray
    import torch
    import torch.distributed as dist
    from ray import train

    from clr_hpc.data.packed import Pack
    from clr_hpc.training.world import World

    task: LaneTask = config["task"]
    rank, size = train.get_context().get_world_rank(), train.get_context().get_world_size()
    torch.set_num_threads(task.shape.cpus_per_worker)
    device = _device(task.shape)
    if dist.is_initialized():
        dist.destroy_process_group()  # each run has a group of its own, so that it can fail alone
    node = ray.get_runtime_context().get_node_id()
    should_stop = _stop_signal(config["dispatcher"], node)
    pack = Pack.open(task.pack_folder)
    desk = _Desk(config["dispatcher"], task.lane, rank, size)
    desk.arrive(node)
    while (spec := desk.next_run()) is not None:
        world = World(rank, size, device, desk.store_of_run(), task.group_timeout_seconds)
        folder, place = task.runs_folder / spec.name, f"lane {task.lane}"
        desk.run_ended(train_run(spec, pack, folder, world, should_stop, task.checkpoint_seconds, place))


def _device(shape: LaneShape) -> "torch.device":
    import torch
    from ray.train.torch import get_device

    return get_device() if shape.gpus_per_worker > 0 else torch.device("cpu")


def _stop_signal(dispatcher: Any, node: str) -> Callable[[], bool]:
    """Return a function that says whether to stop, answered from memory: a thread asks the dispatcher."""
    import ray

    stop = threading.Event()

    def ask() -> None:
        while not stop.wait(STOP_POLL_SECONDS):
            try:
                if ray.get(dispatcher.must_stop.remote(node)):
                    stop.set()
            except ray.exceptions.RayError:
                stop.set()  # nobody is left to train for

    threading.Thread(target=ask, daemon=True).start()
    return stop.is_set


class _Desk:
    """Where a lane's workers learn what they train next: rank 0 asks the dispatcher and tells the others."""

    def __init__(self, dispatcher: Any, lane: int, rank: int, size: int) -> None:
        self._dispatcher, self._lane, self._rank, self._size = dispatcher, lane, rank, size
        self._number = 0
        self._store = _lane_store(rank) if size > 1 else None

    def arrive(self, node: str) -> None:
        """Report this lane and the nodes it is on."""
        import ray

        nodes = [node]
        if self._store is not None:
            self._store.set(f"node/{self._rank}", node)
            nodes = [self._store.get(f"node/{rank}").decode() for rank in range(self._size)]
        if self._rank == 0:
            ray.get(self._dispatcher.lane_started.remote(self._lane, tuple(nodes)))

    def next_run(self) -> RunSpec | None:
        """Wait for the next run; None when the study has ended."""
        self._number += 1
        if self._rank == 0:
            spec = self._ask()
            self._tell("" if spec is None else spec.model_dump_json())
            return spec
        assert self._store is not None
        text = self._store.get(f"run/{self._number}").decode()
        return RunSpec.model_validate_json(text) if text else None

    def store_of_run(self) -> "Store | None":
        """Return a store in which the ranks of the run that was given last find each other."""
        from torch.distributed import PrefixStore  # type: ignore[attr-defined]

        return None if self._store is None else PrefixStore(f"group/{self._number}", self._store)

    def run_ended(self, outcome: Outcome) -> None:
        """Report what became of the run that was given last."""
        import ray

        if self._rank == 0:
            ray.get(self._dispatcher.run_ended.remote(self._lane, outcome))
            if outcome == "in use":
                time.sleep(WAIT_SECONDS)

    def _ask(self) -> RunSpec | None:
        import ray

        while True:
            answer = ray.get(self._dispatcher.next_run.remote(self._lane))
            if answer == "finished":
                return None
            if answer != "wait":
                spec: RunSpec = answer
                return spec
            time.sleep(WAIT_SECONDS)

    def _tell(self, text: str) -> None:
        if self._store is not None:
            self._store.set(f"run/{self._number}", text)


def _lane_store(rank: int) -> "Store":
    """Return the store that the workers of a lane share while it lives; rank 0 serves it.

    It listens on the address alone by which the node's workers reach each other.
    """
    import ray
    from ray.train.collective import broadcast_from_rank_zero
    from torch.distributed import TCPStore  # type: ignore[attr-defined]

    address = ray.util.get_node_ip_address()
    patience = timedelta(days=7)  # rank 0 may wait long for a run; when it dies the connection breaks at once
    if rank != 0:
        host, port = json.loads(broadcast_from_rank_zero(""))
        return TCPStore(host, port, is_master=False, timeout=patience)
    listening = socket.create_server((address, 0))
    port = listening.getsockname()[1]
    store = TCPStore(
        address,
        port,
        is_master=True,
        wait_for_workers=False,
        timeout=patience,
        master_listen_fd=os.dup(listening.fileno()),
    )
    listening.close()
    broadcast_from_rank_zero(json.dumps([address, port]))
    return store
