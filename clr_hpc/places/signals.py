"""What SLURM tells a job by signals."""

import math
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType

SENT_TO_ALL = {signal.SIGTERM, signal.SIGUSR2, signal.SIGINT, signal.SIGHUP}
"""Signals that come to all processes of a job, or of a terminal, and of which one alone knows what to do."""


@contextmanager
def deaf_children() -> Iterator[None]:
    """Have ``SENT_TO_ALL`` wait in processes that are started within, and in those that they start."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, SENT_TO_ALL)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


class StopSignals:
    """What SLURM has told this job; only flags are set in the middle of whatever goes on."""

    def __init__(self) -> None:
        """Hear SIGUSR2 and SIGTERM from now on, in the place of submitit."""
        self.time_is_up = self.told_to_end = False
        self._terminated_at = math.inf
        signal.signal(signal.SIGUSR2, self._on_usr2)
        signal.signal(signal.SIGTERM, self._on_term)

    @property
    def any(self) -> bool:
        """Whether to save and stop."""
        return self.time_is_up or self.told_to_end

    @property
    def seconds_since_term(self) -> float:
        """How long ago the first SIGTERM came; below zero where none did."""
        return time.monotonic() - self._terminated_at

    def _on_usr2(self, _number: int, _frame: FrameType | None) -> None:
        self.time_is_up = True

    def _on_term(self, _number: int, _frame: FrameType | None) -> None:
        self.told_to_end = True
        self._terminated_at = min(self._terminated_at, time.monotonic())


@dataclass
class StopRequest:
    """Whether somebody has asked to stop."""

    asked: bool = False


@contextmanager
def stop_on_interrupt() -> Iterator[StopRequest]:
    """Have Ctrl-C ask to stop; where that was asked before, it raises ``KeyboardInterrupt``."""
    request = StopRequest()

    def hear(_number: int, _frame: object) -> None:
        if request.asked:
            raise KeyboardInterrupt
        request.asked = True

    old_handler = signal.signal(signal.SIGINT, hear)
    try:
        yield request
    finally:
        signal.signal(signal.SIGINT, old_handler)
