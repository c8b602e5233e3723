"""What training costs, and how soon a retraining reaches its target: the baseline's best validation loss."""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from clr_hpc.reporting.stats.bootstrap import Interval
from clr_hpc.reporting.stats.contrast import ArmContrast, Pair
from clr_hpc.reporting.stats.scoring import ScoredRun, mean_of_numbers
from clr_hpc.reporting.stats.significance import mean_interval


@dataclass(frozen=True, slots=True)
class ArmCost:
    """Means of one arm's finished runs on one kind of task."""

    arm: str
    runs: int
    steps: float
    images: float
    seconds: float
    images_per_second: float
    cpu_hours: float
    gpu_hours: float
    with_target: int
    """Runs that have a target: those that start from a baseline."""
    reached: int
    steps_to_target: float
    """Mean over the runs that reached it."""


@dataclass(frozen=True, slots=True)
class Saving:
    """How much sooner retraining reaches the target than its control."""

    ratio: float
    """Steps / the control's steps, where both reach it: geometric mean over tasks. NaN: they do so nowhere."""
    interval: Interval | None
    """Over tasks: Student's, of the logarithm."""
    tasks: int
    """With a pair of which both reach the target."""
    pairs: int
    reached: int
    control_reached: int
    seconds_ratio: float
    """Wall time of a complete run against its control, geometric mean over tasks."""


def arm_costs(runs: Iterable[ScoredRun]) -> tuple[ArmCost, ...]:
    """Return the cost of every arm's finished runs, in the study's order."""
    groups: dict[str, list[ScoredRun]] = defaultdict(list)
    for run in runs:
        if run.record.status == "done":
            groups[run.setting.arm].append(run)
    return tuple(_arm_cost(arm, group) for arm, group in groups.items())


def _arm_cost(arm: str, runs: list[ScoredRun]) -> ArmCost:
    costs = [run.record.result["cost"] for run in runs]
    targets = [run.record.result["target"] for run in runs if run.record.result["target"] is not None]
    reached = [target["reached_at"] for target in targets if target["reached_at"] is not None]

    def mean(key: str) -> float:
        return mean_of_numbers(cost[key] for cost in costs)

    return ArmCost(
        arm=arm,
        runs=len(runs),
        steps=mean("steps"),
        images=mean("images"),
        seconds=mean("seconds"),
        images_per_second=mean_of_numbers(run.record.images_per_second for run in runs),
        cpu_hours=mean("cpu_hours"),
        gpu_hours=mean("gpu_hours"),
        with_target=len(targets),
        reached=len(reached),
        steps_to_target=mean_of_numbers(at["steps"] for at in reached),
    )


def steps_to_target(run: ScoredRun) -> int | None:
    """Return after how many steps the target was first reached; None where it never was, or there is none."""
    target: dict[str, Any] | None = run.record.result["target"]
    return None if target is None or target["reached_at"] is None else int(target["reached_at"]["steps"])


def saving(contrast: ArmContrast) -> Saving:
    """Return how one arm's cost compares with its control's."""
    pairs = [pair for task in contrast.tasks for pair in task.pairs]
    ratios = [_mean_log(task.pairs) for task in contrast.tasks]
    defined = [ratio for ratio in ratios if np.isfinite(ratio)]
    bounds = mean_interval(defined)
    seconds = [
        np.log(pair.retrained.record.result["cost"]["seconds"] / pair.control.record.result["cost"]["seconds"])
        for pair in pairs
    ]
    return Saving(
        ratio=float(np.exp(mean_of_numbers(defined))),
        interval=Interval(float(np.exp(bounds.low)), float(np.exp(bounds.high))) if bounds else None,
        tasks=len(defined),
        pairs=len(pairs),
        reached=sum(steps_to_target(pair.retrained) is not None for pair in pairs),
        control_reached=sum(steps_to_target(pair.control) is not None for pair in pairs),
        seconds_ratio=float(np.exp(mean_of_numbers(seconds))),
    )


def _mean_log(pairs: Iterable[Pair]) -> float:
    """Return the mean logarithm of the ratio of steps, of the pairs that both reach the target; NaN if none."""
    logs = []
    for pair in pairs:
        own, control = steps_to_target(pair.retrained), steps_to_target(pair.control)
        if own and control:
            logs.append(np.log(own / control))
    return mean_of_numbers(logs)
