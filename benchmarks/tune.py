"""The searches of ``clr-hpc tune`` on the same budget: how good the best settings are after so many trials.

    python benchmarks/tune.py [--folder FOLDER] [--repeats N] [--objective auroc|loss]

Every point of a grid is trained once, on the phantom: MobileNetV1 at 32 × 32, 40 settings of two seeds each. The
searches then choose among these points, with as many repeats as wanted, since each answer is looked up: what they
find is what they would have found by training, and only their own time is measured here. One trial at a time.

Prints a table with, for each search, validation AUROC or loss of the best setting after 8, 12 and 20 trials as a
mean over the repeats with its standard deviation, the epochs trained, and the median time of an answer.
"""

import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from statistics import fmean, median, stdev
from typing import get_args

import yaml

from clr_hpc.config.study import Study
from clr_hpc.config.tune import EarlyStopping, SearchName
from clr_hpc.config.tuned_study import trial_runs
from clr_hpc.places.job import WorkerTask
from clr_hpc.places.local.place import drain_here
from clr_hpc.places.machine import Processes
from clr_hpc.training.run import RunSettings
from clr_hpc.tuning.search import Proposals, make_search
from clr_hpc.tuning.space import Dimensions, dimensions_of
from clr_hpc.tuning.trial_queue import TrialQueue, value_after
from clr_hpc.tuning.tuner import TrialPlan, Tuner
from clr_hpc.tuning.tuning_folder import Journal
from parts.command import parser
from parts.studies import phantom_pack

EPOCHS = 4
TRIALS = 20
LOOKED_AT = (8, 12, 20)
STUDY = yaml.safe_load("""
name: tune-benchmark
pack: packs/none
pathologies: [cardiomegaly]
optimizers: [sgd]
rates: {sgd: {lr_min: 0.0001, lr_max: 0.01}}
stages: {scratch: {policies: [{name: triangular, half_cycle_epochs: 1}]}}
seeds: [0, 1]
training:
  epochs: 4
  image_size: 32
  augmentation: {flip_probability: 0, rotation_degrees: 5, shift_fraction: 0.03, scale_fraction: 0.05}
tune:
  search: grid
  space:
    batch_size: [8, 16, 32, 64]
    lr_max: [0.001, 0.004, 0.016, 0.064, 0.256]
    half_cycle_epochs: [1, 2]
""")
LIBRARIES = {"optuna-tpe": "optuna", "optuna-gp": "optuna", "hyperopt-tpe": "hyperopt", "smac-forest": "smac"}
Settings = tuple[float, ...]


@dataclass(frozen=True)
class Table:
    """The objective of each setting after each epoch."""

    dimensions: Dimensions
    objective: str
    values: dict[Settings, dict[int, float]]


@dataclass(frozen=True)
class Search:
    """One search, repeated."""

    name: str
    best_after: dict[int, list[float]]
    epochs: list[int]
    ask_seconds: list[float]


def main() -> None:
    """Train the table where it isn't there, let the searches choose from it, and print what they found."""
    command = parser(__doc__)
    command.add_argument("--folder", type=Path, help="where the trained grid is kept; default: nowhere")
    command.add_argument("--repeats", type=int, default=10)
    command.add_argument("--objective", choices=("auroc", "loss"), default="auroc")
    options = command.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        table = trained_table(options.folder or Path(scratch), options.objective)
        ranked = sorted((after[EPOCHS] for after in table.values.values()), reverse=options.objective == "auroc")
        quality = f"{ranked[0]:.3f}; median: {ranked[len(ranked) // 2]:.3f}; worst: {ranked[-1]:.3f}"
        print(f"{table.objective}, best of all {len(ranked)} settings: {quality}\n")
        heads = " | ".join(f"best after {count}" for count in LOOKED_AT)
        print(f"| search | {heads} | epochs trained | one answer, ms |\n|---|" + "---|" * (len(LOOKED_AT) + 2))
        for search in searches(table, options.repeats, Path(scratch)):
            found = search.best_after.values()
            cells = [f"{fmean(some):.3f} ± {stdev(some) if len(some) > 1 else 0:.3f}" for some in found]
            cells += [f"{fmean(search.epochs):.0f}", f"{1000 * median(search.ask_seconds):.1f}"]
            print(f"| {search.name} | {' | '.join(cells)} |", flush=True)


def trained_table(folder: Path, objective: str) -> Table:
    """Train every point of the grid with every seed, as ``clr-hpc tune`` does with ``search: grid``."""
    pack = phantom_pack(folder / "pack", 500, 32, validation=0.35, test=0.05)
    study = Study.model_validate(STUDY | {"pack": str(pack.folder)})
    checksum = pack.manifest.checksum
    assert study.tune is not None
    dimensions = dimensions_of(study.tune.space)
    runs = folder / "runs"
    runs.mkdir(exist_ok=True)
    grid = Proposals(make_search("grid", dimensions, 0), dimensions, 0)
    tuner = Tuner(TrialPlan(None, EPOCHS, None, higher_is_better=True), grid, Journal(folder / "trials.jsonl"))
    queue = TrialQueue(tuner, study, checksum, runs, lambda trial: print(f"trained {trial.number}", end="\r"))
    task = WorkerTask(pack.folder, runs, RunSettings(600.0))
    drain_here(queue, task, Processes.for_this_machine(None), lambda _: None, lambda *_: None)
    table: dict[Settings, dict[int, float]] = {}
    for trial in tuner.trials:
        if trial.failure is not None:
            raise SystemExit(f"{trial.values}: {trial.failure}")
        folders = [runs / spec.name for spec in trial_runs(study, trial.values, checksum)]
        table[tuple(trial.values.values())] = {
            epochs: fmean(value_after(each, epochs, objective) for each in folders)
            for epochs in range(1, EPOCHS + 1)
        }
    return Table(dimensions, objective, table)


def searches(table: Table, repeats: int, scratch: Path) -> Iterator[Search]:
    """Yield what each search finds, without early stopping and then, for random and TPE, with it."""
    halving = EarlyStopping(min_epochs=1, reduction=2)
    plain = [(name, None) for name in get_args(SearchName)]
    for name, stopping in [*plain, ("random", halving), ("optuna-tpe", halving)]:
        if name not in LIBRARIES or find_spec(LIBRARIES[name]):
            yield repeated(table, name, stopping, repeats, scratch)


def repeated(
    table: Table, name: SearchName, stopping: EarlyStopping | None, repeats: int, scratch: Path
) -> Search:
    """Search with several seeds; the settings are those of the table."""
    title = name if stopping is None else f"{name}, halving"
    found = Search(title, {count: [] for count in LOOKED_AT}, [], [])
    for seed in range(repeats):
        proposals = Proposals(make_search(name, table.dimensions, seed), table.dimensions, seed)
        journal = Journal(scratch / f"{title}-{seed}.jsonl")
        plan = TrialPlan(TRIALS, EPOCHS, stopping, higher_is_better=table.objective == "auroc")
        tuner = Tuner(plan, proposals, journal)
        looked_up(table, tuner, found)
    return found


def looked_up(table: Table, tuner: Tuner, found: Search) -> None:
    """Let one search go on to its end, and note what it found on the way."""
    while True:
        started = time.perf_counter()
        trial = tuner.next(nothing_is_under_way=True)
        seconds = time.perf_counter() - started
        if trial is None:
            break
        if not trial.measured:
            found.ask_seconds.append(seconds)
            if len(tuner.trials) - 1 in LOOKED_AT:
                found.best_after[len(tuner.trials) - 1].append(best_so_far(table, tuner))
        assert trial.target is not None
        tuner.measured(trial, {0: table.values[tuple(trial.values.values())][trial.target]})
    found.best_after[TRIALS].append(best_so_far(table, tuner))
    found.epochs.append(sum(max(trial.measured) for trial in tuner.trials))


def best_so_far(table: Table, tuner: Tuner) -> float:
    """Return what the trial comes to that the search would name; nan before there is one."""
    best = tuner.best()
    return float("nan") if best is None else table.values[tuple(best.values.values())][EPOCHS]


if __name__ == "__main__":
    main()
