"""Ends what a cluster leaves behind: ``python -m clr_hpc.places.ray.reaper FOLDER``.

Runs beside the command that started the cluster and waits for its end, by whatever cause: then its standard input
is closed. Ray ends most of its processes itself when their parent is killed, but not all.
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
"""In which processes may end by themselves, before they are asked to, and again before they are killed."""


def reap(
    folder: Path, spared: int, orders: Sequence[signal.Signals | None] = (None, signal.SIGTERM, signal.SIGKILL)
) -> None:
    """End the processes of this user that have a file in ``folder`` open, and remove it.

    Args:
        folder: of the cluster.
        spared: the command itself, which may have ended its cluster to go on with something else.
        orders: signals that are sent one after the other to those that are left; None: wait.
    """
    for order in orders:
        told: set[int] = set()
        deadline = time.monotonic() + PATIENCE_SECONDS
        while (users := set(_users_of(folder, spared))) and time.monotonic() < deadline:
            if order is not None:
                for process in users - told:  # those that came up meanwhile are told as well
                    with suppress(ProcessLookupError):
                        os.kill(process, order)
                told |= users
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
    reap(Path(sys.argv[1]), command)
