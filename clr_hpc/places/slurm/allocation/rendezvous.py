"""Rendezvous of the tasks of an allocation: a folder of the job on the shared disk.

| path in `slurm/allocations/<job>.<restarts>/` | what |
|---|---|
| `cluster.json` | written once the head is up: its address; once more when all has ended |
| `token` | of the cluster, for its owner alone; gone when all has ended |
| `lanes/` | what Ray Train keeps; gone when all has ended |

Each start of a job has a new folder, so that no start reads what an earlier one left.
"""

import os
import shutil
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

from pydantic import TypeAdapter

from clr_hpc.places.ray.cluster import write_token
from clr_hpc.places.slurm.ledger import Ledger
from clr_hpc.store.atomic import write_json
from clr_hpc.store.records import read_record, required

POLL_SECONDS = 0.5


@dataclass(frozen=True)
class Head:
    """Contents of ``cluster.json``."""

    address: str
    """``host:port``."""
    node: str
    dashboard_port: int
    """Port on 127.0.0.1 of the head's node."""
    kill_wait_seconds: float
    """From SIGTERM to SIGKILL at this site."""
    has_ended: bool = False


_HEAD = TypeAdapter(Head)


@dataclass(frozen=True)
class Rendezvous:
    """Folder of one start of a job."""

    folder: Path

    @classmethod
    def of_this_job(cls, ledger: Ledger) -> "Rendezvous":
        """Return the rendezvous of the job that this task belongs to."""
        job, restarts = os.environ.get("SLURM_JOB_ID", "0"), os.environ.get("SLURM_RESTART_COUNT", "0")
        return cls(ledger.folder / "allocations" / f"{job}.{restarts}")

    @property
    def token(self) -> Path:
        """Return the file with the cluster's token."""
        return self.folder / "token"

    @property
    def lanes(self) -> Path:
        """Return the folder for Ray Train's files."""
        return self.folder / "lanes"

    def open(self) -> None:
        """Make the folder and a token of 256 bits."""
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        write_token(self.token)

    def announce(self, head: Head) -> None:
        """Announce to the other tasks that the head is up."""
        write_json(self.folder / "cluster.json", asdict(head))

    def close(self) -> None:
        """Announce the end to the other tasks, and remove what the cluster needed."""
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        head = self.read() or Head("", "", 0, 0.0)
        write_json(self.folder / "cluster.json", asdict(head) | {"has_ended": True})
        self.token.unlink(missing_ok=True)
        shutil.rmtree(self.lanes, ignore_errors=True)

    def read(self) -> Head | None:
        """Return the announced head; None before that.

        Raises:
            DamagedError: its file can't be read.
        """
        found = read_record(self.folder / "cluster.json", _HEAD, "cancel the job and submit again")
        return required(found)

    def wait(self, give_up: Callable[[], bool]) -> Head | None:
        """Wait until the head is up; None where it has ended, or ``give_up`` returns True."""
        while (head := self.read()) is None and not give_up():
            time.sleep(POLL_SECONDS)
        return None if head is None or head.has_ended else head
