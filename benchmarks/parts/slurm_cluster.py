"""A real SLURM on this machine, and what its controller was asked."""

import os
import re
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import yaml

from parts.processes import CLR_HPC

REPOSITORY = Path(__file__).parents[2]
DEV_CLUSTER = REPOSITORY / "slurm" / "dev-cluster"
POLL_SECONDS = 0.02
_REQUEST = re.compile(r"^\s*(REQUEST_\w+)\s*\(\s*\d+\)\s*count:(\d+)", re.MULTILINE)
_OF_NODES = re.compile(
    r"REQUEST_(STEP_COMPLETE|COMPLETE_\w+|PING|NODE_REGISTRATION\w*|CONTROLLER_\w+|STATS_INFO)$"
)
"""What daemons, launchers and ``sdiag`` itself ask."""


@dataclass(frozen=True)
class SlurmCluster:
    """Two nodes with fake GPUs."""

    folder: Path

    @property
    def shared(self) -> Path:
        """A folder that all nodes see."""
        return self.folder / "shared"

    def run(self, *command: str) -> str:
        """Run a command on the login node, which must succeed; return what it prints."""
        environment = os.environ | {"SLURM_CONF": str(self.folder / "etc" / "slurm.conf")}
        environment["PYTHONPATH"] = str(REPOSITORY)
        return subprocess.run(command, env=environment, check=True, stdout=subprocess.PIPE, text=True).stdout

    def clr_hpc(self, *words: str) -> float:
        """Run a command of ours with its results in ``shared``; return its seconds."""
        started = time.monotonic()
        self.run(*CLR_HPC, *words, "--results", str(self.shared / "results"))
        return time.monotonic() - started

    def write_site(self, **keys: object) -> Path:
        """Write a site file of one CPU per job, with more keys; return it."""
        site = {"cpus": 1, "memory_gb": 2, "time_limit_minutes": 60, "shared_folder": str(self.shared)}
        file = self.shared / "site.yaml"
        file.write_text(yaml.safe_dump(site | {"python": sys.executable} | keys))
        return file

    def requests(self) -> Counter[str]:
        """Return how often commands have asked the controller what, by SLURM's names of messages."""
        answered, _, _ = self.run("sdiag").partition("Pending RPC")  # these are the controller's own
        asked = {name: int(count) for name, count in _REQUEST.findall(answered)}
        return Counter({name: count for name, count in asked.items() if not _OF_NODES.match(name)})


@contextmanager
def cluster() -> Iterator[SlurmCluster]:
    """Start a SLURM, and take it down at the end."""
    folder = Path(tempfile.mkdtemp(prefix="clr-slurm-", dir="/tmp"))
    try:
        up = [DEV_CLUSTER, "up", f"--folder={folder}", f"--share={REPOSITORY}"]
        subprocess.run(up, check=True, stdout=subprocess.DEVNULL)
        yield SlurmCluster(folder)
    finally:
        subprocess.run([DEV_CLUSTER, "down", f"--folder={folder}"], check=True)


def seconds_until(condition: Callable[[], bool], since: float, poll_seconds: float = POLL_SECONDS) -> float:
    """Wait for a condition; return the seconds since ``since``."""
    while not condition():
        time.sleep(poll_seconds)
    return time.monotonic() - since
