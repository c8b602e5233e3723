"""The log of a command in its study's folder: what it prints, and what the package logs, with the time.

A log that can't be written stops nothing.
"""

import logging
import os
import platform
import re
import shlex
import sys
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

from clr_hpc import __version__
from clr_hpc.store import layout

MOST_FILES = 50
"""In a study's folder; the oldest go."""
MOST_BYTES = 5 * 10**6
"""Of one file."""
NAME = re.compile(r"\d{8}T\d{6}Z-[a-z-]+-\d+\.log")
_open: "LogFile | None" = None


class LogFile(logging.Handler):
    """One command's log."""

    def __init__(self, file: Path) -> None:
        """Write to a file that is made now."""
        super().__init__(logging.INFO)
        self._text = file.open("w", encoding="utf-8", errors="backslashreplace")
        self._left = MOST_BYTES
        self.package = logging.getLogger("clr_hpc")
        self._level_before = self.package.level
        self.package.addHandler(self)
        # the terminal shows what it showed before
        self._on_terminal = [each for each in logging.getLogger().handlers if type(each) is logging.StreamHandler]
        for handler in self._on_terminal:
            handler.setLevel(self._level_before)
        self.package.setLevel(min(self._level_before or logging.INFO, logging.INFO))

    def note(self, text: str) -> None:
        """Write lines with the time before each."""
        now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        lines = "".join(f"{now} {line.rstrip()}\n" for line in text.splitlines())
        if self._left > 0:
            self._left -= len(lines)
            with suppress(OSError, ValueError):
                self._text.write(lines if self._left > 0 else f"{now} the log ends here: it is long enough\n")
                self._text.flush()

    def emit(self, record: logging.LogRecord) -> None:
        """Write what the package logs."""
        self.note(f"{record.levelname} {record.name}: {self.format(record)}")

    def close(self) -> None:
        """Write no more."""
        self.package.removeHandler(self)
        self.package.setLevel(self._level_before)
        for handler in self._on_terminal:
            handler.setLevel(logging.NOTSET)
        with suppress(OSError):
            self._text.close()
        super().close()


def note(text: str) -> None:
    """Write lines into the open log, if there is one."""
    if _open is not None:
        _open.note(text)


def is_open() -> bool:
    """Whether there is a log."""
    return _open is not None


def open_log(study_folder: Path, command: str, makes_folder: bool = False) -> None:
    """Begin the log of a command in a study's folder, if there is one; only the first call of a command counts."""
    global _open
    if _open is not None or not (makes_folder or study_folder.is_dir()):
        return
    folder = study_folder / layout.LOGS
    name = f"{datetime.now(UTC):%Y%m%dT%H%M%SZ}-{command}-{os.getpid()}.log"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for old in sorted(each for each in folder.iterdir() if NAME.fullmatch(each.name))[: 1 - MOST_FILES]:
            old.unlink(missing_ok=True)
        _open = LogFile(folder / name)
    except OSError as error:
        logging.getLogger(__name__).warning("%s: no log is written: %s", folder, error)
        return
    words = shlex.join(["clr-hpc", *sys.argv[1:]])
    note(f"{words}\nclr_hpc {__version__}, Python {platform.python_version()}, on {platform.node()}")


def close_log(ending: str) -> None:
    """End the log, if there is one, with how the command ended."""
    global _open
    log, _open = _open, None
    if log is not None:
        log.note(ending)
        log.close()
