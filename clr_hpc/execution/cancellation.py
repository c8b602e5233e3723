"""When the run under way is to be saved and left: all are told to stop, or this one was cancelled."""

import time
from collections.abc import Callable
from pathlib import Path

POLL_SECONDS = 5.0


def is_cancelled(cancelled_folder: Path | None, name: str) -> bool:
    """Say whether a file in the folder has a run's name."""
    return cancelled_folder is not None and (cancelled_folder / name).exists()


class StopOrCancelled:
    """Answers from memory, but for a look at the disk now and then, so that it can be asked at each step."""

    def __init__(self, stop: Callable[[], bool], cancelled_folder: Path | None, name: str) -> None:
        """Watch a run; ``stop`` says whether all are to stop."""
        self._stop, self._folder, self._name = stop, cancelled_folder, name
        self._looked = float("-inf")
        self._is_cancelled = False

    def __call__(self) -> bool:
        """Say whether to save and leave the run."""
        if self._folder is not None and time.monotonic() - self._looked >= POLL_SECONDS:
            self._looked = time.monotonic()
            self._is_cancelled = is_cancelled(self._folder, self._name)
        return self._is_cancelled or self._stop()
