"""Comparison of contenders on the runs that all of them have."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from clr_hpc.reporting import wording
from clr_hpc.reporting.stats.bootstrap import Interval, Sampled
from clr_hpc.reporting.stats.difference import Difference, Influence
from clr_hpc.reporting.stats.metrics import Estimate
from clr_hpc.reporting.stats.pairs import Pair, balanced
from clr_hpc.reporting.stats.run.scores import LAST
from clr_hpc.reporting.stats.scoring import (
    ScoredRun,
    always_no_accuracy,
    mean_of_numbers,
    training_accuracy,
    validation_auroc,
)
from clr_hpc.reporting.stats.verdict import Verdict, pairwise_verdicts


@dataclass(frozen=True, slots=True)
class Entry:
    """One run of a contender: an arm, or a model that a run ends with."""

    contender: str
    run: ScoredRun
    model: str
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

    @property
    def validation_auroc(self) -> float:
        """Of this model at the end of training; NaN where it isn't defined."""
        return validation_auroc(self.run.record, self.model)

    @property
    def influence(self) -> Influence:
        """On the test split, where its AUROC is defined."""
        assert self.run.scores is not None, "what has an AUROC has scores"
        return self.run.scores.influences[self.model]


@dataclass(frozen=True, slots=True)
class ContenderMean:
    """One contender over all tasks. The means weigh every task alike; measures are of the test split."""

    name: str
    auroc: float
    interval: Interval | None
    """Over patients, for the same models."""
    validation_auroc: float
    """At the end of training; NaN where validation can't give it for every run."""
    difference: Difference | None
    """Its mean AUROC minus the reference's; None for the reference."""
    verdict: Verdict | None
    """On it, against the reference; None where it isn't judged."""
    average_precision: float
    accuracy: float
    training_accuracy: float
    always_no_accuracy: float
    seconds: float


@dataclass(frozen=True, slots=True)
class Comparison:
    """Contenders on the runs that every one of them has: the same tasks, models and seeds."""

    contenders: tuple[ContenderMean, ...]
    """The reference first, then by mean AUROC."""
    chosen: bool
    """Whether the reference is the best on validation, so that the test split can judge it."""
    tasks: tuple[str, ...]
    left_out: tuple[str, ...]
    """Tasks without a comparable run, each with the reason."""
    absent: tuple[str, ...]
    """Contenders without any run that is done."""
    runs_each: int
    seeds: int


def arms(runs: Iterable[ScoredRun]) -> list[Entry]:
    """Return the last model of each run as an entry of its arm."""
    return [Entry(run.setting.arm, run, LAST, run.models.get(LAST, {})) for run in runs]


def models_of_an_arm(runs: Iterable[ScoredRun], arm: str) -> list[Entry]:
    """Return every model of the arm's runs as an entry of its own: last, averaged, snapshots."""
    own = [run for run in runs if run.setting.arm == arm]
    names = list(dict.fromkeys(name for run in own for name in run.models))
    return [
        Entry(wording.MODEL_TITLES[name], run, name, run.models.get(name, {})) for run in own for name in names
    ]


def compare(entries: Iterable[Entry], margin: float | None = None, of_one_length: bool = True) -> Comparison:
    """Compare contenders on the tasks, models and seeds that all of them have.

    With ``margin``, the reference is the contender with the best mean AUROC on validation, and is judged on the
    test split; nothing is chosen by what judges it. Without, it is the one planned first, and nothing is judged.

    A task whose interval isn't defined (too few patients of one class) is left out: its AUROC would add noise to
    the mean. Where policies are judged, so are runs that early stopping ended sooner than others, unless their
    length is part of what is compared (``of_one_length=False``).
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
        if not (margin and of_one_length and _is_of_different_lengths(cell))
    }
    included = tuple(dict.fromkeys(task for task, _, _ in shared))
    reasons: dict[str, str] = {}
    for (task, _, _), cell in cells.items():
        if task not in included:
            why = next((entry.gap for entry in cell.values() if entry.gap), "not run under every policy")
            if of_one_length and _is_of_different_lengths(cell):
                why = "early stopping ended some of its runs sooner"
            reasons.setdefault(task, f"{task} ({why})")
    reference = _best_on_validation(present, shared) if margin else None
    means = _means(present, shared, reference or present[0]) if shared else []
    if reference and margin:
        means = _judged(means, shared, margin)
    return Comparison(
        contenders=tuple(means),
        chosen=reference is not None,
        tasks=included,
        left_out=tuple(reasons.values()),
        absent=tuple(name for name in planned if name not in present),
        runs_each=len(shared),
        seeds=len({seed for _, _, seed in shared}),
    )


def _is_of_different_lengths(cell: Mapping[str, Entry]) -> bool:
    """Return whether early stopping made runs that are compared of different lengths."""
    runs = [entry.run for entry in cell.values() if entry.measures]
    return len({run.steps for run in runs}) > 1 and any(run.record.result["stopped_early"] for run in runs)


Cells = Mapping[tuple[str, str, int], Mapping[str, Entry]]


def _best_on_validation(names: list[str], cells: Cells) -> str | None:
    """Return the contender with the best mean AUROC on validation, where all have one; None: they nowhere do."""

    known = {
        key: cell for key, cell in cells.items() if all(np.isfinite(cell[name].validation_auroc) for name in names)
    }
    means = {name: _mean_over_tasks(name, known, lambda entry: entry.validation_auroc) for name in names}
    return max(means, key=lambda name: means[name]) if known else None


def _mean_over_tasks(name: str, cells: Cells, value: Callable[[Entry], Any]) -> float:
    by_task: dict[str, list[float]] = defaultdict(list)
    for (task, _, _), cell in cells.items():
        by_task[task].append(value(cell[name]))
    return mean_of_numbers(mean_of_numbers(values) for values in by_task.values())


def _means(names: list[str], cells: Cells, reference: str) -> list[ContenderMean]:
    def mean(name: str) -> ContenderMean:
        def macro(value: Callable[[Entry], Any]) -> float:
            return _mean_over_tasks(name, cells, value)

        return ContenderMean(
            name=name,
            auroc=macro(lambda entry: entry.measures["auroc"].value),
            interval=_interval(name, cells),
            validation_auroc=macro(lambda entry: entry.validation_auroc),
            difference=None if name == reference else _difference(name, reference, cells),
            verdict=None,
            average_precision=macro(lambda entry: entry.measures["average_precision"].value),
            accuracy=macro(lambda entry: entry.measures["accuracy"].value),
            training_accuracy=macro(lambda entry: training_accuracy(entry.run.record)),
            always_no_accuracy=macro(lambda entry: always_no_accuracy(entry.run.record, "test")),
            seconds=float(sum(cell[name].run.record.result["seconds"] for cell in cells.values())),
        )

    return sorted((mean(name) for name in names), key=lambda each: (each.difference is not None, -each.auroc))


def _interval(name: str, cells: Cells) -> Interval | None:
    by_task: dict[str, list[Sampled]] = defaultdict(list)
    for (task, _, _), cell in cells.items():
        by_task[task].append(cell[name].measures["auroc"].sampled)
    return Sampled.over_tasks([Sampled.over_seeds(runs) for runs in by_task.values()]).interval


def _difference(name: str, reference: str, cells: Cells) -> Difference:
    pairs = [Pair(task, model, seed, cell[name], cell[reference]) for (task, model, seed), cell in cells.items()]
    return balanced(pairs).auroc(lambda entry: entry.influence)


def _judged(means: list[ContenderMean], cells: Cells, margin: float) -> list[ContenderMean]:
    """Judge each contender against the reference, the first."""
    names = [mean.name for mean in means]
    found = pairwise_verdicts(names, lambda one, other: _difference(one, other, cells), margin)
    return [means[0], *(replace(mean, verdict=found[mean.name, names[0]]) for mean in means[1:])]
