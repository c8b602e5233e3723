"""A job's folder on the local disk of a node: for its user alone, and gone when the job is, however it ended.

Ray keeps sockets and logs in it, so the job's processes are those that have a file in it open. The process that
made the folder holds a lock in it, which shows whether it is alive. A job that was killed with -9 can't clean up.
``reap_dead`` finds what it left: at once from the job's own script, where that continues
(``python -m clr_hpc.places.slurm.allocation.node_folder``), otherwise from the user's next job on the node.
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
"""Short, since the path of a socket has at most 107 bytes, and never on a network disk."""
PREFIX = "clr-hpc-job"
OWNER = "owner"
UNLOCKED_SECONDS = 60.0
"""A folder without a lock file is being made, unless it is older."""


@contextmanager
def node_folder(job: str, place: Path = PLACE) -> Iterator[Path]:
    """Make a folder for a job, after removing what dead jobs left; at the end kill its processes."""
    reap_dead(place)
    folder = Path(tempfile.mkdtemp(prefix=f"{PREFIX}{job}-", dir=place))
    owner = os.open(folder / OWNER, os.O_RDWR | os.O_CREAT, 0o600)
    fcntl.flock(owner, fcntl.LOCK_EX)
    try:
        yield folder
    finally:
        reap(folder, os.getpid(), signals=(signal.SIGKILL,))
        os.close(owner)


def reap_dead(place: Path = PLACE) -> list[Path]:
    """End what dead jobs of this user left on this node; return the removed folders."""
    dead = [folder for folder in place.glob(f"{PREFIX}*") if _is_mine(folder) and not _has_owner(folder)]
    for folder in dead:
        reap(folder, os.getpid(), signals=(signal.SIGKILL,))
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
