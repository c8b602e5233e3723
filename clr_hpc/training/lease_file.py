"""What ``lease.json`` says and how it is read; ``clr_hpc.training.lease`` has the protocol."""

import json
import os
import platform
import uuid
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from pathlib import Path

LEASE_FILE = "lease.json"


@dataclass(frozen=True)
class LeaseHolder:
    """What ``lease.json`` says."""

    holder: str
    """A random id."""
    host: str
    machine: str
    """The kernel's boot id: the same in all containers of a machine, another after it was started anew."""
    pid: int
    pid_namespace: int
    place: str
    """For people: ``lane 2``."""
    started: str

    @classmethod
    def this_process(cls, place: str) -> "LeaseHolder":
        """Describe this process, with a new id."""
        started = datetime.now(UTC).isoformat(timespec="seconds")
        return cls(
            uuid.uuid4().hex, platform.node(), this_machine(), os.getpid(), _pid_namespace(), place, started
        )

    @property
    def is_known_dead(self) -> bool:
        """Whether it is a process that this one would see, and doesn't."""
        if (self.machine, self.pid_namespace) != (this_machine(), _pid_namespace()):
            return False
        return not Path(f"/proc/{self.pid}").exists()


@dataclass(frozen=True)
class SeenLease:
    """A lease as another process finds it."""

    by: LeaseHolder
    renewed: float
    """In seconds since 1970, by the disk's clock."""


@cache
def this_machine() -> str:
    """Return an id of this machine since its start, the same in all its containers."""
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()


@cache
def _pid_namespace() -> int:
    return Path("/proc/self/ns/pid").stat().st_ino


def successor_path(folder: Path, of: LeaseHolder) -> Path:
    """Return where the lease of the one that takes over from a dead holder is linked first."""
    return folder / f".lease.after.{of.holder}"


def read_lease(folder: Path, until: LeaseHolder | None = None) -> SeenLease | None:
    """Return the lease of a run's folder; None where nobody holds it.

    Follows the leases that are about to take the place of ``lease.json``, short of that of ``until``.
    """
    current = read_file(folder / LEASE_FILE)
    while current is not None:
        successor = read_file(successor_path(folder, current.by))
        if successor is None or successor.by == until:
            break
        current = successor
    return current


def read_file(path: Path) -> SeenLease | None:
    """Return the lease in a file; None where there is no such file."""
    try:
        # the time is asked of the open file: opening makes a network disk look, a mere stat may be minutes old
        with path.open() as file:
            renewed = os.fstat(file.fileno()).st_mtime
            text = file.read()
    except FileNotFoundError:
        return None
    try:
        return SeenLease(LeaseHolder(**json.loads(text)), renewed)
    except (ValueError, TypeError):  # of another version, or a disk's damage: it ends like any other
        return SeenLease(LeaseHolder("unreadable", "an unknown host", "", 0, 0, "unreadable lease", ""), renewed)
