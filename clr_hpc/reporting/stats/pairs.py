"""Pairs of runs that differ in the policy alone, and the mean difference over them."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

import numpy as np

from clr_hpc.reporting.stats.difference import Cell, Difference, Influence, auroc_difference, training_difference

Side = TypeVar("Side")


@dataclass(frozen=True, slots=True)
class Pair(Generic[Side]):
    """Two runs of one task, model and seed, on the same test images."""

    task: str
    model: str
    seed: int
    first: Side
    second: Side


@dataclass(frozen=True, slots=True)
class Balanced(Generic[Side]):
    """Pairs of which every task and model has every seed, as the analysis of variance needs them."""

    cells: tuple[tuple[Pair[Side], ...], ...]
    """One row per task and model, its pairs in the order of ``seeds``."""
    seeds: tuple[int, ...]
    left_out: tuple[str, ...]
    """Tasks and seeds that other pairs have no match for."""

    @property
    def weights(self) -> tuple[float, ...]:
        """Of each cell in the mean: tasks weigh alike, and the models of a task."""
        tasks = [cell[0].task for cell in self.cells]
        return tuple(1 / (len(set(tasks)) * tasks.count(task)) for task in tasks)

    def auroc(self, influence: Callable[[Side], Influence]) -> Difference:
        """Return the mean difference in test AUROC, the first side's minus the second's."""
        if not self.cells:
            return Difference(float("nan"))
        return auroc_difference(
            [
                Cell(
                    [influence(pair.first) for pair in cell],
                    [influence(pair.second) for pair in cell],
                    weight,
                )
                for cell, weight in zip(self.cells, self.weights, strict=True)
            ]
        )

    def training(self, value: Callable[[Side], float]) -> Difference:
        """Return the mean difference of what is measured on the training images."""
        if not self.cells:
            return Difference(float("nan"))
        values = [[value(pair.first) - value(pair.second) for pair in cell] for cell in self.cells]
        return training_difference(np.array(values), np.array(self.weights))


def balanced(pairs: Iterable[Pair[Side]]) -> Balanced[Side]:
    """Keep the seeds and the cells that hold the most pairs of which none is missing."""
    by_cell: dict[tuple[str, str], dict[int, Pair[Side]]] = defaultdict(dict)
    for pair in pairs:
        by_cell[pair.task, pair.model][pair.seed] = pair
    kept = max(
        _choices([set(cell) for cell in by_cell.values()]),
        key=lambda seeds: len(seeds) * _complete(by_cell, seeds),
        default=(),
    )
    cells = [tuple(cell[seed] for seed in kept) for cell in by_cell.values() if all(seed in cell for seed in kept)]
    used = {(cell[0].task, cell[0].model, pair.seed) for cell in cells for pair in cell}
    missing = dict.fromkeys(
        f"{task}, seed {seed}"
        for (task, model), cell in by_cell.items()
        for seed in cell
        if (task, model, seed) not in used
    )
    return Balanced(tuple(cells), kept, tuple(missing))


def _choices(cells: Sequence[set[int]]) -> list[tuple[int, ...]]:
    """Return the seed that most cells have, the two that most have, and so on; the most seeds first."""
    seeds = sorted({seed for cell in cells for seed in cell})
    ranked = sorted(seeds, key=lambda seed: -sum(seed in cell for cell in cells))
    return [tuple(sorted(ranked[:number])) for number in range(len(ranked), 0, -1)]


def _complete(by_cell: dict[tuple[str, str], dict[int, Pair[Side]]], seeds: tuple[int, ...]) -> int:
    return sum(all(seed in cell for seed in seeds) for cell in by_cell.values())
