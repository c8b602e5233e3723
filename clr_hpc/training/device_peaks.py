"""How fast a device computes and moves memory at its best, measured on the device at hand."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch

MEASURED_SECONDS, FEWEST_REPEATS = 1.0, 5
"""The fastest one counts: what else the machine does only takes away."""


@dataclass(frozen=True)
class DevicePeaks:
    """What one process gets from the device, with the threads that it has."""

    flops_per_second: float
    """Of a product of two square matrices, in the run's precision."""
    bytes_per_second: float
    """Read and written by a copy of what no cache holds."""
    matrix_side: int
    copied_bytes: int


def measure_peaks(device: torch.device, precision: torch.dtype) -> DevicePeaks:
    """Measure for some seconds; takes half a GiB of memory on a CPU, two on a GPU."""
    on_gpu = device.type == "cuda"
    side, size = (8192, 2**30) if on_gpu else (1024, 2**28)
    first, second = (torch.rand(side, side, device=device).to(precision) for _ in range(2))
    product = torch.empty_like(first)
    with _convolutions_precision():
        seconds = _best_seconds(lambda: torch.mm(first, second, out=product), device)
    flops_per_second = 2 * side**3 / seconds
    source = torch.ones(size, dtype=torch.uint8, device=device)
    target = torch.zeros_like(source)
    seconds = _best_seconds(lambda: target.copy_(source), device)
    return DevicePeaks(flops_per_second, 2 * size / seconds, side, size)


def wait_for(device: torch.device) -> None:
    """Wait until a device has done all that it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def _best_seconds(work: Callable[[], object], device: torch.device) -> float:
    taken: list[float] = []
    deadline = time.perf_counter() + MEASURED_SECONDS
    while len(taken) < FEWEST_REPEATS or time.perf_counter() < deadline:
        wait_for(device)
        start = time.perf_counter()
        work()
        wait_for(device)
        taken.append(time.perf_counter() - start)
    return min(taken)


@contextmanager
def _convolutions_precision() -> Iterator[None]:
    """Multiply matrices of float32 as convolutions do: torch lets those use TF32, but not these."""
    matrices = torch.backends.cuda.matmul
    before = matrices.fp32_precision
    matrices.fp32_precision = torch.backends.cudnn.conv.fp32_precision  # type: ignore[attr-defined]
    try:
        yield
    finally:
        matrices.fp32_precision = before
