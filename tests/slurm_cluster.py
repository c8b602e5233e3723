"""slurm/dev-cluster as tests use it."""

import os
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from needs import skip_or_fail
from trial_study import WAIT_SECONDS, wait_until

REPOSITORY = Path(__file__).parents[1]
COMMAND = REPOSITORY / "slurm" / "dev-cluster"


@dataclass(frozen=True)
class SlurmCluster:
    """``node01`` and ``node02``, four CPUs and two fake GPUs each; jobs of ``high`` preempt those of ``batch``.

    All see the repository, ``shared`` and pytest's folders at the same place. Else each one's /tmp is its own.
    """

    folder: Path

    @property
    def shared(self) -> Path:
        """An empty folder under /tmp that all nodes and users may write to."""
        return self.folder / "shared"

    @property
    def environment(self) -> dict[str, str]:
        """What a command needs in its environment to find this cluster and no other."""
        outside = {name: value for name, value in os.environ.items() if not name.startswith("SLURM")}
        return outside | {"SLURM_CONF": str(self.folder / "etc" / "slurm.conf")}

    def run(self, *command: str) -> subprocess.CompletedProcess[str]:
        """Run a command on this machine, the cluster's login node, in ``shared``."""
        return subprocess.run(
            command,
            env=self.environment,
            cwd=self.shared,
            capture_output=True,
            text=True,
            timeout=WAIT_SECONDS,
            check=False,
        )

    def output(self, *command: str) -> str:
        """Run a command as ``run`` does, which must succeed, and return what it prints."""
        done = self.run(*command)
        assert done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"
        return done.stdout.strip()

    def sbatch(self, script: str, *options: str) -> str:
        """Submit the text of a bash script, and return the job's number."""
        return self.output("sbatch", "--parsable", *options, "--wrap", script)

    def state(self, job: str) -> str:
        """Return a job's state, as PENDING, RUNNING or COMPLETED."""
        return self.output("squeue", "--noheader", "--states=all", f"--jobs={job}", "--format=%T")

    def await_state(self, job: str, state: str) -> None:
        wait_until(lambda: self.state(job) == state, f"job {job} to be {state}")

    def node_state(self, node: str) -> str:
        """Return a node's state, as idle, allocated or down*."""
        return self.output("sinfo", "--noheader", "--partition=batch", f"--nodes={node}", "--format=%T")

    def on_node(self, node: str, *command: str) -> str:
        """Run a command on a node outside all jobs, and return what it prints."""
        return self.output(str(COMMAND), "on", f"--folder={self.folder}", node, *command)

    def kill_node(self, node: str, reported: bool = False) -> None:
        """End all of a node's processes, as if its power failed.

        SLURM sees that half a minute later, or at once if it is ``reported``; wait for that before ``start_node``,
        or SLURM takes minutes to miss the jobs that ran there.
        """
        options = ["--reported"] if reported else []
        self.output(str(COMMAND), "kill-node", f"--folder={self.folder}", *options, node)

    def start_node(self, node: str) -> None:
        """Bring a killed node back."""
        self.output(str(COMMAND), "start-node", f"--folder={self.folder}", node)


def need_slurm() -> None:
    """Skip the test where there can't be a cluster."""
    check = subprocess.run([str(COMMAND), "check"], capture_output=True, text=True, check=False)
    if check.returncode != 0:
        skip_or_fail(f"no SLURM: {check.stderr.strip()}")


@contextmanager
def slurm_cluster(*options: str, shared: tuple[Path, ...] = ()) -> Iterator[SlurmCluster]:
    """Start a cluster with options of ``dev-cluster up``, and take it down at the end.

    Skips the test where there can't be one.
    """
    need_slurm()
    # a short name: sockets lie in it
    folder = Path(tempfile.mkdtemp(prefix="clr-slurm-", dir="/tmp"))
    try:
        shares = [f"--share={path}" for path in (REPOSITORY, *shared)]
        up = subprocess.run(
            [str(COMMAND), "up", f"--folder={folder}", *shares, *options],
            capture_output=True,
            text=True,
            check=False,
        )
        assert up.returncode == 0, up.stderr
        yield SlurmCluster(folder)
    finally:
        subprocess.run([str(COMMAND), "down", f"--folder={folder}"], check=True)
