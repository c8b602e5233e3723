"""What a command costs besides training: start-up, the gap between runs, memory, and disk.

    python benchmarks/overhead.py

Some four minutes on 2 cores. The runs are a few steps of MobileNetV1 on noise of 32 × 32, in one process, so that
what is left is overhead. A first step is seen when its record stands in the run's metrics: a gap holds that step.
Disk is what a finished run keeps, over the size of its model's weights: at a constant rate, and at a cyclical one,
whose last five cycle ends are kept besides.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from itertools import pairwise
from pathlib import Path

import yaml
from rich.console import Console
from rich.table import Table

from clr_hpc.config.network import ARCHITECTURES
from parts.noise import noise_pack
from parts.processes import POLL_SECONDS, Memory, children, proportional_bytes, seconds_of

COMMAND = [sys.executable, "-m", "clr_hpc"]
HELP_SECONDS = 0.5
BATCH, IMAGES = 16, 120
STEP_AN_EPOCH = 90
"""Batch size at which the training images are one batch, or nearly."""
OPTIMIZERS = {"sgd": 0.001, "adam": 0.0001, "rmsprop": 0.0001, "adagrad": 0.0001}
"""With rates low enough for a few steps to stay finite."""
CYCLES = {"name": "triangular", "half_cycle_epochs": 0.5}


def write_study(folder: Path, name: str, size: int, batch: int = BATCH, **changes: object) -> Path:
    """Write a study of constant rates on the pack of ``size`` pixels, and return its file."""
    study: dict[str, object] = {
        "name": name,
        "pack": str(folder / f"pack{size}"),
        "pathologies": ["effusion"],
        "optimizers": ["sgd"],
        "rates": {optimizer: {"lr_min": rate / 10, "lr_max": rate} for optimizer, rate in OPTIMIZERS.items()},
        "stages": {"baseline": {"policies": ["constant"]}},
        "training": {"epochs": 2, "image_size": size, "batch_size": batch},
    }
    study |= changes
    study["rates"] = {name: study["rates"][name] for name in study["optimizers"]}  # type: ignore[index]
    (folder / f"{name}.yaml").write_text(yaml.safe_dump(study))
    return folder / f"{name}.yaml"


class WatchedCommand:
    """``clr-hpc run`` of a study in one process: when its runs began and ended, and the memory it took."""

    def __init__(self, study: Path) -> None:
        """Run it to its end."""
        self.first_steps: dict[str, float] = {}
        """Seconds since the command was started."""
        self.results: dict[str, float] = {}
        self.memory, self.worker_memory = Memory(), Memory()
        self.runs = study.parent / "results" / study.stem / "runs"
        results = ["--results", str(study.parent / "results")]
        started = time.monotonic()
        command = [*COMMAND, "run", str(study), *results, "--no-plan", "--processes", "1"]
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, cwd=study.parent)
        while process.poll() is None:
            self._look(time.monotonic() - started, process.pid)
            time.sleep(POLL_SECONDS)
        self._look(time.monotonic() - started, process.pid)
        assert process.returncode == 0, f"{study.stem} ended with {process.returncode}"

    def _look(self, now: float, process: int) -> None:
        self.memory.see(process)
        for child in children(process):
            self.worker_memory.see(child)
        for folder in self.runs.glob("*"):
            if folder.name not in self.first_steps and _holds_something(folder / "metrics.jsonl"):
                self.first_steps[folder.name] = now
            if folder.name not in self.results and _holds_something(folder / "result.json"):
                self.results[folder.name] = now

    def gaps(self) -> list[float]:
        """Return the seconds from each run's result to the first step of the next."""
        order = sorted(self.results, key=lambda name: self.results[name])
        return [self.first_steps[after] - self.results[before] for before, after in pairwise(order)]

    def step_seconds(self) -> float:
        """Return what a step took, by the runs' own records."""
        lines = [line for path in self.runs.glob("*/metrics.jsonl") for line in path.read_text().splitlines()]
        steps = [entry for line in lines if (entry := json.loads(line))["kind"] == "step"]
        return BATCH / statistics.median(entry["images_per_second"] for entry in steps)


def _holds_something(path: Path) -> bool:
    try:
        return path.stat().st_size > 0
    except FileNotFoundError:
        return False


def python_with_torch() -> Memory:
    """Return the memory of a Python that has imported torch and done nothing else."""
    read = "import torch, pathlib; print(pathlib.Path('/proc/self/status').read_text())"
    status = subprocess.run([sys.executable, "-c", read], check=True, capture_output=True, text=True).stdout
    lines = dict(line.split(":", 1) for line in status.splitlines() if ":" in line)
    resident, anonymous = (int(lines[name].split()[0]) * 1024 for name in ("VmHWM", "RssAnon"))
    return Memory(resident, anonymous)


def times(repeats: int, folder: Path, runs: int, console: Console) -> None:
    """Measure start-up, gaps and memory, and print them."""
    python, importing = [sys.executable, "-c", "pass"], [sys.executable, "-c", "import torch"]
    commands = {"python": python, "help": [*COMMAND, "--help"], "torch": importing}
    taken: dict[str, list[float]] = {name: [] for name in commands}
    for turn in range(repeats + 1):  # in turns, so that a busy moment hits all; the first reads files from disk
        for name, command in commands.items():
            seconds = seconds_of(command)
            if turn > 0:
                taken[name].append(seconds)
    of = {name: statistics.median(seconds) for name, seconds in taken.items()}
    watched = WatchedCommand(write_study(folder, "many", 32, seeds=list(range(runs))))
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
    bare = python_with_torch()
    table = Table("process", "resident", "anonymous", title="Peak memory, in that of a Python that imported torch")
    for name, memory in (("clr-hpc run", watched.memory), ("its worker", watched.worker_memory)):
        ratios = (memory.resident / bare.resident, memory.anonymous / bare.anonymous)
        table.add_row(name, *(f"{ratio:.2f}" for ratio in ratios))
    console.print(table)
    study = write_study(
        folder, "together", 32, seeds=[0, 1], training={"epochs": 20, "image_size": 32, "batch_size": BATCH}
    )
    first, second = (peak_together(study, processes) for processes in ("1", "2"))
    console.print(
        f"A second process of --on here adds {second / first - 1:.2f} of what command and first process take."
    )


def peak_together(study: Path, processes: str) -> int:
    """Return the peak memory of a command and its processes, in bytes, and leave no results."""
    results = study.parent / "results"
    command = [*COMMAND, "run", str(study), "--results", str(results), "--no-plan", "--processes", processes]
    process, peak = subprocess.Popen(command, stdout=subprocess.DEVNULL), 0
    while process.poll() is None:
        peak = max(peak, proportional_bytes([process.pid, *children(process.pid)]))
        time.sleep(0.2)
    assert process.returncode == 0, f"{study.stem} ended with {process.returncode}"
    subprocess.run(["rm", "-r", str(results / study.stem)], check=True)
    return peak


def disk(folder: Path, architectures: list[str], console: Console) -> None:
    """Train a run of each architecture and optimizer, and print what they keep."""
    table = Table(
        "network", "rate", *OPTIMIZERS, title="What a finished run keeps on disk, in sizes of its weights"
    )
    for architecture in architectures:
        policies = {"constant": ("baseline", "constant", 2), "cyclical": ("scratch", CYCLES, 6)}
        for name, (stage, policy, epochs) in policies.items():
            study = write_study(
                folder,
                f"{architecture}-{name}",
                64,
                STEP_AN_EPOCH,
                architectures=[architecture],
                optimizers=list(OPTIMIZERS),
                stages={stage: {"policies": [policy], "epochs": epochs}},
            )
            saving = ["--checkpoint-seconds", "0"]  # as a long run has it: two checkpoints, not the last alone
            seconds_of([*COMMAND, "run", str(study), "--results", str(folder / "results"), "--no-plan", *saving])
            ratios = []
            for optimizer in OPTIMIZERS:
                (run,) = (folder / "results" / study.stem / "runs").glob(f"*.{optimizer}.*")
                kept = sum(path.stat().st_size for path in run.rglob("*") if path.is_file())
                ratios.append(kept / (run / "best.safetensors").stat().st_size)
            table.add_row(architecture, name, *(f"{ratio:.1f}" for ratio in ratios))
            subprocess.run(["rm", "-r", str(folder / "results" / study.stem)], check=True)
    console.print(table)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=7, help="of each command that is timed")
    parser.add_argument("--runs", type=int, default=12, help="of the study whose gaps are measured")
    parser.add_argument(
        "--architectures", nargs="*", choices=ARCHITECTURES, default=ARCHITECTURES, help="for disk"
    )
    options = parser.parse_args()
    console = Console(width=110)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for size in (32, 64):
            noise_pack(folder / f"pack{size}", IMAGES, size)
        times(options.repeats, folder, options.runs, console)
        if options.architectures:
            disk(folder, list(options.architectures), console)


if __name__ == "__main__":
    main()
