"""The article's grid as if it were trained: what commands on its runs cost, and whether the answers are true.

    python benchmarks/paper_grid.py [--folder GRID] [--runs 300] [--commands status report again]

Writes the folders of the first runs of jobs/paper.yaml, with drawn scores (parts/drawn_grid.py) and by the store's
own writers, where GRID lacks them: 112,120 images, a quarter of them test. 300 runs take two minutes on 2 cores
and 0.5 GB, all 3,900 half an hour and 6 GB. Then each command is run in a process of its own. Prints its time and
memory, the size of the report's page, and each policy's verdict next to the difference that was drawn.
"""

import csv
import json
import os
import shutil
import signal
import subprocess
import tempfile
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import yaml
from rich.console import Console
from rich.table import Table

from clr_hpc.config.expand import expand
from clr_hpc.config.load import load_study
from clr_hpc.config.resources import usable_cores
from clr_hpc.config.run import RunSpec
from clr_hpc.data.manifest import read_manifest
from clr_hpc.data.pack import Pack
from clr_hpc.data.workers import mapped
from clr_hpc.store.study_folder import StudyFolder
from parts.command import parser
from parts.drawn_grid import POLICY_EFFECTS, DrawnCollection, DrawnGrid, drawn_pack
from parts.processes import CLR_HPC

PAPER = Path(__file__).parent.parent / "jobs" / "paper.yaml"
THROUGHPUT = {
    "lane_start_seconds": 8.0,
    "rates": [
        {
            "network": network, "image_size": 224, "batch_size": 64, "precision": "bfloat16", "workers": 1,
            "gpus_per_worker": 1.0, "images_per_second": 1500, "evaluated_per_second": 5000, "start_seconds": 2.0,
            "epoch_seconds": 0.2, "memory_bytes": 8_000_000_000,
        }
        for network in ("mobilenet_v1", "alexnet", "densenet121", "autoencoder")
    ],
}  # fmt: skip
"""Assumed, as a plan's own cost does not depend on the rates."""
ENDED_BY_CTRL_C = 130
AT_ONCE = 20
"""Runs that a process writes with one message; it draws each task's images once."""


DRAWN = {
    "Constant, retrained": POLICY_EFFECTS["constant"],
    "Triangular, retrained": POLICY_EFFECTS["triangular"],
    "Triangular2, retrained": POLICY_EFFECTS["triangular2"],
    "Modified triangular2, retrained": POLICY_EFFECTS["triangular2_modified"],
}
"""True difference in AUROC, by the report's names."""


def write(part: tuple[Path, Path, tuple[RunSpec, ...]]) -> int:
    """Write the folders of some runs that are missing; return how many there are."""
    pack, runs, specs = part
    grid = DrawnGrid(Pack.open(pack), runs)
    for spec in specs:
        if not (runs / spec.name / "result.json").exists():
            grid.write(spec)
    return len(specs)


def draw(folder: Path, count: int) -> Path:
    """Write the study and the folders of its first runs; return the study's file."""
    pack = drawn_pack(folder / "pack", DrawnCollection())
    file = folder / "paper.yaml"
    file.write_text(yaml.safe_dump(yaml.safe_load(PAPER.read_text(encoding="utf-8")) | {"pack": str(pack.folder)}))
    study = load_study(file)
    study_folder = StudyFolder(folder / "results" / study.name)
    study_folder.prepare(study, pack.folder)
    specs = sorted(
        expand(study, pack.manifest.checksum), key=lambda spec: (spec.seed, spec.architecture, spec.optimizer.name)
    )[:count]
    parts = [
        (pack.folder, study_folder.runs, specs[first : first + AT_ONCE]) for first in range(0, len(specs), AT_ONCE)
    ]
    with mapped(write, parts, usable_cores()) as written:
        print(f"{sum(written):,} runs are there")
    return file


@dataclass(frozen=True)
class Cost:
    """What a command took; that of its children is in it."""

    seconds: float
    """By the wall clock."""
    cpu_seconds: float
    gibibytes: float
    """Peak of resident memory of any of its processes, and at least this script's, which starts it."""


def measured(*words: str | Path) -> Cost:
    """Run a command to its end."""
    start = time.perf_counter()
    process = subprocess.Popen([*CLR_HPC, *map(str, words)], stdout=subprocess.DEVNULL)
    return _cost(process, start)


def until_it_serves(*words: str | Path) -> Cost:
    """Run a command until its first line, then end it as Ctrl-C does."""
    start = time.perf_counter()
    process = subprocess.Popen([*CLR_HPC, *map(str, words)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    process.stdout.readline()
    seconds = time.perf_counter() - start
    process.send_signal(signal.SIGINT)
    return replace(_cost(process, start), seconds=seconds)


def _cost(process: "subprocess.Popen[Any]", start: float) -> Cost:
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode not in (0, ENDED_BY_CTRL_C):
        raise subprocess.CalledProcessError(process.returncode, process.args)
    return Cost(time.perf_counter() - start, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 2**20)


class Rehearsal:
    """The commands that are measured, on the folder of a drawn grid."""

    def __init__(self, file: Path, folder: Path) -> None:
        """Take the study's file, and the folder that has its ``results``."""
        self._file, self._results = file, folder / "results"
        self.study = self._results / "paper"
        self._aside = folder / "aside"

    def status(self) -> Cost:
        """Show the state of all runs."""
        return measured("status", self.study)

    def plan(self) -> Cost:
        """Predict the study as if nothing of it were trained."""
        rates, pack = self._aside.with_name("throughput.json"), self._aside.with_name("large-pack")
        rates.write_text(json.dumps(THROUGHPUT))
        shutil.copytree(self._aside.with_name("pack"), pack, copy_function=os.link)
        try:
            manifest = read_manifest(pack).model_copy(update={"size": 224})
            (pack / "manifest.json").unlink()
            (pack / "manifest.json").write_text(manifest.to_json())
            words = ("--on", "slurm", "--gpus", "8", "--throughput", rates, "--results", self._aside)
            return measured("plan", self._file, *words, "--set", f"pack={pack}")
        finally:
            shutil.rmtree(pack)

    def report(self) -> Cost:
        """Write the report from nothing, of all runs but one."""
        shutil.rmtree(self.study / "report-cache", ignore_errors=True)
        done = sorted(path.parent for path in self.study.glob("runs/*/result.json"))
        self._aside.mkdir(exist_ok=True)
        done[len(done) // 2].rename(self._aside / done[len(done) // 2].name)
        try:
            return measured("report", self.study)
        finally:
            self._put_back()

    def _put_back(self) -> None:
        for path in self._aside.iterdir():
            path.rename(self.study / "runs" / path.name)

    def again(self) -> Cost:
        """Write the report once more, with the run that it lacked."""
        return measured("report", self.study)

    def compare(self) -> Cost:
        """Compare the study with itself, under another name."""
        other = self._results / "other"
        shutil.copytree(self.study, other, copy_function=os.link, ignore=shutil.ignore_patterns("report*"))
        try:
            return measured("compare", self.study, other, "--output", self._aside / "comparison")
        finally:
            shutil.rmtree(other)
            shutil.rmtree(self._aside / "comparison", ignore_errors=True)

    def clean(self) -> Cost:
        """Show what could be freed."""
        return measured("clean", self.study)

    def tensorboard(self) -> Cost:
        """Start TensorBoard; the wall clock counts until it says where it is."""
        return until_it_serves("tensorboard", self.study, "--port", "0")


COMMANDS = ("status", "plan", "report", "again", "compare", "clean", "tensorboard")


def main() -> None:
    """Read the command line and rehearse."""
    options = parser(__doc__)
    options.add_argument("--folder", type=Path, help="kept; default: a temporary one")
    options.add_argument("--runs", type=int, default=300)
    options.add_argument("--commands", nargs="+", choices=COMMANDS, default=["status", "report", "again"])
    given = options.parse_args()
    if given.folder:
        given.folder.mkdir(parents=True, exist_ok=True)
        rehearse(given.folder, given.runs, given.commands)
        return
    with tempfile.TemporaryDirectory() as folder:
        rehearse(Path(folder), given.runs, given.commands)


def rehearse(folder: Path, runs: int, commands: list[str]) -> None:
    """Write what is missing, measure and print."""
    rehearsal = Rehearsal(draw(folder, runs), folder)
    title = f"{len(list(rehearsal.study.glob('runs/*/result.json'))):,} runs, {usable_cores()} cores"
    table = Table("command", "seconds", "CPU seconds", "GiB", title=title)
    for command in commands:
        cost: Cost = getattr(rehearsal, command)()
        table.add_row(command, f"{cost.seconds:.0f}", f"{cost.cpu_seconds:.0f}", f"{cost.gibibytes:.2f}")
        print(command, cost, flush=True)
    console = Console()
    console.print(table)
    report = rehearsal.study / "report"
    if "report" in commands:
        kept = sum(path.stat().st_size for path in (rehearsal.study / "report-cache").iterdir())
        page = (report / "report.html").stat().st_size
        console.print(f"page: {page / 1e6:.1f} MB, kept scores: {kept / 1e6:.0f} MB", highlight=False)
        answers = Table("policy", "drawn", "found", "95 % interval", "verdict")
        with (report / "verdicts.csv").open(newline="", encoding="utf-8") as verdicts:
            for row in csv.DictReader(verdicts):
                found, low, high = (float(row[f"auroc_difference{end}"]) for end in ("", "_low", "_high"))
                drawn = f"{DRAWN.get(row['retrained_with'], float('nan')):+.3f}"
                answers.add_row(
                    row["retrained_with"], drawn, f"{found:+.4f}", f"{low:+.4f} to {high:+.4f}", row["verdict"]
                )
        console.print(answers)


if __name__ == "__main__":
    main()
