"""Environment of a Ray cluster that this command starts: token, folder, settings.

Ray without authentication runs code for anybody who reaches its ports (CVE-2023-48022), so a cluster gets a token
of its own, in a file that only its owner can read.
"""

import os
import secrets
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from clr_hpc.config.base import UserError
from clr_hpc.places.environment import environment
from clr_hpc.places.machine import visible_gpus
from clr_hpc.store.atomic import OWNER_ALONE, atomic_write
from clr_hpc.store.provenance import safe_path

OBJECT_STORE_BYTES = 128 * 2**20
"""Only specs and outcomes travel through it; pixels are read from the pack."""

SETTINGS = {
    "RAY_AUTH_MODE": "token",
    "RAY_USAGE_STATS_ENABLED": "0",
    # relative paths of a study mean the same in the workers as in the command
    "RAY_CHDIR_TO_TRIAL_DIR": "0",
    # one process per lane, for preemption notices that nothing here uses
    "RAY_TRAIN_ENABLE_PREEMPTION_WATCHER": "0",
    # else a lane's thread that outlives the cluster would start another one by its next call
    "RAY_ENABLE_AUTO_CONNECT": "0",
}
ON_THIS_MACHINE_ALONE = {
    # named for other systems; its effect is that every server binds to 127.0.0.1
    "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
}


class ClusterError(UserError):
    """A cluster can't be started or joined; the message says what to do."""


def check_gpus(gpus: int | None) -> None:
    """See that a cluster of this machine alone can have so many GPUs; Ray would take any number for true.

    Raises:
        ClusterError: the machine has fewer.
    """
    there = visible_gpus()
    if gpus is not None and gpus > there:
        raise ClusterError(
            f"--gpus {gpus}: this machine has {there}; leave it out, or join a cluster with --address"
        )


def write_token(path: Path) -> None:
    """Write a new token of 256 bits, for its owner alone."""
    with atomic_write(path, OWNER_ALONE) as temporary:
        temporary.write_text(secrets.token_hex(32))


@contextmanager
def private_cluster_folder() -> Iterator[Path]:
    """Set this process up to start a cluster for this machine alone; yield its folder, removed afterwards.

    The folder is on a local disk, and its path is short, since that of a socket has at most 107 bytes. However
    this process ends, the folder is removed, and what still runs of the cluster is ended.
    """
    folder = Path(tempfile.mkdtemp(prefix="clr-hpc-", dir="/tmp"))
    reaper = subprocess.Popen(
        [sys.executable, *safe_path(), "-m", "clr_hpc.places.ray.reaper", str(folder)],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,  # so that a signal to this process's group does not end it
    )
    token = folder / "token"
    write_token(token)
    given = {"RAY_AUTH_TOKEN_PATH": str(token), "RAY_AUTH_TOKEN": None, "RAY_ADDRESS": None}
    try:
        with environment({**SETTINGS, **ON_THIS_MACHINE_ALONE, **given}):
            yield folder
    finally:
        reaper.communicate()


@contextmanager
def joining_settings() -> Iterator[None]:
    """Set this process up to join a cluster, with the token that the user's environment names.

    Raises:
        ClusterError: it names none, and there is none in the usual place.
    """
    usual = Path.home() / ".ray" / "auth_token"
    named = os.environ.get("RAY_AUTH_TOKEN") or os.environ.get("RAY_AUTH_TOKEN_PATH")
    if os.environ.get("RAY_AUTH_MODE", "token") == "token" and not named and not usual.exists():
        raise ClusterError(
            "no token to join the cluster with: set RAY_AUTH_TOKEN_PATH to the file of the cluster's token, or "
            f"put it into {usual}; a cluster without authentication needs RAY_AUTH_MODE=disabled"
        )
    with environment(SETTINGS | ({"RAY_AUTH_MODE": os.environ.get("RAY_AUTH_MODE", "token")})):
        yield
