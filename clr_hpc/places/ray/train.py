"""A Ray cluster, and the training of runs in its lanes, which start once and then stay warm.

A lane is one Ray Train ``TorchTrainer``, whose workers drain the study's queue until it is empty. Starting one
costs some ten seconds, the next run of a warm lane a fraction of one. This is the only file that imports ray.
"""

import math
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Any
from uuid import uuid4

from clr_hpc.config.resources import LaneShape, Resources
from clr_hpc.config.run import RunSpec
from clr_hpc.places.job import WorkerTask
from clr_hpc.places.lanes import NodeCapacity
from clr_hpc.places.queue import Assignments, Queue
from clr_hpc.places.ray.cluster import (
    OBJECT_STORE_BYTES,
    ClusterError,
    check_gpus,
    joining_settings,
    private_cluster_folder,
)
from clr_hpc.places.ray.dispatcher import DispatcherActor, DispatcherState, assign
from clr_hpc.places.ray.lanes import LaneThreads
from clr_hpc.places.signals import stop_on_interrupt
from clr_hpc.places.worker import LaneTask, LaneWorker, drain_queue
from clr_hpc.training.run import ExitStatus

POLL_SECONDS = 0.5
MOST_REQUESTS = 10_000
"""Limit to the requests that wait in the dispatcher at once, one per lane."""
GOODBYE_SECONDS = 20.0
"""Time for lanes to end by themselves after the study; the rest ends with the cluster."""
STOP_SECONDS = 60.0
"""Time for runs to be saved after Ctrl-C; one whose lane has just died is saved already."""
RESTARTS = 4
"""Restarts by Ray Train, after which a lane gets a new trainer, or is given up where its workers never started."""


@contextmanager
def cluster(address: str | None, cpus: int | None, gpus: int | None) -> Iterator[str]:
    """Start a cluster for this machine alone, or join the one at ``address``; yield the dashboard's URL.

    What this command started ends with it; a cluster that it joined stays as it is.

    Raises:
        ClusterError: ray is not installed, or the cluster can't be started or joined.
    """
    with ExitStack() as stack:
        if address is None:
            check_gpus(gpus)
            folder = stack.enter_context(private_cluster_folder())
            where: dict[str, Any] = {
                "address": "local",
                "num_cpus": cpus,
                "num_gpus": gpus,
                "object_store_memory": OBJECT_STORE_BYTES,
                "dashboard_host": "127.0.0.1",
                # only the dashboard's process removes the placement groups of a lane that died
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
    """Return what the cluster that this process has joined has, as nodes like the smallest of them.

    Raises:
        ClusterError: no node has a CPU.
    """
    nodes = [node for node in _nodes() if node.cpus >= 1]
    if not nodes:
        raise ClusterError("no node of the cluster has a CPU to train on; start one with ray start --num-cpus 1")
    return Resources(
        gpus=len(nodes) * int(min(node.gpus for node in nodes)),
        cpus=len(nodes) * int(min(node.cpus for node in nodes)),
        nodes=len(nodes),
    )


def wait_for_nodes(count: int, seconds: float, should_stop: Callable[[], bool]) -> int:
    """Wait until the cluster has so many nodes, or the time is out; return how many it has."""
    deadline = time.monotonic() + seconds
    while (found := len(_nodes())) < count and time.monotonic() < deadline and not should_stop():
        time.sleep(POLL_SECONDS)
    return found


def _import_ray() -> Any:
    try:
        import ray
        import ray.train.torch
    except ImportError as error:
        raise ClusterError(f"{error}; --on ray needs: pip install 'clr-hpc[ray]'") from error
    return ray


def train_on_ray(
    queue: Queue,
    shapes: Sequence[LaneShape],
    grow: bool,
    task: WorkerTask,
    on_poll: Callable[[set[RunSpec]], None],
    on_end: Callable[[RunSpec, ExitStatus], None],
    should_stop: Callable[[], bool] = lambda: False,
    storage: Path | None = None,
    patience_seconds: float = math.inf,
) -> bool:
    """Train what a queue assigns in the lanes of the cluster that this process has joined until it is finished.

    The queue stays in this process: an actor may outlive a killed command for a moment, and a journal that the
    queue writes has one writer.

    Args:
        queue: asked for the next run whenever a lane is free.
        shapes: the lanes to start, as many as there is room for.
        grow: start more lanes like the last one while the cluster has room, also on nodes that join later.
        task: the same for all lanes.
        on_poll: called at least twice a second with the runs that are being trained.
        on_end: called when a run ends.
        should_stop: called at least twice a second; True has the effect of Ctrl-C.
        storage: where Ray Train keeps its files; the caller removes it, and ends the cluster
            without taking leave. None: a folder that is removed at the end.
        patience_seconds: after which a run that another process trains is left to it.

    Returns:
        False where Ctrl-C or ``should_stop`` stopped it; every run then under way has saved a checkpoint.

    Raises:
        ClusterError: there is no room for a single lane, or every lane was given up.
    """
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
    actor = ray.remote(num_cpus=0, max_concurrency=MOST_REQUESTS)(DispatcherActor)
    dispatcher = actor.options(scheduling_strategy=here).remote()
    runs = Assignments(queue, task.runs_folder, task.cancelled_folder, patience_seconds)
    own_storage = task.runs_folder.parent / ".ray" / uuid4().hex[:8]
    ask = partial(_ask, dispatcher)

    def train(lane: int, shape: LaneShape) -> None:
        _trainer(LaneTask(lane, shape, task), storage or own_storage, dispatcher).fit()

    lanes = LaneThreads(shapes, grow, train, ask)
    stop_by = math.inf
    is_finished = False
    with stop_on_interrupt() as stop:
        while True:
            nodes = _nodes()
            lanes.keep_up(nodes)
            lanes.report_those_without_room()
            stop.is_set |= should_stop()
            if stop.is_set and stop_by == math.inf:
                ask("stop")
                stop_by = time.monotonic() + STOP_SECONDS
            state: DispatcherState = ask("wait_for_state", frozenset(node.node for node in nodes))
            on_poll(set(state.busy.values()))
            answers = assign(runs, state)
            is_finished = answers.is_last
            for spec, outcome in answers.told:
                on_end(spec, outcome)
            ask("assign", answers.assignments, is_finished)
            is_stopped = stop_by < math.inf and not state.busy
            if is_finished or is_stopped or time.monotonic() > stop_by:
                break
    lanes.end(GOODBYE_SECONDS if storage is None else 0.0)  # the caller's cluster is about to end anyway
    shutil.rmtree(own_storage, ignore_errors=True)
    return is_finished


def _ask(dispatcher: Any, question: str, *values: Any) -> Any:
    """Call a method of the dispatcher's actor and wait for its answer."""
    import ray

    return ray.get(getattr(dispatcher, question).remote(*values))


def _trainer(task: LaneTask, storage: Path, dispatcher: Any) -> Any:
    from ray.train import FailureConfig, RunConfig, ScalingConfig
    from ray.train.backend import Backend
    from ray.train.torch import TorchConfig, TorchTrainer

    class NoGroup(Backend):  # type: ignore[misc]
        """Starts no process group: each run makes its own, and Ray's store would listen on all addresses."""

        share_cuda_visible_devices = True  # as Ray's own backend for torch, whose ranks see each other's GPUs

    class NoGroupConfig(TorchConfig):  # type: ignore[misc]
        backend_cls = NoGroup

    shape = task.shape
    on_gpu = shape.gpus_per_worker > 0
    resources = {"CPU": shape.cpus_per_worker} | ({"GPU": shape.gpus_per_worker} if on_gpu else {})
    return TorchTrainer(
        _drain_queue,
        train_loop_config={"task": task, "dispatcher": dispatcher},
        torch_config=NoGroupConfig(),
        scaling_config=ScalingConfig(num_workers=shape.workers, use_gpu=on_gpu, resources_per_worker=resources),
        run_config=RunConfig(
            # a name that was used before would be resumed from Ray's own records; ours are the run folders
            name=f"lane-{task.lane}-{uuid4().hex[:8]}",
            storage_path=str(storage),
            failure_config=FailureConfig(max_failures=RESTARTS, controller_failure_limit=RESTARTS),
        ),
    )


def _nodes() -> list[NodeCapacity]:
    import ray

    return [
        NodeCapacity(node["NodeID"], node["Resources"].get("CPU", 0.0), node["Resources"].get("GPU", 0.0))
        for node in ray.nodes()
        if node["Alive"]
    ]


# what follows runs in the workers


def _drain_queue(config: dict[str, Any]) -> None:
    """Be one worker of a lane until the study has ended."""
    import ray
    import torch
    from ray.train import get_context
    from ray.train.collective import broadcast_from_rank_zero
    from ray.train.torch import get_device

    task: LaneTask = config["task"]
    context = get_context()
    worker = LaneWorker(
        rank=context.get_world_rank(),
        size=context.get_world_size(),
        device=get_device() if task.shape.gpus_per_worker > 0 else torch.device("cpu"),
        node=ray.get_runtime_context().get_node_id(),
        address=ray.util.get_node_ip_address(),
        call=partial(_ask, config["dispatcher"]),
        from_first=broadcast_from_rank_zero,
    )
    drain_queue(task, worker)
