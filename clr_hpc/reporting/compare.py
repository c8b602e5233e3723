"""The policies side by side, on the runs that every one of them has."""

from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clr_hpc.reporting.scoring import ScoredRun, always_no_accuracy, mean_of_numbers
from clr_hpc.reporting.statistics import Interval, interval, mean_of_defined
from clr_hpc.spec.pathologies import PATHOLOGIES, title


@dataclass(frozen=True, slots=True)
class PolicyMean:
    """One policy over all pathologies. The means weigh every pathology alike."""

    policy: str
    auroc: float
    interval: Interval | None
    ahead: float
    """Of this policy, by how much the best one's mean AUROC is above it; 0 for the best."""
    ahead_interval: Interval | None
    training_accuracy: float
    validation_accuracy: float
    always_no_accuracy: float
    seconds: float
    """Sum over the runs that are compared."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """The policies on the runs that every one of them has: the same pathologies, models and seeds."""

    policies: tuple[PolicyMean, ...]
    """Best mean AUROC first."""
    pathologies: tuple[str, ...]
    left_out: tuple[str, ...]
    """Pathologies without a comparable run, each with the reason."""
    absent_policies: tuple[str, ...]
    """Policies without any run that is done."""
    runs_a_policy: int
    seeds: int


def compare_policies(runs: tuple[ScoredRun, ...], pathologies: tuple[str, ...] = PATHOLOGIES) -> Comparison:
    """Compare the policies over ``pathologies``, on the pathologies, models and seeds that all of them have.

    A pathology whose interval isn't defined (too few patients of one class) is left out: its AUROC would move
    the mean by chance alone.
    """
    cells: dict[tuple[str, str, int], dict[str, ScoredRun]] = defaultdict(dict)
    for run in runs:
        if run.setting.pathology in pathologies:
            key = (run.setting.pathology, run.setting.model, run.record.spec.seed)
            cells[key][run.setting.policy] = run
    planned = list(dict.fromkeys(run.setting.policy for run in runs))
    present = [
        name for name in planned if any(name in cell and not _excluded(cell[name]) for cell in cells.values())
    ]
    shared = {
        key: cell
        for key, cell in cells.items()
        if present and all(name in cell and not _excluded(cell[name]) for name in present)
    }
    included = tuple(dict.fromkeys(pathology for pathology, _, _ in shared))
    reasons: dict[str, str] = {}
    for (pathology, _, _), cell in cells.items():
        if pathology not in included:
            why = next((_excluded(run) for run in cell.values() if _excluded(run)), "not run with every policy")
            reasons.setdefault(pathology, f"{title(pathology)} ({why})")
    return Comparison(
        policies=_policy_means(present, shared) if shared else (),
        pathologies=included,
        left_out=tuple(reasons.values()),
        absent_policies=tuple(name for name in planned if name not in present),
        runs_a_policy=len(shared),
        seeds=len({seed for _, _, seed in shared}),
    )


def _excluded(run: ScoredRun) -> str:
    """Return why a run takes no part in a comparison; empty when it does."""
    return run.note if run.note or not run.draws.size else ""


def _policy_means(
    policies: list[str], cells: dict[tuple[str, str, int], dict[str, ScoredRun]]
) -> tuple[PolicyMean, ...]:
    by_pathology: dict[str, list[dict[str, ScoredRun]]] = defaultdict(list)
    for (pathology, _, _), cell in cells.items():
        by_pathology[pathology].append(cell)

    def macro(policy: str, value: Callable[[ScoredRun], Any]) -> float:
        return mean_of_numbers(
            mean_of_numbers(value(cell[policy]) for cell in group) for group in by_pathology.values()
        )

    def macro_draws(policy: str) -> NDArray[np.float64]:
        groups = [np.array([cell[policy].draws for cell in group]) for group in by_pathology.values()]
        return mean_of_defined(np.array([mean_of_defined(group) for group in groups]))

    draws = {policy: macro_draws(policy) for policy in policies}
    areas = {policy: macro(policy, lambda run: run.auroc) for policy in policies}
    ranked = sorted(policies, key=lambda policy: -areas[policy])
    best = ranked[0]
    return tuple(
        PolicyMean(
            policy=policy,
            auroc=areas[policy],
            interval=interval(draws[policy]),
            ahead=areas[best] - areas[policy],
            ahead_interval=None if policy == best else interval(draws[best] - draws[policy]),
            training_accuracy=macro(policy, lambda run: run.record.result["train"]["accuracy"]),
            validation_accuracy=macro(policy, lambda run: run.record.result["validation"]["accuracy"]),
            always_no_accuracy=macro(policy, lambda run: always_no_accuracy(run.record, "validation")),
            seconds=float(sum(cell[policy].record.result["seconds"] for cell in cells.values())),
        )
        for policy in ranked
    )
