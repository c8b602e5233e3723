"""Ends what a cluster leaves behind: ``python -m clr_hpc.execution.sweeper FOLDER``.

Runs beside the command that started the cluster and waits for its end, by whatever cause: then its standard input
is closed. Ray ends most of its processes itself when their parent is killed, but not all.
"""

import os
import shutil
import signal
import sys
import time
from contextlib import suppress
from pathlib import Path

PATIENCE_SECONDS = 3.0
"""In which processes may end by themselves, before they are asked to, and again before they are killed."""


def sweep(folder: Path, spared: int) -> None:
    """End the processes of this user that have a file in ``folder`` open, and remove it.

    ``spared`` is the command itself, which may have ended its cluster to go on with something else.
    """
    for order in (None, signal.SIGTERM, signal.SIGKILL):
        if order:
            for process in _users_of(folder, spared):
                with suppress(ProcessLookupError):
                    os.kill(process, order)
        deadline = time.monotonic() + PATIENCE_SECONDS
        while _users_of(folder, spared) and time.monotonic() < deadline:
            time.sleep(0.1)
    shutil.rmtree(folder, ignore_errors=True)


def _users_of(folder: Path, spared: int) -> list[int]:
    """Return the processes that have a file in ``folder`` open, as far as this user may see them."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            opened = [link.readlink() for link in (entry / "fd").iterdir()]
        except OSError:
            continue
        if int(entry.name) not in (os.getpid(), spared) and any(path.is_relative_to(folder) for path in opened):
            found.append(int(entry.name))
    return found


if __name__ == "__main__":
    for ignored in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(ignored, signal.SIG_IGN)  # they are for the command, whose end is waited for
    command = os.getppid()
    sys.stdin.read()
    sweep(Path(sys.argv[1]), command)
