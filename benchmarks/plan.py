"""How close the planner comes to the lower bound, from 1 to 10,000 GPUs, and how long it takes to plan.

    python benchmarks/plan.py

The study is the article's grid, ``jobs/paper.yaml``, on NIH ChestX-ray14 with the official split. Nothing is
trained: the throughput below is assumed, in the range of a data-centre GPU of 2022. The simulator drives the queue
of real lanes. "Failing": each lane fails once a day on average, is back after a minute and loses at most a
minute's work. "Uneven": lanes also differ in speed, by about 10 %.
"""

import platform
import statistics
import time
from collections import Counter
from dataclasses import replace
from pathlib import Path

from clr_hpc.config.expand import expand
from clr_hpc.config.load import load_study
from clr_hpc.config.pathologies import NO_FINDING, PATHOLOGIES
from clr_hpc.config.resources import Resources
from clr_hpc.data.manifest import Counts, LabelCounts, SplitCounts
from clr_hpc.planning.plan import make_plan
from clr_hpc.planning.throughput import Forecast, Throughput, ThroughputTable
from clr_hpc.planning.workload import WorkItem, work_of
from parts.command import parser
from parts.simulation import Conditions, simulate

PAPER = Path(__file__).parents[1] / "jobs" / "paper.yaml"
GPUS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096, 8192, 10_000)
GPUS_PER_NODE = 8
MOST_WORKERS = 8
LANE_START_SECONDS = 20.0
IMAGES = {"train": (77_872, 45_450), "validation": (8_652, 5_050), "test": (25_596, 9_861)}
"""Of the official split, a tenth of its training patients held out: all, and those without a finding."""
TRAINED_PER_SECOND = {"mobilenet_v1": 6_000, "alexnet": 9_000, "densenet121": 1_800, "autoencoder": 6_000}
"""ASSUMED, one GPU, 224 × 224, batch 64, bfloat16; evaluation is taken to be three times as fast."""
FAILING = Conditions(failures_per_lane_day=1.0, restart_seconds=60.0, checkpoint_seconds=60.0)
UNEVEN = replace(FAILING, speed_spread=0.1)
SEEDS, RUNS = (0, 1, 2), 100_000


def counts() -> Counts:
    """Return the counts of NIH ChestX-ray14, with one image in 20 positive for each pathology."""
    splits = {}
    for name, (images, without_finding) in IMAGES.items():
        positives = dict.fromkeys(PATHOLOGIES, images // 20) | {NO_FINDING: without_finding}
        labels = {key: LabelCounts(positive=some, negative=images - some) for key, some in positives.items()}
        splits[name] = SplitCounts(images=images, patients=images // 4, labels=labels)
    return Counts(images=112_120, patients=30_805, rejected=0, splits=splits)


def forecast_on(work: tuple[WorkItem, ...], gpus: int) -> Forecast:
    """Forecast the study on so many GPUs, at the assumed throughput."""
    common = {"image_size": 224, "batch_size": 64, "precision": "bfloat16", "gpus_per_worker": 1}
    costs = {"start_seconds": 2, "epoch_seconds": 0.2, "memory_bytes": 8 * 2**30}
    rates = tuple(
        Throughput(network=network, images_per_second=speed, evaluated_per_second=3 * speed, **common, **costs)
        for network, speed in TRAINED_PER_SECOND.items()
    )
    table = ThroughputTable(rates=rates, lane_start_seconds=LANE_START_SECONDS)
    nodes = gpus // GPUS_PER_NODE if gpus % GPUS_PER_NODE == 0 else 1
    resources = Resources(gpus=gpus, cpus=gpus, nodes=nodes)
    return Forecast(work, table, resources, resources.shapes(MOST_WORKERS))


def row(work: tuple[WorkItem, ...], gpus: int) -> str:
    forecast = forecast_on(work, gpus)
    plan = make_plan(forecast, LANE_START_SECONDS)
    plain, hard = plan.lower_bound_seconds, LANE_START_SECONDS + plan.bound.hard_seconds

    def simulated(conditions: Conditions) -> float:
        return statistics.mean(simulate(plan, forecast, conditions, seed).makespan_seconds for seed in SEEDS)

    failing, uneven = simulated(FAILING), simulated(UNEVEN)
    lanes = Counter(lane.shape.workers for lane in plan.lanes)
    cut = " + ".join(f"{number:,} × {workers}" for workers, number in sorted(lanes.items()))
    ratios = (
        plan.makespan_seconds / plain,
        plan.makespan_seconds / hard,
        simulated(Conditions()) / plain,
        failing / plain,
        uneven / plan.makespan_seconds,
    )
    hours = f"{plan.makespan_seconds / 3600:,.2f}"
    return f"| {gpus:,} | {cut} | {hours} | " + " | ".join(f"{ratio:.3f}" for ratio in ratios) + " |"


def copies(work: tuple[WorkItem, ...], runs: int) -> tuple[WorkItem, ...]:
    """Return ``runs`` runs or a few less: the study several times, under other names."""
    return tuple(
        replace(item, name=f"{copy}.{item.name}", after=f"{copy}.{item.after}" if item.after else None)
        for copy in range(runs // len(work))
        for item in work
    )


def main() -> None:
    """Plan, simulate and print."""
    parser(__doc__).parse_args()
    study = load_study(PAPER)
    work = work_of(expand(study, "0" * 64), counts())
    print(f"Python {platform.python_version()}; {len(work):,} runs; hours are predicted makespans\n")
    heads = ("GPUs", "lanes × workers", "hours", "plan / bound", "plan / hard bound", "carried out / bound")
    print(f"| {' | '.join(heads)} | failing / bound | failing and uneven / plan |\n{'|---' * 8}|")
    for gpus in GPUS:
        print(row(work, gpus), flush=True)
    many = copies(work, RUNS)
    start = time.perf_counter()
    names = [spec.name for spec in expand(study, "0" * 64)]
    expanding = (time.perf_counter() - start) / len(names) * len(many)
    print(f"\nPlanning {len(many):,} runs, in units of expanding as many from a study ({expanding:.1f} s):\n")
    print("| GPUs | planning / expanding |\n|---|---|")
    for gpus in (8, 1024, 10_000):
        start = time.perf_counter()
        make_plan(forecast_on(many, gpus))
        print(f"| {gpus:,} | {(time.perf_counter() - start) / expanding:.2f} |")


if __name__ == "__main__":
    main()
