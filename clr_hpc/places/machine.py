"""What this machine has to train on, and how the runs of a study share it."""

import os
import subprocess
from dataclasses import dataclass
from pathlib import Path

from clr_hpc.config.resources import Resources, usable_cores


@dataclass(frozen=True)
class Processes:
    """How a study's runs share a machine."""

    count: int
    """Number of processes."""
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


def resources_here() -> Resources:
    """Return the GPUs that CUDA will show, their memory, and the cores that this process may use."""
    gpus = visible_gpus()
    return Resources(gpus=gpus, cpus=usable_cores(), memory_bytes_per_gpu=_gpu_memory_bytes() if gpus else None)


def resources_of(gpus: int | None, cpus: int | None, nodes: int = 1) -> Resources:
    """Return what was asked for; the rest is this machine's, and with GPUs a CPU for each of them."""
    here = resources_here()
    if gpus is None:
        gpus = here.gpus if cpus is None else 0
    if cpus is None:
        cpus = here.cpus if gpus <= here.gpus else max(gpus, nodes)
    return Resources(gpus=gpus, cpus=cpus, nodes=nodes, memory_bytes_per_gpu=here.memory_bytes_per_gpu)


def _gpu_memory_bytes() -> int | None:
    query = ["nvidia-smi", "--query-gpu=memory.total", "--format=csv,noheader,nounits"]
    try:
        told = subprocess.run(query, capture_output=True, text=True, check=True, timeout=30).stdout
        return min(int(line) for line in told.split()) * 2**20
    except (OSError, subprocess.SubprocessError, ValueError):
        return None
