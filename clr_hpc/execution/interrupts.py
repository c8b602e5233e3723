"""Ctrl-C asks a command to save and stop; a second one doesn't ask."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass


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
