"""A job's folder on the local disk of a node: for its user alone, and gone when the job is, however it ended.

Ray keeps sockets and logs in it, which says as well which processes are the job's: those that have a file in it
open. The process that made the folder holds a lock in it, so that anybody can tell whether it still lives. A job
that was killed with -9 can't clean up; what it left is found by ``reap_dead``: at once by the job's own script,
where that goes on (``python -m clr_hpc.places.slurm.allocation.node_folder``), and else by the user's next job
on the node.
"""

import fcntl
import os
import signal
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from clr_hpc.places.ray.reaper import reap

PLACE = Path("/tmp")
"""Short, since the paths of sockets may have 107 bytes, and never on a network disk."""
PREFIX = "clr-hpc-job"
OWNER = "owner"
UNLOCKED_SECONDS = 60.0
"""A folder without its lock's file is being made, unless it is older."""


@contextmanager
def node_folder(job: str, place: Path = PLACE) -> Iterator[Path]:
    """Make a folder for a job, after clearing away what dead ones left; at the end its processes are killed."""
    reap_dead(place)
    folder = Path(tempfile.mkdtemp(prefix=f"{PREFIX}{job}-", dir=place))
    owner = os.open(folder / OWNER, os.O_RDWR | os.O_CREAT, 0o600)
    fcntl.flock(owner, fcntl.LOCK_EX)
    try:
        yield folder
    finally:
        reap(folder, os.getpid(), orders=(signal.SIGKILL,))
        os.close(owner)


def reap_dead(place: Path = PLACE) -> list[Path]:
    """End what this user's jobs left on this node whose owners are dead; return the folders that were removed."""
    dead = [folder for folder in place.glob(f"{PREFIX}*") if _is_mine(folder) and not _has_owner(folder)]
    for folder in dead:
        reap(folder, os.getpid(), orders=(signal.SIGKILL,))
    return dead


def _is_mine(folder: Path) -> bool:
    try:
        return folder.is_dir() and not folder.is_symlink() and folder.stat().st_uid == os.getuid()
    except FileNotFoundError:
        return False


def _has_owner(folder: Path) -> bool:
    try:
        owner = os.open(folder / OWNER, os.O_RDWR)
    except FileNotFoundError:
        return folder.exists() and time.time() - folder.stat().st_mtime < UNLOCKED_SECONDS
    try:
        fcntl.flock(owner, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(owner)
    return False


if __name__ == "__main__":
    for removed in reap_dead():
        print(f"removed {removed}, which a job had left")
