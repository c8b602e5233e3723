"""Comparison of contenders on the runs that all of them have."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clr_hpc.reporting import wording
from clr_hpc.reporting.stats.bootstrap import Interval, interval, mean_of_defined
from clr_hpc.reporting.stats.metrics import Estimate
from clr_hpc.reporting.stats.scoring import LAST, ScoredRun, always_no_accuracy, mean_of_numbers, training_accuracy


@dataclass(frozen=True, slots=True)
class Entry:
    """One run of a contender: an arm, or a model that a run ends with."""

    contender: str
    run: ScoredRun
    measures: Mapping[str, Estimate]
    """Empty where the run has none."""

    @property
    def cell(self) -> tuple[str, str, int]:
        """Task, model and seed: what compared runs share."""
        return self.run.setting.task, self.run.setting.model, self.run.record.spec.seed

    @property
    def gap(self) -> str:
        """Return why it takes no part in a comparison; empty when it does."""
        return self.measures["auroc"].reason if self.measures else self.run.gap or "not evaluated"


@dataclass(frozen=True, slots=True)
class ContenderMean:
    """One contender over all tasks. The means weigh every task alike; measures are of the test split."""

    name: str
    auroc: float
    interval: Interval | None
    ahead: float
    """Of this contender, by how much the best one's mean AUROC is above it; 0 for the best."""
    ahead_interval: Interval | None
    average_precision: float
    accuracy: float
    training_accuracy: float
    always_no_accuracy: float
    seconds: float

    @property
    def is_best(self) -> bool:
        """Whether it is the one that the others are compared with."""
        return self.ahead == 0 and self.ahead_interval is None


@dataclass(frozen=True, slots=True)
class Comparison:
    """Contenders on the runs that every one of them has: the same tasks, models and seeds."""

    contenders: tuple[ContenderMean, ...]
    """Best mean AUROC first."""
    tasks: tuple[str, ...]
    left_out: tuple[str, ...]
    """Tasks without a comparable run, each with the reason."""
    absent: tuple[str, ...]
    """Contenders without any run that is done."""
    runs_each: int
    seeds: int


def arms(runs: Iterable[ScoredRun]) -> list[Entry]:
    """Return the last model of each run as an entry of its arm."""
    return [Entry(run.setting.arm, run, run.models.get(LAST, {})) for run in runs]


def models_of_an_arm(runs: Iterable[ScoredRun], arm: str) -> list[Entry]:
    """Return every model of the arm's runs as an entry of its own: last, averaged, snapshots."""
    own = [run for run in runs if run.setting.arm == arm]
    names = list(dict.fromkeys(name for run in own for name in run.models))
    return [Entry(wording.MODEL_TITLES[name], run, run.models.get(name, {})) for run in own for name in names]


def compare(entries: Iterable[Entry]) -> Comparison:
    """Compare contenders on the tasks, models and seeds that all of them have.

    A task whose interval isn't defined (too few patients of one class) is left out: its AUROC would add noise to
    the mean.
    """
    cells: dict[tuple[str, str, int], dict[str, Entry]] = defaultdict(dict)
    planned: dict[str, None] = {}
    for entry in entries:
        cells[entry.cell][entry.contender] = entry
        planned[entry.contender] = None
    present = [name for name in planned if any(name in cell and not cell[name].gap for cell in cells.values())]
    shared = {
        key: cell
        for key, cell in cells.items()
        if present and all(name in cell and not cell[name].gap for name in present)
    }
    included = tuple(dict.fromkeys(task for task, _, _ in shared))
    reasons: dict[str, str] = {}
    for (task, _, _), cell in cells.items():
        if task not in included:
            why = next((entry.gap for entry in cell.values() if entry.gap), "not run under every policy")
            reasons.setdefault(task, f"{task} ({why})")
    return Comparison(
        contenders=_means(present, shared) if shared else (),
        tasks=included,
        left_out=tuple(reasons.values()),
        absent=tuple(name for name in planned if name not in present),
        runs_each=len(shared),
        seeds=len({seed for _, _, seed in shared}),
    )


def _means(names: list[str], cells: dict[tuple[str, str, int], dict[str, Entry]]) -> tuple[ContenderMean, ...]:
    by_task: dict[str, list[dict[str, Entry]]] = defaultdict(list)
    for (task, _, _), cell in cells.items():
        by_task[task].append(cell)

    def macro(name: str, value: Callable[[Entry], Any]) -> float:
        return mean_of_numbers(mean_of_numbers(value(cell[name]) for cell in group) for group in by_task.values())

    def macro_draws(name: str) -> NDArray[np.float64]:
        groups = [np.array([cell[name].measures["auroc"].draws for cell in group]) for group in by_task.values()]
        return mean_of_defined(np.array([mean_of_defined(group) for group in groups]))

    draws = {name: macro_draws(name) for name in names}
    areas = {name: macro(name, lambda entry: entry.measures["auroc"].value) for name in names}
    ranked = sorted(names, key=lambda name: -areas[name])
    best = ranked[0]
    return tuple(
        ContenderMean(
            name=name,
            auroc=areas[name],
            interval=interval(draws[name]),
            ahead=areas[best] - areas[name],
            ahead_interval=None if name == best else interval(draws[best] - draws[name]),
            average_precision=macro(name, lambda entry: entry.measures["average_precision"].value),
            accuracy=macro(name, lambda entry: entry.measures["accuracy"].value),
            training_accuracy=macro(name, lambda entry: training_accuracy(entry.run.record)),
            always_no_accuracy=macro(name, lambda entry: always_no_accuracy(entry.run.record, "test")),
            seconds=float(sum(cell[name].run.record.result["seconds"] for cell in cells.values())),
        )
        for name in ranked
    )
