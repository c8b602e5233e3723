"""Files written by a thread, from a copy, while the run goes on."""

import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from typing import Any, TypeVar

import torch
from torch import Tensor

T = TypeVar("T")
_thread = ThreadPoolExecutor(1, "writer")
_one_copy = threading.Semaphore(1)
"""Of all runs of a process: a cohort's checkpoints don't lie in memory side by side."""


class BackgroundWriter:
    """Writes a run's tensors in the order in which they are handed over.

    What a write raises is raised by the next call here, so that no failure is lost.
    """

    def __init__(self) -> None:
        """Begin with nothing to write."""
        self._last: Future[Any] | None = None

    @property
    def is_idle(self) -> bool:
        """Whether all that was handed over is written, or has failed."""
        return self._last is None or self._last.done()

    def hand_over(self, tensors: dict[str, Tensor], write: Callable[[dict[str, Tensor]], T]) -> "Future[T]":
        """Copy tensors to the host and have ``write`` called with the copies; return its future result.

        Waits for what this process hands over before, so that it holds one copy at a time.

        Raises:
            Exception: what the write before this one raised.
        """
        self.wait()
        _one_copy.acquire()
        try:
            copies = {name: _copied(tensor) for name, tensor in tensors.items()}
            written = _thread.submit(_write, write, copies)
        except BaseException:
            _one_copy.release()
            raise
        self._last = written
        return written

    def wait(self) -> None:
        """Return when all that was handed over is written.

        Raises:
            Exception: what a write raised, once.
        """
        last = self._last
        if last is not None:
            wait([last])
            self._last = None
            last.result()

    def close(self) -> None:
        """Return when nothing is written any more; what failed is dropped, so ``wait`` first where it matters."""
        if self._last is not None:
            wait([self._last])


def _write(write: Callable[[dict[str, Tensor]], T], copies: dict[str, Tensor]) -> T:
    try:
        return write(copies)
    finally:
        copies.clear()
        _one_copy.release()


def _copied(tensor: Tensor) -> Tensor:
    return tensor.detach().to("cpu", copy=True, memory_format=torch.contiguous_format)
