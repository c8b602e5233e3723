"""The article's grid trained as small as it can be, and killed on the way: is anything lost, what does a run cost?

    python benchmarks/trained_grid.py [--findings 14] [--on here|ray|slurm] [--folder GRID]

The runs of jobs/paper.yaml, 3,900 with all 14 findings, on phantom films of 16 × 16 with timm's test networks in
place of the article's, in two epochs of one step each: some half an hour on 2 cores. The command is killed
(SIGKILL) when a third and when two thirds have ended, and started again; what it has started must end by itself.
On SLURM, which this script starts as root, all processes of its array tasks are killed instead.
Then every run must be done, and what was done before a kill must be untouched.
"""

import json
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from rich.console import Console
from rich.table import Table

from clr_hpc.config.expand import expand
from clr_hpc.config.load import load_study
from clr_hpc.config.pathologies import PATHOLOGIES
from parts.command import parser
from parts.processes import CLR_HPC
from parts.slurm_cluster import SlurmCluster, cluster, seconds_until
from parts.studies import phantom_pack

PAPER = Path(__file__).parent.parent / "jobs" / "paper.yaml"
NETWORKS = ["timm/test_resnet", "timm/test_efficientnet", "timm/test_byobnet"]
"""Of some 0.3 million weights; made for tests."""
IMAGES, SIDE, EPOCHS = 400, 16, 2
BATCH = 512
"""More than there are training images, so that an epoch is one step."""
KILLED_AT = (1 / 3, 2 / 3)
POLL_SECONDS = 1.0
ARRAY_TASKS = 4


def small_paper(folder: Path, findings: int, **changes: object) -> Path:
    """Write the study, with changes, and its pack; return the study's file."""
    study = yaml.safe_load(PAPER.read_text(encoding="utf-8"))
    pack = phantom_pack(folder / "pack", IMAGES, SIDE)
    study |= {"pack": str(pack.folder), "architectures": NETWORKS, "pathologies": list(PATHOLOGIES[:findings])}
    study["one_class"][0]["features_of"] = PATHOLOGIES[0]
    study["training"] = {"epochs": EPOCHS, "batch_size": BATCH, "image_size": SIDE}
    for stage in study["stages"].values():
        stage["epochs"] = EPOCHS
        stage["policies"] = [_shorter(policy) for policy in stage["policies"]]
    file = folder / "paper.yaml"
    file.write_text(yaml.safe_dump(study | changes))
    return file


def _shorter(policy: Any) -> Any:
    return policy | {"half_cycle_epochs": 1} if "half_cycle_epochs" in policy else policy


class Command:
    """A command that trains a study itself; it is killed alone, and what it has started must end by itself."""

    def __init__(self, file: Path, folder: Path, place: str) -> None:
        """Take the study's file, the folder of its results, and what ``--on`` says."""
        options = ["--on", place, "--no-plan", "--results", str(folder / "results")]
        self._command = [*CLR_HPC, "run", str(file), *options]

    def until(self, enough: Callable[[], bool], kill: bool) -> float:
        """Train until ``enough()``, or to the end; return the CPU seconds of the command's own process."""
        process = subprocess.Popen(self._command, stdout=subprocess.DEVNULL)
        ticks = 0
        while not enough() and process.poll() is None:
            ticks = _ticks(process.pid) or ticks
            time.sleep(POLL_SECONDS)
        if kill:
            process.kill()
        if process.wait() not in (0, -signal.SIGKILL):
            raise subprocess.CalledProcessError(process.returncode, process.args)
        return ticks / os.sysconf("SC_CLK_TCK")


class Submission:
    """A command that submits a study to SLURM; all processes of its jobs are killed at once."""

    def __init__(self, file: Path, slurm: SlurmCluster) -> None:
        """Take the study's file, and the cluster whose ``shared`` has it."""
        site = slurm.write_site(parallel=ARRAY_TASKS)
        self._slurm, self._words = slurm, ("run", str(file), "--on", "slurm", "--no-plan", "--site", str(site))
        self._polls = 0

    def until(self, enough: Callable[[], bool], kill: bool) -> float:
        """Train until ``enough()``, or until no job is left; return the CPU seconds of the submission."""
        before = os.times()
        self._slurm.clr_hpc(*self._words)
        after = os.times()
        seconds_until(lambda: enough() or not self._jobs(), time.monotonic(), POLL_SECONDS)
        if kill and (jobs := self._jobs()):
            self._slurm.run("scancel", "--quiet", "--signal=KILL", "--full", *jobs)
        seconds_until(lambda: not self._jobs(), time.monotonic(), POLL_SECONDS)
        return after.children_user + after.children_system - before.children_user - before.children_system

    def requests(self) -> str:
        """Return how often the controller was asked what, without this class's own calls of squeue."""
        asked, polls = self._slurm.requests(), self._polls
        self._jobs()
        for name, count in (self._slurm.requests() - asked).items():
            asked[name] -= count * polls
        return f"{asked.total():,}: " + ", ".join(f"{name} {count:,}" for name, count in asked.most_common())

    def _jobs(self) -> list[str]:
        self._polls += 1
        return self._slurm.run("squeue", "--noheader", "--format=%A").split()


@dataclass
class Killed:
    """A study whose training is killed and started again."""

    trains: Command | Submission
    runs: Path
    total: int
    own_seconds: list[float] = field(default_factory=list)
    """CPU time of each command's own process: the control plane."""
    seconds: list[float] = field(default_factory=list)
    """By the wall clock, of each."""
    trained_again: int = 0
    """Runs that were done before a kill and not the same after it."""

    def done(self) -> dict[str, float]:
        """Return the seconds that each run took, which no two trainings share, of those that are done."""
        results = {path.parent.name: json.loads(path.read_text()) for path in self.runs.glob("*/result.json")}
        return {name: result["seconds"] for name, result in results.items() if result["status"] == "done"}

    def until(self, count: int) -> None:
        """Train until so many runs have ended, then kill it, or to the end where these are all."""
        before, started = self.done(), time.monotonic()
        kill = count < self.total
        self.own_seconds.append(self.trains.until(lambda: kill and self._ended() >= count, kill))
        self.seconds.append(time.monotonic() - started)
        after = self.done()
        self.trained_again += sum(after.get(name) != seconds for name, seconds in before.items())

    def _ended(self) -> int:
        return sum(1 for _ in self.runs.glob("*/result.json"))


def _ticks(process: int) -> int:
    try:
        fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0
    return int(fields[11]) + int(fields[12])


def rehearse(folder: Path, findings: int, place: str, **changes: object) -> dict[str, str]:
    """Train the study, with changes, through its kills; return what is to be shown."""
    if place != "slurm":
        file = small_paper(folder, findings, **changes)
        return _rehearsed(file, folder, Command(file, folder, place))
    with cluster() as slurm:
        file = small_paper(slurm.shared, findings, **changes)
        submission = Submission(file, slurm)
        found = _rehearsed(file, slurm.shared, submission)
        return found | {"requests to SLURM's controller": submission.requests()}


def _rehearsed(file: Path, folder: Path, trains: Command | Submission) -> dict[str, str]:
    study = load_study(file)
    total = len(expand(study, "0" * 64))
    runs = folder / "results" / study.name / "runs"
    killed = Killed(trains, runs, total)
    for share in (*KILLED_AT, 1.0):
        killed.until(round(total * share))
    files = [path for path in runs.rglob("*") if path.is_file()]
    held = sum(path.stat().st_size for path in files)
    return {
        "runs": f"{total:,}",
        "not done": str(total - len(killed.done())),
        "done before a kill, trained again": str(killed.trained_again),
        "wall clock per run, s": f"{sum(killed.seconds) / total:.2f}",
        "the command's own CPU time per run, ms": f"{1000 * sum(killed.own_seconds) / total:.1f}",
        "files per run": f"{len(files) / total:.1f}",
        "MB per run": f"{held / total / 1e6:.2f}",
    }


def main() -> None:
    """Measure and print."""
    command = parser(__doc__)
    command.add_argument("--findings", type=int, nargs="+", default=[1, 14], help="one study after the other")
    command.add_argument("--on", default="here", choices=("here", "ray", "slurm"))
    command.add_argument("--folder", type=Path, help="kept, not on SLURM; default: a temporary one")
    options = command.parse_args()
    if options.folder and options.on == "slurm":
        command.error("--folder: on SLURM the folder is the cluster's, which ends with it")
    table = Table("", title=f"--on {options.on}, {os.cpu_count()} cores")
    rows: dict[str, list[str]] = {}
    for findings in options.findings:
        table.add_column(f"{findings} of 14 findings")
        with tempfile.TemporaryDirectory() as temporary:
            folder = (options.folder or Path(temporary)) / str(findings)
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir(parents=True)
            for name, value in rehearse(folder, findings, options.on).items():
                rows.setdefault(name, []).append(value)
                print(name, value, flush=True)
    for name, values in rows.items():
        table.add_row(name, *values)
    Console().print(table)


if __name__ == "__main__":
    main()
