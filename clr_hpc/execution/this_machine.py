"""What the machine at hand has, asked without loading torch."""

import subprocess

from clr_hpc.config.resources import Resources
from clr_hpc.data.build import usable_cores
from clr_hpc.execution.inline import visible_gpus


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
