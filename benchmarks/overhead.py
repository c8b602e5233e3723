"""What a command costs besides training: start-up, the gap between runs, memory, and disk.

    python benchmarks/overhead.py

Some four minutes on 2 cores. The runs are a few steps of MobileNetV1 on noise of 32 × 32, in one process, so that
what is left is overhead. A first step is seen when its record stands in the run's metrics: a gap holds that step.
Disk is what a finished run keeps, over the size of its model's weights: at a constant rate, and at a cyclical one,
whose last five cycle ends are kept besides.
"""

import json
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from rich.console import Console
from rich.table import Table

from parts import command
from parts.command import OF_THE_ARTICLE
from parts.noise import noise_pack
from parts.processes import CLR_HPC, POLL_SECONDS, Memory, RunTimes, children, proportional_bytes, seconds_of

HELP_SECONDS = 0.5
BATCH, IMAGES, RUNS = 16, 120, 12
STEP_AN_EPOCH = 90
"""Batch size at which the training images are one batch, or nearly."""
OPTIMIZERS = ["sgd", "adam", "rmsprop", "adagrad"]
CYCLES = {"name": "triangular", "half_cycle_epochs": 0.5}


def write_study(
    folder: Path, name: str, size: int, batch: int = BATCH, epochs: int = 2, **changes: object
) -> Path:
    """Write a study of constant rates on the pack of ``size`` pixels, and return its file."""
    training = {"epochs": epochs, "image_size": size, "batch_size": batch}
    return command.write_study(folder / f"{name}.yaml", folder / f"pack{size}", training, lr_max=0.0001, **changes)


class WatchedCommand(RunTimes):
    """``clr-hpc run`` of a study in one process: when its runs began and ended, and the memory it took."""

    def __init__(self, study: Path) -> None:
        """Run it to its end."""
        super().__init__(study.parent / "results" / study.stem / "runs")
        self.memory, self.worker_memory = Memory(), Memory()
        started = time.monotonic()
        for process in while_running(study, processes=1):
            self.memory.see(process)
            for child in children(process):
                self.worker_memory.see(child)
            self.look(time.monotonic() - started)

    def step_seconds(self) -> float:
        """Return what a step took, by the runs' own records."""
        lines = [line for path in self.runs.glob("*/metrics.jsonl") for line in path.read_text().splitlines()]
        steps = [entry for line in lines if (entry := json.loads(line))["kind"] == "step"]
        return BATCH / statistics.median(entry["images_per_second"] for entry in steps)


def while_running(study: Path, processes: int, poll_seconds: float = POLL_SECONDS) -> Iterator[int]:
    """Run a study, and yield the command's id again and again until it has ended, and once more."""
    options = ["--results", str(study.parent / "results"), "--no-plan", "--processes", str(processes)]
    process = subprocess.Popen([*CLR_HPC, "run", str(study), *options], stdout=subprocess.DEVNULL)
    while process.poll() is None:
        yield process.pid
        time.sleep(poll_seconds)
    yield process.pid
    assert process.returncode == 0, f"{study.stem} ended with {process.returncode}"


def memory_with_torch() -> Memory:
    """Return the memory of a Python that has imported torch and done nothing else."""
    read = "import torch, pathlib; print(pathlib.Path('/proc/self/status').read_text())"
    status = subprocess.run([sys.executable, "-c", read], check=True, capture_output=True, text=True).stdout
    lines = dict(line.split(":", 1) for line in status.splitlines() if ":" in line)
    return Memory(*(int(lines[name].split()[0]) * 1024 for name in ("VmHWM", "RssAnon")))


def times(repeats: int, folder: Path, console: Console) -> None:
    """Measure start-up, gaps and memory, and print them."""
    python, importing = [sys.executable, "-c", "pass"], [sys.executable, "-c", "import torch"]
    commands = {"python": python, "help": [*CLR_HPC, "--help"], "torch": importing}
    taken: dict[str, list[float]] = {name: [] for name in commands}
    for turn in range(repeats + 1):  # in turns, so that a busy moment hits all; the first reads files from disk
        for name, words in commands.items():
            seconds = seconds_of(words)
            if turn > 0:
                taken[name].append(seconds)
    of = {name: statistics.median(seconds) for name, seconds in taken.items()}
    watched = WatchedCommand(write_study(folder, "many", 32, seeds=list(range(RUNS))))
    first, gaps, step = min(watched.first_steps.values()), watched.gaps(), watched.step_seconds()
    table = Table("what", "ratio", "to", "wanted", title="Time")
    table.add_row("clr-hpc --help", f"{of['help'] / of['python']:.1f}", "python -c pass", "")
    table.add_row("", f"{of['help'] / HELP_SECONDS:.2f}", f"{HELP_SECONDS:g} s", "< 1")
    table.add_row("clr-hpc run to the first step", f"{first / of['torch']:.1f}", "python -c 'import torch'", "")
    table.add_row(
        "end of a run to the first step of the next", f"{statistics.median(gaps) / step:.1f}", "a step", ""
    )
    table.add_row("the longest of them", f"{max(gaps) / step:.1f}", "a step", "")
    table.add_row("the gap", f"{statistics.median(gaps) / of['torch']:.2f}", "python -c 'import torch'", "")
    console.print(table)
    bare = memory_with_torch()
    table = Table("process", "resident", "anonymous", title="Peak memory, in that of a Python that imported torch")
    for name, memory in (("clr-hpc run", watched.memory), ("its worker", watched.worker_memory)):
        ratios = (memory.resident / bare.resident, memory.anonymous / bare.anonymous)
        table.add_row(name, *(f"{ratio:.2f}" for ratio in ratios))
    console.print(table)
    study = write_study(folder, "together", 32, epochs=20, seeds=[0, 1])
    first, second = (peak_together(study, processes) for processes in (1, 2))
    console.print(
        f"A second process of --on here adds {second / first - 1:.2f} of what command and first process take."
    )


def peak_together(study: Path, processes: int) -> int:
    """Return the peak memory of a command and its processes, in bytes, and leave no results."""
    running = while_running(study, processes, poll_seconds=0.2)
    peak = max(proportional_bytes([process, *children(process)]) for process in running)
    shutil.rmtree(study.parent / "results" / study.stem)
    return peak


def disk(folder: Path, console: Console) -> None:
    """Train a run of each architecture and optimizer, and print what they keep."""
    table = Table(
        "network", "rate", *OPTIMIZERS, title="What a finished run keeps on disk, in sizes of its weights"
    )
    for architecture in OF_THE_ARTICLE:
        policies = {"constant": ("baseline", "constant", 2), "cyclical": ("scratch", CYCLES, 6)}
        for name, (stage, policy, epochs) in policies.items():
            changes = {"architectures": [architecture], "optimizers": OPTIMIZERS}
            changes["stages"] = {stage: {"policies": [policy], "epochs": epochs}}
            study = write_study(folder, f"{architecture}-{name}", 64, STEP_AN_EPOCH, **changes)
            saving = ["--checkpoint-seconds", "0"]  # as a long run has it: two checkpoints, not the last alone
            seconds_of([*CLR_HPC, "run", str(study), "--results", str(folder / "results"), "--no-plan", *saving])
            ratios = []
            for optimizer in OPTIMIZERS:
                (run,) = (folder / "results" / study.stem / "runs").glob(f"*.{optimizer}.*")
                kept = sum(path.stat().st_size for path in run.rglob("*") if path.is_file())
                ratios.append(kept / (run / "best.safetensors").stat().st_size)
            table.add_row(architecture, name, *(f"{ratio:.1f}" for ratio in ratios))
            shutil.rmtree(folder / "results" / study.stem)
    console.print(table)


def main() -> None:
    """Measure and print."""
    parser = command.parser(__doc__)
    parser.add_argument("--repeats", type=int, default=7, help="of each command that is timed")
    options = parser.parse_args()
    console = Console(width=110)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for size in (32, 64):
            noise_pack(folder / f"pack{size}", IMAGES, size)
        times(options.repeats, folder, console)
        disk(folder, console)


if __name__ == "__main__":
    main()
