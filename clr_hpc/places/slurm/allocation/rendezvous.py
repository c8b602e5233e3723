"""Where the tasks of an allocation find each other: a folder of the job's own on the shared disk.

| path in `slurm/allocations/<job>.<restarts>/` | what |
|---|---|
| `cluster.json` | written once the head is up: its address; once more when all has ended |
| `token` | of the cluster, for its owner alone; gone when all has ended |
| `lanes/` | what Ray Train keeps; gone when all has ended |

Each start of a job has another folder, so that nothing that an earlier one left is taken for its own.
"""

import json
import os
import secrets
import shutil
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

from clr_hpc.places.slurm.ledger import Ledger
from clr_hpc.store.atomic import atomic_write, write_json

POLL_SECONDS = 0.5


@dataclass(frozen=True)
class Head:
    """What ``cluster.json`` says."""

    address: str
    """``host:port``."""
    node: str
    dashboard_port: int
    """On 127.0.0.1 of the head's node."""
    kill_wait_seconds: float
    """From SIGTERM to SIGKILL at this site."""
    has_ended: bool = False


@dataclass(frozen=True)
class Rendezvous:
    """The folder of one start of a job."""

    folder: Path

    @classmethod
    def of_this_job(cls, ledger: Ledger) -> "Rendezvous":
        """Name the folder of the job that this task belongs to."""
        job, restarts = os.environ.get("SLURM_JOB_ID", "0"), os.environ.get("SLURM_RESTART_COUNT", "0")
        return cls(ledger.folder / "allocations" / f"{job}.{restarts}")

    @property
    def token(self) -> Path:
        """Return the file with the cluster's token."""
        return self.folder / "token"

    @property
    def lanes(self) -> Path:
        """Return where Ray Train may keep what it likes."""
        return self.folder / "lanes"

    def open(self) -> None:
        """Make the folder and a token of 256 bits."""
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        with atomic_write(self.token) as temporary:
            descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(descriptor, "w") as file:
                file.write(secrets.token_hex(32))

    def announce(self, head: Head) -> None:
        """Tell the other tasks that the head is up."""
        write_json(self.folder / "cluster.json", asdict(head))

    def close(self) -> None:
        """Tell the other tasks that all has ended, and remove what the cluster needed."""
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        head = self.read() or Head("", "", 0, 0.0)
        write_json(self.folder / "cluster.json", asdict(head) | {"has_ended": True})
        self.token.unlink(missing_ok=True)
        shutil.rmtree(self.lanes, ignore_errors=True)

    def read(self) -> Head | None:
        """Return what was announced; None where nothing was yet."""
        try:
            return Head(**json.loads((self.folder / "cluster.json").read_text()))
        except FileNotFoundError:
            return None

    def wait(self, give_up: Callable[[], bool]) -> Head | None:
        """Wait until the head is up; None where it never will be, or ``give_up`` says to stop."""
        while (head := self.read()) is None and not give_up():
            time.sleep(POLL_SECONDS)
        return None if head is None or head.has_ended else head
