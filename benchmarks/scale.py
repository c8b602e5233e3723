"""How cost grows: with a pack's images, from a thousand to a million, and with a study's runs, from 1 to 10,000.

    python benchmarks/scale.py [--images-up-to 100000] [--runs-up-to 10000] [--report-up-to 1000]

Some five minutes on 2 cores as it stands; a million images need 1.1 GB of disk. Growth is the exponent of the cost
between a size and the one before it: 1 is linear, more is worse, and nothing is 0. Start-up makes it small while
sizes are small, so the last two sizes are those to look at.

Packs hold noise of 32 × 32. Each measurement is a process of its own with one thread, and packing has no other.
Resident memory counts pages of mapped files, which the kernel may take back, so anonymous memory stands beside it.
"Reading all" gathers all images once, as an evaluation does.

Studies have a baseline, a retraining and a control a seed. One seed is trained, for an epoch; the folders of the
others are copies of its folders under their own names and specs, with hard links for what is large. Planning and
handing out need no folders, and go ten times as far; there nothing is trained, and the simulator drives the queue.
"""

import argparse
import json
import math
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import yaml
from rich.console import Console
from rich.table import Table

from clr_hpc.config.expand import expand

if TYPE_CHECKING:
    from clr_hpc.config.run import RunSpec
    from clr_hpc.places.queue import Queue

COMMAND = [sys.executable, "-m", "clr_hpc"]
SIZE, BATCH, STEPS = 32, 32, 30
RUNS_A_SEED = 3
FASTER_THAN_LINEAR = 1.15
SMALL_BYTES = 100_000
Costs = dict[str, float]


# Packs: one function a process, each returns what it cost


def packing(folder: Path, images: int) -> Costs:
    """Pack noise in this process."""
    from parts.noise import noise_pack
    from parts.processes import OwnMemory

    start = time.perf_counter()
    with OwnMemory() as memory:
        noise_pack(folder, images, SIZE)
    return {
        "packing, s": time.perf_counter() - start,
        "packing, MB resident": memory.peak.resident / 1e6,
        "packing, MB anonymous": memory.peak.anonymous / 1e6,
    }


def opening(folder: Path, images: int) -> Costs:
    """Open a pack, read its index and gather batches in random order, without torch."""
    import numpy as np

    from clr_hpc.data.pack import Pack

    took = timer()
    pack = Pack.open(folder)
    costs = {"opening, s": took()}
    Pack.open(folder, verify=True)
    costs["verifying, s"] = took()
    assert len(pack.index) == images
    costs["index, s"] = took()
    order = np.random.default_rng(0).permutation(images)[: 200 * BATCH]
    batches = [order[first : first + BATCH] for first in range(0, len(order), BATCH)]
    pack.gather(batches[0])
    took()
    for rows in batches:
        pack.gather(rows)
    costs["a batch's gather, ms"] = took() / len(batches) * 1000
    for first in range(0, images, 256):
        pack.gather(np.arange(first, min(first + 256, images)))
    costs["reading all, s"] = took()
    return costs


def training(folder: Path, images: int) -> Costs:  # noqa: ARG001
    """Train some steps on a pack."""
    import numpy as np
    import torch

    from clr_hpc.data.pack import Pack
    from clr_hpc.training.distributed import ProcessGroup
    from clr_hpc.training.trainer import Trainer
    from parts.loops import Setting, our_spec
    from parts.processes import OwnMemory

    torch.set_num_threads(1)
    setting = Setting("mobilenet_v1", SIZE, BATCH, "float32", torch.device("cpu"))
    with OwnMemory() as memory:
        took = timer()
        pack = Pack.open(folder)
        run = Trainer(our_spec(setting, pack), pack, ProcessGroup.alone(setting.device))
        run.wrap_model()
        costs = {"run made ready, s": took()}
        run.step(0)
        took()
        for number in range(1, STEPS + 1):
            run.step(number * BATCH)
        costs["a step, ms"] = took() / STEPS * 1000
        for first in range(0, len(pack.index), 256):  # what an evaluation of all images asks of the pack
            run.step.load(np.arange(first, min(first + 256, len(pack.index))))
    costs["training, MB resident"] = memory.peak.resident / 1e6
    costs["training, MB anonymous"] = memory.peak.anonymous / 1e6
    return costs


PARTS: dict[str, Callable[[Path, int], Costs]] = {part.__name__: part for part in (packing, opening, training)}


def pack_costs(images: int) -> Costs:
    """Return what a pack of this many images costs, each part in a fresh process."""
    costs: Costs = {}
    with tempfile.TemporaryDirectory() as folder:
        for part in PARTS:
            command = [sys.executable, __file__, "--part", part, str(Path(folder) / "pack"), str(images)]
            found = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
            costs |= json.loads(found.stdout)
    return costs


# Runs


class Studies:
    """Studies of any number of runs in one folder, whose runs are copies of those of one seed."""

    def __init__(self, folder: Path) -> None:
        """Make their pack."""
        from parts.noise import noise_pack

        self.folder = folder
        self.pack = noise_pack(folder / "pack", 150, SIZE)

    @cached_property
    def _trained(self) -> dict[str, Path]:
        """The folders of one seed's runs, by stage."""
        file = self.write(1)
        run = [*COMMAND, "run", str(file), "--results", str(self.folder / "results"), "--no-plan"]
        subprocess.run(run, check=True, stdout=subprocess.DEVNULL)
        folders = (self.folder / "results" / file.stem / "runs").iterdir()
        return {json.loads((folder / "spec.json").read_text())["stage"]: folder for folder in folders}

    def write(self, seeds: int) -> Path:
        """Write the file of a study of so many seeds."""
        file = self.folder / f"seeds{seeds}.yaml"
        study = {
            "name": file.stem,
            "pack": str(self.pack.folder),
            "pathologies": ["effusion"],
            "optimizers": ["sgd"],
            "rates": {"sgd": {"lr_min": 0.0001, "lr_max": 0.001}},
            "stages": {
                "baseline": {"policies": ["cosine"]},
                "retrain": {"policies": [{"name": "triangular", "half_cycle_epochs": 0.5}]},
            },
            "seeds": list(range(seeds)),
            "training": {"epochs": 1, "image_size": SIZE, "batch_size": BATCH},
        }
        file.write_text(yaml.safe_dump(study))
        return file

    def with_folders(self, seeds: int) -> Path:
        """Write a study and leave the folders of all its runs, as if they had been trained."""
        from clr_hpc.config.load import load_study
        from clr_hpc.store.study_folder import StudyFolder

        file = self.write(seeds)
        study = load_study(file)
        folder = StudyFolder(self.folder / "results" / study.name)
        folder.prepare(study, self.pack.folder)
        trained = self._trained
        for spec in expand(study, self.pack.manifest.checksum):
            if not (folder.runs / spec.name).exists():
                _copy(trained[spec.stage], folder.runs / spec.name)
                (folder.runs / spec.name / "spec.json").write_text(spec.model_dump_json())
        return file


def _copy(source: Path, target: Path) -> None:
    def copy(one: str, other: str) -> str:
        if Path(one).stat().st_size > SMALL_BYTES:
            os.link(one, other)
            return other
        return shutil.copyfile(one, other)

    shutil.copytree(source, target, copy_function=copy, ignore=shutil.ignore_patterns("spec.json"))


def command_costs(studies: Studies, seeds: int, reports: bool) -> Costs:
    """Return what reading a study's folders costs."""
    file = studies.with_folders(seeds)
    results = ["--results", str(studies.folder / "results")]
    costs: Costs = {}
    took = timer()
    for command in ("status", "report") if reports else ("status",):
        subprocess.run([*COMMAND, command, str(file), *results], check=True, stdout=subprocess.DEVNULL)
        costs[f"clr-hpc {command}, s"] = took()
    if seeds > 1:
        shutil.rmtree(studies.folder / "results" / file.stem)
    return costs


def planning_costs(studies: Studies, seeds: int, gpus: int) -> Costs:
    """Return what planning a study and handing out its runs costs; nothing is trained."""
    from clr_hpc.config.load import load_study
    from clr_hpc.config.resources import Resources
    from clr_hpc.places.queue import ListedRuns
    from clr_hpc.planning.plan import make_plan
    from clr_hpc.planning.throughput import Forecast, Throughput, ThroughputTable
    from clr_hpc.planning.workload import work_of
    from parts.simulation import Conditions, simulate

    file = studies.write(seeds)
    took = timer()
    study = load_study(file)
    costs = {"reading the study, s": took()}
    specs = expand(study, studies.pack.manifest.checksum)
    costs["expanding, s"] = took()
    work = work_of(specs, studies.pack.manifest.counts)
    costs["its work, s"] = took()
    rate = Throughput(
        network="mobilenet_v1", image_size=SIZE, batch_size=BATCH, precision="float32", gpus_per_worker=1,
        images_per_second=1000, evaluated_per_second=3000, start_seconds=1, epoch_seconds=0.1, memory_bytes=2**30,
    )  # fmt: skip
    resources = Resources(gpus=gpus, cpus=gpus, nodes=1)
    forecast = Forecast(
        work, ThroughputTable(rates=(rate,), lane_start_seconds=20.0), resources, resources.shapes(8)
    )
    plan = make_plan(forecast, 20.0)
    costs["planning, s"] = took()
    failing = Conditions(speed_spread=0.1, failures_per_lane_day=1000)
    took()
    assert simulate(plan, forecast, failing, seed=0).pieces
    costs["lanes' queue, simulated, s"] = took()
    take_all(ListedRuns(specs), gpus)
    costs["queue of --on here, s"] = took()
    return costs


def take_all(queue: "Queue", processes: int) -> None:
    """Take runs as warm processes do, each of which ends its run when all have one."""
    from clr_hpc.places.queue import Assignment

    busy: list[RunSpec] = []
    while (answer := queue.next(0, busy)) != "finished":
        if isinstance(answer, Assignment):
            busy.append(answer.spec)
        if answer == "wait" or len(busy) == processes:
            queue.ended(busy.pop(0), "done")


# Tables


def timer() -> Callable[[], float]:
    """Return a function that says how many seconds have passed since it was last asked."""
    last = time.perf_counter()

    def took() -> float:
        nonlocal last
        now = time.perf_counter()
        seconds, last = now - last, now
        return seconds

    return took


def show(console: Console, title: str, unit: str, by_size: dict[int, Costs]) -> None:
    """Print each cost: at the smallest size, then relative to that by item, and its growth at the end."""
    sizes = list(by_size)
    table = Table(title=title)
    table.add_column("cost")
    table.add_column(f"at {sizes[0]:,} {unit}", justify="right")
    for size in sizes[1:]:
        table.add_column(f"{size:,}", justify="right")
    table.add_column("growth", justify="right")
    faster = []
    for name in by_size[sizes[0]]:
        there = [size for size in sizes if name in by_size[size]]
        cells = [f"{by_size[sizes[0]][name]:.3g}"]
        for size in sizes[1:]:
            known = name in by_size[size]
            cells.append(f"{by_size[size][name] / by_size[sizes[0]][name]:.3g} ×" if known else "")
        growth = math.nan
        if len(there) > 1:
            before, last = there[-2:]
            growth = math.log(by_size[last][name] / by_size[before][name]) / math.log(last / before)
        if growth > FASTER_THAN_LINEAR:
            faster.append(name)
        table.add_row(name, *cells, "" if math.isnan(growth) else f"{growth:.2f}")
    console.print(table)
    console.print(f"grows faster than linear: {', '.join(faster) or 'nothing'}\n", highlight=False)


def tens(first: int, last: int) -> list[int]:
    """Return ``first``, ten times as much and so on up to ``last``."""
    return [first * 10**power for power in range(9) if first * 10**power <= last]


def images(options: argparse.Namespace, console: Console) -> None:
    """Measure packs."""
    needed, free = 1.2 * options.images_up_to * SIZE**2, shutil.disk_usage(tempfile.gettempdir()).free
    if needed > free:
        raise SystemExit(
            f"{options.images_up_to:,} images need {needed / 1e9:.1f} GB and {tempfile.gettempdir()} has "
            f"{free / 1e9:.1f} GB left; lower --images-up-to, or set TMPDIR"
        )
    by_size = {size: pack_costs(size) for size in tens(1000, options.images_up_to)}
    show(console, f"Packs of {SIZE} × {SIZE}: cost relative to the smallest", "images", by_size)


def runs(options: argparse.Namespace, console: Console) -> None:
    """Measure studies."""
    with tempfile.TemporaryDirectory() as folder:
        studies = Studies(Path(folder))
        read: dict[int, Costs] = {}
        for size in tens(1, options.runs_up_to):
            seeds = max(1, size // RUNS_A_SEED)
            count = seeds * RUNS_A_SEED
            if count not in read:
                read[count] = command_costs(studies, seeds, count <= options.report_up_to)
        show(console, "Studies whose runs are done: cost relative to the smallest", "runs", read)
        planned: dict[int, Costs] = {}
        for size in tens(10, 10 * options.runs_up_to):
            seeds = max(1, size // RUNS_A_SEED)
            planned[seeds * RUNS_A_SEED] = planning_costs(studies, seeds, options.gpus)
        show(console, f"Studies on {options.gpus} GPUs: cost relative to the smallest", "runs", planned)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images-up-to", type=int, default=100_000, help="0: no packs")
    parser.add_argument("--runs-up-to", type=int, default=10_000, help="with folders; 0: no studies")
    parser.add_argument("--report-up-to", type=int, default=1000, help="runs of the largest report")
    parser.add_argument("--gpus", type=int, default=8, help="that studies are planned for")
    parser.add_argument("--part", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.part:
        part, folder, count = options.part
        print(json.dumps(PARTS[part](Path(folder), int(count))))
        return
    console = Console(width=120)
    if options.images_up_to:
        images(options, console)
    if options.runs_up_to:
        runs(options, console)


if __name__ == "__main__":
    main()
