"""What a warm lane saves: the gap between two runs, against one Ray Train trainer a run.

    python benchmarks/lanes.py

Some three minutes on 2 cores. Every run is two short epochs of MobileNetV1 on phantom films of 32 × 32. A gap
lasts from the result of a run to the first step of the next, as seen from outside: reading the spec, building the
model, opening the run folder are in it. With one trainer a run, it lasts from its start to the first step.
"""

import tempfile
import threading
import time
from itertools import pairwise
from pathlib import Path
from statistics import mean

from rich.console import Console
from rich.table import Table

from clr_hpc.config.resources import LaneShape
from clr_hpc.config.run import RunSpec
from clr_hpc.data.build import build_pack
from clr_hpc.data.pack import Pack
from clr_hpc.data.sources.phantom import PhantomSource
from clr_hpc.data.splits import SeededSplit
from clr_hpc.places.job import WorkerTask
from clr_hpc.places.queue import ListedRuns
from clr_hpc.places.ray.train import cluster, train_on_ray
from clr_hpc.training.run import RunSettings

RUNS_OF_WARM_LANE = 12
TRAINERS = 3
WANTED = 20
POLL_SECONDS = 0.001


def specs(pack: Pack, first_seed: int, count: int) -> list[RunSpec]:
    """Return runs that differ in their seed."""
    values = {
        "pack_checksum": pack.manifest.checksum,
        "task": {"kind": "binary", "pathology": "effusion"},
        "architecture": "mobilenet_v1",
        "optimizer": {"name": "sgd"},
        "stage": "scratch",
        "policy": {"name": "constant", "lr_max": 0.01},
        "training": {"epochs": 2, "image_size": 32, "batch_size": 16},
    }
    return [RunSpec.model_validate(values | {"seed": first_seed + number}) for number in range(count)]


class Watch:
    """Notes when each run's first step and result appear."""

    def __init__(self, runs_folder: Path, runs: list[RunSpec]) -> None:
        """Watch until ``stop``."""
        self.first_step: dict[str, float] = {}
        self.result: dict[str, float] = {}
        self._folder, self._names = runs_folder, [run.name for run in runs]
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch)
        self._thread.start()

    def stop(self) -> None:
        """Stop watching."""
        self._stop.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._stop.wait(POLL_SECONDS):
            now = time.monotonic()
            for name in self._names:
                if name not in self.first_step and _size(self._folder / name / "metrics.jsonl"):
                    self.first_step[name] = now
                if name in self.first_step and name not in self.result:
                    if _size(self._folder / name / "result.json"):
                        self.result[name] = now
                    break  # one run at a time is under way


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


def train(pack: Pack, runs_folder: Path, runs: list[RunSpec]) -> tuple[float, Watch]:
    """Train runs in one lane; return the seconds from its start to the first step, and what was watched."""
    watch = Watch(runs_folder, runs)
    shape = LaneShape()
    started = time.monotonic()
    train_on_ray(
        ListedRuns(runs),
        [shape],
        grow=False,
        task=WorkerTask(pack.folder, runs_folder, RunSettings()),
        on_poll=lambda _: None,
        on_end=lambda _spec, _outcome: None,
    )
    watch.stop()
    return watch.first_step[runs[0].name] - started, watch


def main() -> None:
    """Measure and print."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        split = SeededSplit(validation_fraction=0.2, test_fraction=0.2)
        build_pack(PhantomSource(images=200), root / "pack", 64, split)
        pack = Pack.open(root / "pack")
        runs_folder = root / "study" / "runs"
        runs_folder.mkdir(parents=True)
        with cluster(None, cpus=2, gpus=0):
            warm = specs(pack, 0, RUNS_OF_WARM_LANE)
            start, watch = train(pack, runs_folder, warm)
            starts = [train(pack, runs_folder, [spec])[0] for spec in specs(pack, RUNS_OF_WARM_LANE, TRAINERS)]
    gaps = [watch.first_step[after.name] - watch.result[before.name] for before, after in pairwise(warm)]
    table = Table("what", "in gaps of a warm lane", "wanted", title="From one run to the next")
    gap = mean(gaps)
    table.add_row(f"mean gap between {len(warm)} runs of a lane", "1", "")
    table.add_row("start of lane 1 to its first step", f"{start / gap:.0f}", "")
    table.add_row(f"one trainer a run, mean of {TRAINERS}", f"{mean(starts) / gap:.0f}", f"{WANTED}")
    console = Console()
    console.print(table)
    shares = f"the lane's start is {start / mean(starts):.2f} of a trainer's; longest gap {max(gaps) / gap:.1f} ×"
    console.print(shares, "the mean", highlight=False)


if __name__ == "__main__":
    main()
