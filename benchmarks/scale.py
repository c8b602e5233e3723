"""How cost grows: with a pack's images, from a thousand to a million, and with a study's runs, from 1 to 10,000.

    python benchmarks/scale.py [--images-up-to 100000] [--runs-up-to 10000] [--report-up-to 1000]

Some five minutes on 2 cores; a million images need 1.1 GB of disk. Growth is the exponent of the cost between a
size and the one before it: 1 is linear. Start-up makes it small while sizes are small, so look at the last two.

Packs hold noise of 32 × 32. Each measurement is a process of its own with one thread. Resident memory counts pages
of mapped files, which the kernel may take back; anonymous memory does not. "Reading all" gathers all images once.

Studies have a baseline, a retraining and a control per seed. One seed is trained, for an epoch; the folders of the
others are copies under their own names and specs, with hard links for large files. Planning and handing out need
no folders and go ten times as far; there nothing is trained, and the simulator drives the queue.
"""

import json
import math
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table

from clr_hpc.config.expand import expand
from parts.command import parser, write_study
from parts.noise import noise_pack
from parts.processes import CLR_HPC, OwnMemory, apart

if TYPE_CHECKING:
    from clr_hpc.config.run import RunSpec
    from clr_hpc.places.queue import Queue

SIZE, BATCH, STEPS = 32, 32, 30
RUNS_A_SEED, GPUS = 3, 8
FASTER_THAN_LINEAR = 1.15
SMALL_BYTES = 100_000
Costs = dict[str, float]


def packing(folder: Path, images: int) -> Costs:
    """Pack noise in this process."""
    took = timer()
    with OwnMemory() as memory:
        noise_pack(folder, images, SIZE)
    return {"packing, s": took()} | memory.costs("packing")


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
    from parts.loops import Setting, our_run

    torch.set_num_threads(1)
    setting = Setting("mobilenet_v1", SIZE, BATCH, "float32", torch.device("cpu"))
    with OwnMemory() as memory:
        took = timer()
        pack = Pack.open(folder)
        run = our_run(setting, pack)
        costs = {"run made ready, s": took()}
        run.step(0)
        took()
        for number in range(1, STEPS + 1):
            run.step(number * BATCH)
        costs["a step, ms"] = took() / STEPS * 1000
        for first in range(0, len(pack.index), 256):  # what an evaluation of all images asks of the pack
            run.step.load(np.arange(first, min(first + 256, len(pack.index))))
    return costs | memory.costs("training")


PARTS: dict[str, Callable[[Path, int], Costs]] = {part.__name__: part for part in (packing, opening, training)}


def pack_costs(images: int) -> Costs:
    """Return what a pack of this many images costs, each part in a fresh process."""
    costs: Costs = {}
    with tempfile.TemporaryDirectory() as folder:
        for part in PARTS:
            costs |= apart(PARTS[part], Path(folder) / "pack", images)
    return costs


class Studies:
    """Studies of any number of runs in one folder, whose runs are copies of those of one seed."""

    def __init__(self, folder: Path) -> None:
        """Make their pack."""
        self.folder = folder
        self.pack = noise_pack(folder / "pack", 150, SIZE)

    @cached_property
    def _trained(self) -> dict[str, Path]:
        """The folders of one seed's runs, by stage."""
        file = self.write(1)
        run = [*CLR_HPC, "run", str(file), "--results", str(self.folder / "results"), "--no-plan"]
        subprocess.run(run, check=True, stdout=subprocess.DEVNULL)
        folders = (self.folder / "results" / file.stem / "runs").iterdir()
        return {json.loads((folder / "spec.json").read_text())["stage"]: folder for folder in folders}

    def write(self, seeds: int) -> Path:
        """Write the file of a study of so many seeds."""
        wave = {"name": "triangular", "half_cycle_epochs": 0.5}
        stages = {"baseline": {"policies": ["cosine"]}, "retrain": {"policies": [wave]}}
        training = {"epochs": 1, "image_size": SIZE, "batch_size": BATCH}
        file = self.folder / f"seeds{seeds}.yaml"
        return write_study(file, self.pack.folder, training, 0.001, stages=stages, seeds=list(range(seeds)))

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
        subprocess.run([*CLR_HPC, command, str(file), *results], check=True, stdout=subprocess.DEVNULL)
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
    first, *others = by_size
    table = Table("cost", f"at {first:,} {unit}", *(f"{size:,}" for size in others), "growth", title=title)
    faster = []
    for name, smallest in by_size[first].items():
        there = [size for size in by_size if name in by_size[size]]
        cells = [f"{by_size[size][name] / smallest:.3g} ×" if size in there else "" for size in others]
        if len(there) > 1:
            before, last = there[-2:]
            growth = math.log(by_size[last][name] / by_size[before][name]) / math.log(last / before)
            cells.append(f"{growth:.2f}")
            faster += [name] if growth > FASTER_THAN_LINEAR else []
        table.add_row(name, f"{smallest:.3g}", *cells)
    console.print(table)
    console.print(f"grows faster than linear: {', '.join(faster) or 'nothing'}\n", highlight=False)


def seeds_of(first: int, last: int) -> list[int]:
    """Return the seeds of studies of ``first`` runs, ten times as many and so on up to ``last``, or a few less."""
    return list(
        dict.fromkeys(max(1, first * 10**power // RUNS_A_SEED) for power in range(9) if first * 10**power <= last)
    )


def main() -> None:
    """Measure and print."""
    command = parser(__doc__)
    command.add_argument("--images-up-to", type=int, default=100_000, help="0: no packs")
    command.add_argument("--runs-up-to", type=int, default=10_000, help="with folders; 0: no studies")
    command.add_argument("--report-up-to", type=int, default=1000, help="runs of the largest report")
    options = command.parse_args()
    console, relative = Console(width=120), "cost relative to the smallest"
    needed, free = 1.2 * options.images_up_to * SIZE**2, shutil.disk_usage(tempfile.gettempdir()).free
    if needed > free:
        raise SystemExit(
            f"{options.images_up_to:,} images need {needed / 1e9:.1f} GB and {tempfile.gettempdir()} has "
            f"{free / 1e9:.1f} GB left; lower --images-up-to, or set TMPDIR"
        )
    if options.images_up_to:
        sizes = [1000 * 10**power for power in range(6) if 1000 * 10**power <= options.images_up_to]
        show(
            console, f"Packs of {SIZE} × {SIZE}: {relative}", "images", {size: pack_costs(size) for size in sizes}
        )
    if options.runs_up_to:
        with tempfile.TemporaryDirectory() as folder:
            studies = Studies(Path(folder))
            read = {
                seeds * RUNS_A_SEED: command_costs(studies, seeds, seeds * RUNS_A_SEED <= options.report_up_to)
                for seeds in seeds_of(1, options.runs_up_to)
            }
            show(console, f"Studies whose runs are done: {relative}", "runs", read)
            planned = {
                seeds * RUNS_A_SEED: planning_costs(studies, seeds, GPUS)
                for seeds in seeds_of(10, 10 * options.runs_up_to)
            }
            show(console, f"Studies on {GPUS} GPUs: {relative}", "runs", planned)


if __name__ == "__main__":
    main()
