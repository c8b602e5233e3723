"""``--on here``: the runs of a study on this machine, several at a time, each in a process that stays warm.

As many runs as cores, of one thread each, train more images a second than one run on all cores: small networks on
small images don't keep several cores busy. On GPUs one process is started for each.
"""

import os
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from clr_hpc.config.resources import Resources
from clr_hpc.config.run import RunSpec
from clr_hpc.data.build import usable_cores
from clr_hpc.places.job import WorkerTask
from clr_hpc.places.processes.pool import drain
from clr_hpc.places.queue import ListedRuns, Queue
from clr_hpc.places.signals import stop_on_interrupt
from clr_hpc.training.run import ExitStatus


@dataclass(frozen=True)
class Processes:
    """How a study's runs share this machine."""

    count: int
    """Of the processes."""
    threads: int
    """CPU threads of each."""
    cohort: int = 1
    """Runs that each trains side by side."""

    @classmethod
    def for_this_machine(cls, count: int | None, cohort: int = 1) -> "Processes":
        """Use all GPUs, else all cores that this process may use; ``count`` overrides how many processes."""
        cores = usable_cores()
        chosen = count or visible_gpus() or cores
        return cls(chosen, max(1, cores // chosen), cohort)


def visible_gpus() -> int:
    """Count the GPUs that CUDA will show, without loading it."""
    listed = os.environ.get("CUDA_VISIBLE_DEVICES")
    if listed is not None:
        return len([name for name in listed.split(",") if name.strip()])
    return len(list(Path("/dev").glob("nvidia[0-9]*")))


def train_here(
    runs: tuple[RunSpec, ...],
    task: WorkerTask,
    processes: Processes,
    on_poll: Callable[[set[RunSpec]], None],
    on_end: Callable[[RunSpec, ExitStatus], None],
) -> bool:
    """Train runs in worker processes until all have ended: see ``drain_here``; ``runs`` are without those done."""
    return drain_here(ListedRuns(runs), task, processes, on_poll, on_end)


def drain_here(
    queue: Queue,
    task: WorkerTask,
    processes: Processes,
    on_poll: Callable[[set[RunSpec]], None],
    on_end: Callable[[RunSpec, ExitStatus], None],
) -> bool:
    """Train what a queue gives in worker processes until it is finished.

    Args:
        queue: of runs.
        task: of all processes.
        processes: how many, and how many threads each.
        on_poll: called about twice a second with the runs that are being trained.
        on_end: called when a run ends.

    Returns:
        False where Ctrl-C stopped it; every run then under way has saved a checkpoint.
    """
    count, threads, cohort = processes.count, processes.threads, processes.cohort
    with stop_on_interrupt() as stop:
        return drain(queue, task, count, threads, lambda: stop.is_set, on_poll, on_end, cohort)


def resources_here() -> Resources:
    """Return the GPUs that CUDA will show, their memory, and the cores that this process may use."""
    gpus = visible_gpus()
    return Resources(gpus=gpus, cpus=usable_cores(), memory_bytes_per_gpu=_gpu_memory_bytes() if gpus else None)


def _gpu_memory_bytes() -> int | None:
    query = ["nvidia-smi", "--query-gpu=memory.total", "--format=csv,noheader,nounits"]
    try:
        told = subprocess.run(query, capture_output=True, text=True, check=True, timeout=30).stdout
        return min(int(line) for line in told.split()) * 2**20
    except (OSError, subprocess.SubprocessError, ValueError):
        return None
