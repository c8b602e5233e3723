"""The article's grid as if it were trained: what commands on its runs cost, and whether the answers are true.

    python benchmarks/paper_grid.py [--folder GRID] [--runs 300] [--commands status report]

Writes the folders of the first runs of jobs/paper.yaml, with drawn scores (parts/drawn_grid.py) and by the store's
own writers, where GRID lacks them: 112,120 images, a quarter of them test. 300 runs take two minutes on 2 cores
and 0.5 GB, all 3,900 half an hour and 6 GB. Then each command is run in a process of its own. Prints its time and
memory, the size of the report's page, and each policy's verdict next to the difference that was drawn.
"""

import csv
import resource
import subprocess
import tempfile
import time
from pathlib import Path

import yaml
from rich.console import Console
from rich.table import Table

from clr_hpc.config.expand import expand
from clr_hpc.config.load import load_study
from clr_hpc.config.resources import usable_cores
from clr_hpc.config.run import RunSpec
from clr_hpc.data.pack import Pack
from clr_hpc.data.workers import mapped
from clr_hpc.store.study_folder import StudyFolder
from parts.command import parser
from parts.drawn_grid import POLICY_EFFECTS, DrawnCollection, DrawnGrid, drawn_pack
from parts.processes import CLR_HPC

PAPER = Path(__file__).parent.parent / "jobs" / "paper.yaml"
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


def measured(command: str, file: Path, results: Path) -> tuple[float, float]:
    """Run a command; return seconds by the wall clock, and the largest gigabytes of any child so far."""
    start = time.perf_counter()
    subprocess.run(
        [*CLR_HPC, command, str(file), "--results", str(results)], check=True, stdout=subprocess.DEVNULL
    )
    return time.perf_counter() - start, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 2**20


def main() -> None:
    """Read the command line and rehearse."""
    options = parser(__doc__)
    options.add_argument("--folder", type=Path, help="kept; default: a temporary one")
    options.add_argument("--runs", type=int, default=300)
    options.add_argument("--commands", nargs="+", default=["status", "report"])
    given = options.parse_args()
    if given.folder:
        given.folder.mkdir(parents=True, exist_ok=True)
        rehearse(given.folder, given.runs, given.commands)
        return
    with tempfile.TemporaryDirectory() as folder:
        rehearse(Path(folder), given.runs, given.commands)


def rehearse(folder: Path, runs: int, commands: list[str]) -> None:
    """Write what is missing, measure and print."""
    file, results = draw(folder, runs), folder / "results"
    table = Table("command", "seconds", "GB at most", title=f"{runs:,} runs, {usable_cores()} cores")
    for command in commands:
        seconds, memory = measured(command, file, results)
        table.add_row(command, f"{seconds:.0f}", f"{memory:.2f}")
    console = Console()
    console.print(table)
    report = results / "paper" / "report"
    if "report" in commands:
        console.print(f"page: {(report / 'report.html').stat().st_size / 1e6:.1f} MB", highlight=False)
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
