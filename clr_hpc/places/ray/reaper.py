"""Reaper of the processes that a cluster leaves behind: ``python -m clr_hpc.places.ray.reaper FOLDER``.

It waits for the end of the command that started the cluster, which closes its standard input, however that ends.
Ray ends most of its processes itself when their parent is killed, but not all.
"""

import os
import shutil
import signal
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

PATIENCE_SECONDS = 3.0
"""Time for processes to end by themselves before SIGTERM, and again before SIGKILL."""


def reap(
    folder: Path, spared: int, signals: Sequence[signal.Signals | None] = (None, signal.SIGTERM, signal.SIGKILL)
) -> None:
    """End the processes of this user that have a file in ``folder`` open, and remove it.

    Args:
        folder: folder of the cluster.
        spared: id of the command, which may live on after its cluster.
        signals: sent one after the other to those that are left; None: wait.
    """
    for number in signals:
        signalled: set[int] = set()
        deadline = time.monotonic() + PATIENCE_SECONDS
        while (users := set(_users_of(folder, spared))) and time.monotonic() < deadline:
            if number is not None:
                for process in users - signalled:  # also those that have started meanwhile
                    with suppress(ProcessLookupError):
                        os.kill(process, number)
                signalled |= users
            time.sleep(0.1)
    shutil.rmtree(folder, ignore_errors=True)


def _users_of(folder: Path, spared: int) -> list[int]:
    """Return the processes of this user that have a file in ``folder`` open."""
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
        signal.signal(ignored, signal.SIG_IGN)  # for the command, whose end is awaited
    command = os.getppid()
    sys.stdin.read()
    reap(Path(sys.argv[1]), command)
