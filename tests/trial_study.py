"""A small study that is run as a user would: the command in a process of its own, its folders, its results."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from click.testing import Result
from typer.testing import CliRunner

from clr_hpc.cli.app import app

WAIT_SECONDS = 360
STUDY = {
    "name": "trial",
    "pathologies": ["cardiomegaly"],
    "optimizers": ["sgd"],
    "rates": {"sgd": {"lr_min": 0.001, "lr_max": 0.01}},
    "stages": {"scratch": {"policies": ["constant", {"name": "triangular", "half_cycle_epochs": 1}]}},
    "training": {"epochs": 2, "image_size": 32, "batch_size": 16},
}

RANGE_TESTED = {
    "pathologies": [],
    "one_class": [{"methods": ["autoencoder"]}],
    "rates": {"sgd": "auto"},
    "stages": {"scratch": {"policies": ["triangular"]}},
    "range_test": {"seeds": [0], "epochs": 12, "rates": {"sgd": {"lr_min": 1e-6, "lr_max": 1}}},
    "training": {"epochs": 1, "image_size": 32, "batch_size": 4},
}
"""Changes to it whose range test comes to a suggestion in seconds."""


@dataclass(frozen=True)
class TrialStudy:
    """``study.yaml`` in a folder, with ``results/`` beside it."""

    file: Path

    @classmethod
    def write(cls, folder: Path, **changes: Any) -> "TrialStudy":
        folder.mkdir(exist_ok=True)
        (folder / "study.yaml").write_text(yaml.safe_dump(STUDY | changes))
        return cls(folder / "study.yaml")

    def command(self, *options: str, on: str = "here") -> list[str]:
        start = [sys.executable, "-m", "clr_hpc", "run", str(self.file), "--on", on]
        return [*start, "--no-plan", "--results", str(self.file.parent / "results"), *options]

    def run(self, *options: str, on: str = "here", **popen: Any) -> subprocess.CompletedProcess[str]:
        command = self.command(*options, on=on)
        return subprocess.run(command, capture_output=True, text=True, timeout=WAIT_SECONDS, check=False, **popen)

    def answer(self, *options: str, on: str = "here") -> Result:
        """Return what ``run`` says in this process, where the law is not about processes."""
        return CliRunner().invoke(app, self.command(*options, on=on)[3:])

    def train(self) -> None:
        """Train all runs in this process, for tests of what is made of trained runs."""
        import torch

        from clr_hpc.config.expand import expand
        from clr_hpc.config.load import load_study
        from clr_hpc.data.pack import Pack
        from clr_hpc.store.study_folder import StudyFolder
        from clr_hpc.training.distributed import ProcessGroup
        from clr_hpc.training.run import RunSettings, train_run

        study = load_study(self.file)
        pack, folder = Pack.open(Path(study.pack)), StudyFolder(self.file.parent / "results" / study.name)
        folder.prepare(study, pack.folder)
        alone, settings = ProcessGroup.alone(torch.device("cpu")), RunSettings(frees=True)
        for spec in expand(study, pack.manifest.checksum):
            assert train_run(spec, pack, folder.runs / spec.name, alone, bool, settings, "here") == "done"

    def copied_to(self, folder: Path) -> "TrialStudy":
        """Return the same study in another folder, without results."""
        folder.mkdir()
        (folder / "study.yaml").write_text(self.file.read_text())
        return TrialStudy(folder / "study.yaml")

    def folders(self) -> list[Path]:
        """Return the run folders that are there."""
        return sorted((self.file.parent / "results" / "trial" / "runs").glob("*"))

    def holders(self) -> dict[int, Path]:
        """Return the processes that train a run now, wherever they were started, and its folder."""
        found = {}
        for entry in Path("/proc").glob("[0-9]*"):
            try:
                links = [str(link.readlink()) for link in (entry / "fd").iterdir()]
            except OSError:
                continue
            for folder in self.folders():
                if str(folder / ".lock") in links:
                    found[int(entry.name)] = folder
        return found

    def results(self) -> list[dict[str, Any]]:
        return [json.loads((folder / "result.json").read_text()) for folder in self.folders()]

    def checksums(self) -> dict[str, str]:
        """Return the checksum of each run's last checkpoint."""
        named = zip(self.folders(), self.results(), strict=True)
        return {folder.name: result["checkpoint_sha256"] for folder, result in named}


def on_one_core() -> None:
    """Have a command that is about to begin see a machine of one core: one process with one thread trains."""
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})


def wait_until(condition: Callable[[], bool], what: str, seconds: float = WAIT_SECONDS) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"waited {seconds} s for {what}"
        time.sleep(0.05)


def descendants_of(process: subprocess.Popen[Any]) -> list[int]:
    """Return the processes that it started, those that they started, and so on."""
    found, last = [], [process.pid]
    while last:
        parents = ",".join(map(str, last))
        listed = subprocess.run(["pgrep", "-P", parents], capture_output=True, text=True, check=False)
        last = [int(number) for number in listed.stdout.split()]
        found += last
    return found


def is_alive(process_id: int) -> bool:
    try:
        return "\nState:\tZ" not in Path(f"/proc/{process_id}/status").read_text()
    except FileNotFoundError:
        return False
