"""What stops a run: signals of SLURM, Ctrl-C, and files that cancel single runs."""

import math
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from threading import Timer
from types import FrameType
from typing import Any

SENT_TO_ALL = {signal.SIGTERM, signal.SIGUSR2, signal.SIGINT, signal.SIGHUP}
"""Signals that a job's or terminal's processes all receive, though only one of them is to act."""
AGAIN_SECONDS = 0.05
"""After which a signal is sent again that was lost in a finalizer."""
CANCELLED_SECONDS = 5.0
"""Between two looks for the file that cancels a run."""


@contextmanager
def blocked_signals() -> Iterator[None]:
    """Block ``SENT_TO_ALL`` in processes that are started within the block, and in their children."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, SENT_TO_ALL)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


class StopSignals:
    """The signals that SLURM has sent to this job. Handlers only set flags."""

    def __init__(self) -> None:
        """Handle SIGUSR2 and SIGTERM from now on, in place of submitit."""
        self.time_is_up = self.is_terminated = False
        self._terminated_at = math.inf
        signal.signal(signal.SIGUSR2, self._on_usr2)
        signal.signal(signal.SIGTERM, self._on_term)

    @property
    def any(self) -> bool:
        """Whether to save and stop."""
        return self.time_is_up or self.is_terminated

    @property
    def seconds_since_term(self) -> float:
        """Seconds since the first SIGTERM; negative where none came."""
        return time.monotonic() - self._terminated_at

    def _on_usr2(self, _number: int, _frame: FrameType | None) -> None:
        self.time_is_up = True

    def _on_term(self, _number: int, _frame: FrameType | None) -> None:
        self.is_terminated = True
        self._terminated_at = min(self._terminated_at, time.monotonic())


@dataclass
class StopRequest:
    """Whether Ctrl-C was pressed, or SIGTERM came."""

    is_set: bool = False


_asked_for_a_stop: list[int] = []
"""Signals that have requested a stop of this process."""


def exit_code_of_stop() -> int:
    """Return what a shell calls a command that was stopped: 128 and the number of its signal, or of Ctrl-C's."""
    return 128 + (_asked_for_a_stop[-1] if _asked_for_a_stop else signal.SIGINT)


@contextmanager
def stop_on_interrupt() -> Iterator[StopRequest]:
    """Have Ctrl-C and SIGTERM request a stop; a second Ctrl-C raises ``KeyboardInterrupt``."""
    request = StopRequest()

    def handle(number: int, _frame: object) -> None:
        if request.is_set and number == signal.SIGINT:
            raise KeyboardInterrupt
        request.is_set = True
        _asked_for_a_stop.append(number)

    with _handled(signal.SIGINT, handle), _handled(signal.SIGTERM, handle):
        yield request


class TerminatedError(KeyboardInterrupt):
    """SIGTERM came where nothing has to be saved first; handled like Ctrl-C."""


@contextmanager
def raise_on_terminate() -> Iterator[None]:
    """Have SIGTERM raise ``TerminatedError`` in the main thread, so that what was begun is tidied up.

    Python swallows what a handler raises in the midst of a finalizer; such a signal, or Ctrl-C, is sent once more.
    """

    def handle(_number: int, _frame: object) -> None:
        raise TerminatedError

    hook = sys.unraisablehook
    sys.unraisablehook = partial(_send_again, hook)
    try:
        with _handled(signal.SIGTERM, handle):
            yield
    finally:
        sys.unraisablehook = hook


def _send_again(otherwise: Callable[[Any], Any], swallowed: Any) -> None:
    if not issubclass(swallowed.exc_type, KeyboardInterrupt):
        otherwise(swallowed)
        return
    number = signal.SIGTERM if issubclass(swallowed.exc_type, TerminatedError) else signal.SIGINT
    # by another thread, once the finalizer has returned
    timer = Timer(AGAIN_SECONDS, signal.pthread_kill, (threading.main_thread().ident, number))
    timer.daemon = True
    timer.start()


@contextmanager
def _handled(number: signal.Signals, handler: Callable[[int, object], None]) -> Iterator[None]:
    before = signal.signal(number, handler)
    try:
        yield
    finally:
        signal.signal(number, before)


def is_cancelled(cancelled_folder: Path | None, name: str) -> bool:
    """Return whether a file in the folder has a run's name."""
    return cancelled_folder is not None and (cancelled_folder / name).exists()


class StopOrCancelled:
    """Whether to save and leave a run. Cheap enough for each step: it looks at the disk only now and then."""

    def __init__(self, stop: Callable[[], bool], cancelled_folder: Path | None, name: str) -> None:
        """Watch a run; ``stop`` returns whether all runs are to stop."""
        self._stop, self._folder, self._name = stop, cancelled_folder, name
        self._looked = -math.inf
        self._is_cancelled = False

    def __call__(self) -> bool:
        """Return whether to save and leave the run."""
        if time.monotonic() - self._looked >= CANCELLED_SECONDS:
            self._looked = time.monotonic()
            self._is_cancelled = is_cancelled(self._folder, self._name)
        return self._is_cancelled or self._stop()
