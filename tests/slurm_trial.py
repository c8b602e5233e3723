"""A trial study on a SLURM cluster, as a user starts and watches it."""

import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from slurm_cluster import SlurmCluster
from trial_study import WAIT_SECONDS, TrialStudy, wait_until

RETRAINING = {
    "baseline": {"policies": [{"name": "exponential", "gamma": 0.5}]},
    "retrain": {"policies": [{"name": "triangular", "half_cycle_epochs": 1}, "constant"]},
}
ONE_RUN = {"scratch": {"policies": [{"name": "triangular", "half_cycle_epochs": 2}]}}
ENDED = ("completed", "failed", "cancelled", "timeout", "node_fail")


@dataclass(frozen=True)
class SlurmTrial:
    """``study.yaml`` and ``site.yaml`` in a folder that all nodes see, with ``results/`` beside them."""

    study: TrialStudy
    cluster: SlurmCluster

    @classmethod
    def write(cls, study: TrialStudy, cluster: SlurmCluster, **site: Any) -> "SlurmTrial":
        folder = study.file.parent
        values = {
            "partition": "batch",
            "cpus": 1,
            "memory_gb": 0.8,
            "time_limit_minutes": 30,
            "shared_folder": str(folder),
            "python": sys.executable,
        }
        (folder / "site.yaml").write_text(yaml.safe_dump(values | site))
        return cls(study, cluster)

    @property
    def folder(self) -> Path:
        """Return the study's folder."""
        return self.study.file.parent / "results" / "trial"

    def clr_hpc(self, command: str, *options: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            self.words(command, *options),
            env=self.cluster.environment,
            capture_output=True,
            text=True,
            timeout=WAIT_SECONDS,
            check=False,
        )

    def words(self, command: str, *options: str) -> list[str]:
        results = str(self.study.file.parent / "results")
        return [
            *(sys.executable, "-m", "clr_hpc", command, str(self.study.file)),
            *(*options, "--results", results),
        ]

    def submit_words(self, *options: str) -> list[str]:
        site = str(self.study.file.parent / "site.yaml")
        return self.words("run", "--on", "slurm", "--site", site, "--checkpoint-seconds", "1", *options)

    def submit(self, *options: str) -> str:
        """Submit, which must succeed, and return what it says."""
        done = subprocess.run(
            self.submit_words(*options),
            env=self.cluster.environment,
            capture_output=True,
            text=True,
            timeout=WAIT_SECONDS,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def status(self) -> dict[str, Any]:
        """Return what the status is now, asked of SLURM anew."""
        (self.folder / "slurm" / "queue.json").unlink(missing_ok=True)
        done = self.clr_hpc("status", "--json")
        assert done.stdout, done.stderr
        answer: dict[str, Any] = json.loads(done.stdout)
        return answer

    def queued(self) -> list[str]:
        """Return the states of the study's elements that SLURM still has, from squeue."""
        told = self.cluster.output("squeue", "--noheader", "--array", "--format=%j %T")
        return [line.split()[1] for line in told.splitlines() if line.startswith("clr-trial-")]

    def await_end(self) -> None:
        wait_until(lambda: not self.queued(), "the end of all jobs")

    def samples(self) -> int:
        """Return how far the study's first run is by its newest checkpoint."""
        saved = self.folder.glob("runs/*/checkpoints/[0-9]*.safetensors")
        return max((int(path.stem) for path in saved), default=0)

    def job(self) -> str:
        """Return the id of the first job."""
        (first, *_) = sorted((self.folder / "slurm" / "submissions").glob("*.json"))
        return str(json.loads(first.read_text())["job"])

    def starts(self) -> list[int]:
        """Return how often each run was started."""
        return [len(json.loads((run / "environment.json").read_text())) for run in self.study.folders()]

    def logs(self) -> str:
        return "".join(path.read_text() for path in sorted((self.folder / "slurm" / "logs").glob("*_log.*")))
