"""A lock by which runs that share a process take turns, and a clock that counts a thread's own turns."""

import threading
import time
from collections import deque
from types import TracebackType
from typing import Self

_away = threading.local()


def own_seconds() -> float:
    """Return a monotonic clock's seconds; it stops while the calling thread waits for its turn.

    So the seconds of runs that take turns add up to those of their process.
    """
    return time.monotonic() - getattr(_away, "seconds", 0.0)


class RoundRobinLock:
    """A fair lock: threads that wait get it in the order in which they came; ``with lock:`` holds it."""

    def __init__(self) -> None:
        """Start unlocked."""
        self._mutex = threading.Lock()
        self._is_held = False
        self._waiting: deque[threading.Event] = deque()

    def yield_to_others(self) -> None:
        """Let each waiting thread have one turn, then continue."""
        self._give()
        self._take()

    def _take(self) -> None:
        with self._mutex:
            if not self._is_held:
                self._is_held = True
                return
            own_turn = threading.Event()
            self._waiting.append(own_turn)
        began = time.monotonic()
        own_turn.wait()
        _away.seconds = getattr(_away, "seconds", 0.0) + time.monotonic() - began

    def _give(self) -> None:
        with self._mutex:
            if self._waiting:
                self._waiting.popleft().set()  # handed over while held: no thread can come in between
            else:
                self._is_held = False

    def __enter__(self) -> Self:
        """Wait for a turn."""
        self._take()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Hand over to the next thread."""
        self._give()
