"""What a warm lane saves: the gap between two runs, against one Ray Train trainer per run.

    python benchmarks/lanes.py

Some three minutes on 2 cores. Every run is two short epochs of MobileNetV1 on phantom films of 32 × 32. A gap
lasts from the result of a run to the first step of the next, as seen from outside: reading the spec, building the
model, opening the run folder are in it. With one trainer per run, it lasts from its start to the first step.
"""

import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import mean

from rich.console import Console
from rich.table import Table

from clr_hpc.config.resources import LaneShape
from clr_hpc.config.run import RunSpec
from clr_hpc.data.pack import Pack
from clr_hpc.places.job import WorkerTask
from clr_hpc.places.queue import ListedRuns
from clr_hpc.places.ray.train import cluster, train_on_ray
from clr_hpc.training.run import RunSettings
from parts.command import parser
from parts.processes import RunTimes
from parts.studies import phantom_pack

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


@contextmanager
def watched(runs_folder: Path) -> Iterator[RunTimes]:
    """Watch runs from a thread."""
    times, over = RunTimes(runs_folder), threading.Event()

    def watch() -> None:
        while not over.wait(POLL_SECONDS):
            times.look(time.monotonic())

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield times
    finally:
        over.set()
        thread.join()
        times.look(time.monotonic())


def train(pack: Pack, runs_folder: Path, runs: list[RunSpec]) -> tuple[float, list[float]]:
    """Train runs in one lane; return the seconds from its start to the first step, and the gaps between runs."""
    with watched(runs_folder) as times:
        started = time.monotonic()
        train_on_ray(
            ListedRuns(runs),
            [LaneShape()],
            grow=False,
            task=WorkerTask(pack.folder, runs_folder, RunSettings()),
            on_poll=lambda _: None,
            on_end=lambda _spec, _outcome: None,
        )
    return times.first_steps[runs[0].name] - started, times.gaps()


def main() -> None:
    """Measure and print."""
    parser(__doc__).parse_args()
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        pack = phantom_pack(root / "pack", 200, 64)
        runs_folder = root / "study" / "runs"
        runs_folder.mkdir(parents=True)
        with cluster(None, cpus=2, gpus=0):
            start, gaps = train(pack, runs_folder, specs(pack, 0, RUNS_OF_WARM_LANE))
            starts = [train(pack, runs_folder, [spec])[0] for spec in specs(pack, RUNS_OF_WARM_LANE, TRAINERS)]
    table = Table("what", "in gaps of a warm lane", "wanted", title="From one run to the next")
    gap = mean(gaps)
    table.add_row(f"mean gap between {RUNS_OF_WARM_LANE} runs of a lane", "1", "")
    table.add_row("start of lane 1 to its first step", f"{start / gap:.0f}", "")
    table.add_row(f"one trainer per run, mean of {TRAINERS}", f"{mean(starts) / gap:.0f}", f"{WANTED}")
    Console().print(table)
    print(f"longest gap: {max(gaps) / gap:.1f} × the mean; the start: {start / mean(starts):.2f} of a trainer's")


if __name__ == "__main__":
    main()
