"""The study of a campaign, the places where it is trained, and what must be equal afterwards."""

import hashlib
import json
import os
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any, ClassVar

from ray_cluster import RayNodes
from slurm_cluster import SlurmCluster
from slurm_trial import SlurmTrial
from trial_study import TrialStudy, is_alive

from clr_hpc.store import layout
from clr_hpc.store.metrics import read_metrics
from clr_hpc.store.results import check_result, is_done

NETWORK = Path(__file__).with_name("network")
RUNS = 4
STUDY = {
    "architectures": ["small"],
    "stages": {
        "baseline": {"policies": [{"name": "exponential", "gamma": 0.9}]},
        "retrain": {"policies": [{"name": "triangular", "half_cycle_epochs": 2}]},
        "scratch": {"policies": ["constant"]},
    },
    "training": {"epochs": 20, "image_size": 32, "batch_size": 8},
}
"""A baseline, its retraining and control, and a run from scratch: each has some seconds in which it can be hit."""
HUNG_SECONDS = 300
HUNG_TIMES = 10
"""A command hangs that takes longer, and so many times as long as the undisturbed study: machines may be busy."""
ORPHAN_SECONDS = 60
"""In which the processes of a command that has ended must have ended too: one that is importing torch, on a busy
machine."""
MARK = "CLR_HPC_CAMPAIGN"
CLOCKS = ("elapsed_seconds", "images_per_second", "seconds")
TRACEBACK = re.compile(r"Traceback \(most recent call last\)|Exception ignored|internal error|Aborted\.")
ADVICE = re.compile(r"delete (\S+) and run the study again")
LEFT_OVER = re.compile(r"\..+\.(temporary|aside)|\.lease\..*|lease\.json")


def outcome(study: TrialStudy, without_metrics: bool = False) -> dict[str, dict[str, Any]]:
    """Return what must be equal of each run that is done, by its name.

    That are the SHA-256 of the last checkpoint, of the best weights and of the predictions, and all metrics but
    what clocks say. A damaged line of metrics costs that line; ``without_metrics`` leaves them out.
    """
    found = {}
    for folder in study.folders():
        result = check_result(folder)
        if not is_done(result):
            continue
        files = {name: state["sha256"] for name, state in result["files"].items() if name != layout.METRICS}
        lines = [
            {name: value for name, value in line.items() if name not in CLOCKS} for line in read_metrics(folder)
        ]
        metrics = hashlib.sha256(json.dumps(lines).encode()).hexdigest()
        found[folder.name] = {layout.CHECKPOINTS: result["checkpoint_sha256"], **files} | (
            {} if without_metrics else {layout.METRICS: metrics}
        )
    return found


class Place:
    """Where a study is trained: this machine."""

    name: ClassVar[str] = "here"
    seconds: float = 0.0
    """How long the undisturbed study takes, and ``command_seconds`` its command."""
    command_seconds: float = 0.0
    undisturbed: dict[str, dict[str, Any]]
    """What ``outcome`` is of it."""
    leaves: frozenset[str] = frozenset()
    """What it leaves in the folder of temporary files: torch's cache."""

    def command(self, study: TrialStudy) -> list[str]:
        """Return the words of the command."""
        return study.command("--processes", "2", "--checkpoint-seconds", "0.1")

    @property
    def environment(self) -> dict[str, str]:
        """Return the environment of the command."""
        return dict(os.environ)

    def await_end(self, trial: "Trial") -> None:
        """Wait for what the command has left to others."""

    def close(self, trial: "Trial") -> None:
        """End what still works on a study, so that the next finds the place as it was."""


class RayPlace(Place):
    """Lanes of a Ray cluster of three nodes, which the campaign starts once."""

    def __init__(self, name: str, nodes: RayNodes, *options: str) -> None:
        self.name, self.nodes, self._options = name, nodes, options  # type: ignore[misc]

    def command(self, study: TrialStudy) -> list[str]:
        joined = ("--address", self.nodes.address, "--checkpoint-seconds", "0.1")
        return study.command(*joined, *self._options, on="ray")

    @property
    def environment(self) -> dict[str, str]:
        return dict(self.nodes.environment)


class SlurmPlace(Place):
    """A job array of two tasks on a SLURM of this machine, which the campaign starts once."""

    name = "slurm"

    def __init__(self, cluster: SlurmCluster) -> None:
        self.cluster = cluster

    def command(self, study: TrialStudy) -> list[str]:
        words = SlurmTrial.write(study, self.cluster).submit_words("--parallel", "2", "--no-plan")
        words[words.index("--checkpoint-seconds") + 1] = "0.1"
        return words

    @property
    def environment(self) -> dict[str, str]:
        return self.cluster.environment

    def await_end(self, trial: "Trial") -> None:
        trial.wait(lambda: not self.has_jobs())

    def close(self, trial: "Trial") -> None:
        self.cluster.run("scancel", "--user=root")
        trial.wait(lambda: not self.has_jobs())

    def has_jobs(self) -> bool:
        """Return whether any job waits or runs; on a busy machine squeue may fail, which says nothing."""
        told = self.cluster.run("squeue", "--noheader")
        return told.returncode != 0 or bool(told.stdout.strip())


@dataclass
class Trial:
    """The study in a folder of its own, and all commands that were started on it."""

    place: Place
    study: TrialStudy
    chance: Random
    commands: list[subprocess.Popen[bytes]] = field(default_factory=list)

    @classmethod
    def write(cls, place: Place, pack: Path, folder: Path, chance: Random) -> "Trial":
        (folder / "temporary").mkdir(parents=True)
        return cls(place, TrialStudy.write(folder, pack=str(pack), **STUDY), chance)

    @property
    def folder(self) -> Path:
        return self.study.file.parent

    @property
    def temporary(self) -> Path:
        """Return where the commands make their temporary files."""
        return self.folder / "temporary"

    @property
    def outputs(self) -> list[Path]:
        """Return what commands and jobs have printed."""
        return sorted([*self.folder.glob("*.output"), *self.folder.glob("results/trial/slurm/logs/*_log.*")])

    @property
    def mark(self) -> str:
        """Return what all processes of these commands have in their environment."""
        return f"{MARK}={self.folder}"

    def start(self) -> "subprocess.Popen[bytes]":
        """Start the command, as a terminal does: with a process group of its own."""
        ours = {"TMPDIR": str(self.temporary), MARK: str(self.folder)}
        with (self.folder / f"{len(self.commands) + 1}.output").open("wb") as output:
            process = subprocess.Popen(
                self.place.command(self.study),
                env=self.place.environment | ours,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self.commands.append(process)
        return process

    def await_end(self) -> int:
        """Wait for the last command, and for the jobs that it has left; return its exit code."""
        try:
            code = self.commands[-1].wait(self.patience)
        except subprocess.TimeoutExpired:
            raise HungError(f"the command has not ended after {self.patience:.0f} s") from None
        self.place.await_end(self)
        return code

    @property
    def patience(self) -> float:
        """Return after how many seconds something hangs."""
        return max(HUNG_SECONDS, HUNG_TIMES * self.place.seconds)

    def wait(self, condition: Callable[[], bool]) -> None:
        """Wait until something is so.

        Raises:
            HungError: it takes too long.
        """
        deadline = time.monotonic() + self.patience
        while not condition():
            if time.monotonic() > deadline:
                raise HungError(f"waited {self.patience:.0f} s for {condition.__qualname__}")
            time.sleep(0.05)

    @property
    def is_under_way(self) -> bool:
        """Whether a command, or a job, has not ended."""
        if self.commands[-1].poll() is None:
            return True
        return isinstance(self.place, SlurmPlace) and self.done != RUNS and self.place.has_jobs()

    @property
    def done(self) -> int:
        """How many runs have a result."""
        return len(self.results())

    def results(self) -> dict[str, str]:
        """Return when each run ended that is done, by its name."""
        read = {folder.name: check_result(folder, verify=False) for folder in self.study.folders()}
        return {name: result["ended"] for name, result in read.items() if is_done(result)}

    def saved(self) -> int:
        """Return how many runs have a checkpoint."""
        return len([folder for folder in self.study.folders() if any(folder.glob("checkpoints/*.sha256"))])

    def worker(self) -> int:
        """Return a process that trains a run."""
        return self._one_of(lambda: list(self.study.holders()))

    def fork_server(self) -> int:
        """Return the process from which those that train are forked."""
        return self._one_of(lambda: [each for each in self.children() if b"forkserver" in _words(each)])

    def children(self) -> list[int]:
        """Return the processes that the command has started itself."""
        found = subprocess.run(["pgrep", "-P", str(self.commands[0].pid)], capture_output=True, text=True)
        return [int(number) for number in found.stdout.split()]

    def _one_of(self, find: Callable[[], list[int]]) -> int:
        found: list[int] = []

        def is_there() -> bool:
            found[:] = find()
            return bool(found) or not self.is_under_way

        self.wait(is_there)
        if not found:
            raise MissedError
        return self.chance.choice(sorted(found))

    def orphans(self) -> list[int]:
        """Return the processes of the commands that are there still, after time to end."""
        deadline = time.monotonic() + ORPHAN_SECONDS
        while (found := self._processes()) and time.monotonic() < deadline:
            time.sleep(0.1)
        return found

    def _processes(self) -> list[int]:
        found = set(self.study.holders())
        for entry in Path("/proc").glob("[0-9]*"):
            with suppress(OSError):
                if f"{self.mark}\0".encode() in (entry / "environ").read_bytes() and is_alive(int(entry.name)):
                    found.add(int(entry.name))
        return sorted(found)

    def left_over(self, on_node: bool) -> list[str]:
        """Return files that somebody should have removed, with ``on_node`` also temporary ones of the system."""
        temporary = [path for path in self.temporary.iterdir() if on_node and path.name not in self.place.leaves]
        results = [path for path in self.folder.rglob("*") if LEFT_OVER.fullmatch(path.name)]
        return [str(path.relative_to(self.folder)) for path in [*temporary, *results]]

    def tracebacks(self) -> list[str]:
        """Return the lines at which an output becomes what no user should see."""
        return [
            f"{path.name}:{number}: {line.strip()}"
            for path in self.outputs
            for number, line in enumerate(path.read_text(errors="replace").splitlines(), 1)
            if TRACEBACK.search(line)
        ]

    def follow_advice(self) -> list[str]:
        """Delete the folders of runs that the last command has asked to delete; return the runs' names."""
        told = (self.folder / f"{len(self.commands)}.output").read_text(errors="replace")
        named = [Path(path) for path in dict.fromkeys(ADVICE.findall(told))]
        for folder in named:
            shutil.rmtree(folder)
        return [folder.name for folder in named]

    def kill(self) -> None:
        """End all processes that are there still."""
        self.place.close(self)
        for process in self._processes():
            with suppress(ProcessLookupError):
                os.kill(process, signal.SIGKILL)
        for command in self.commands:
            command.wait()


class HungError(Exception):
    """Something did not end, or did not come."""


class MissedError(Exception):
    """The study had ended before the fault came."""


def _words(process: int) -> bytes:
    try:
        return Path(f"/proc/{process}/cmdline").read_bytes()
    except OSError:
        return b""
