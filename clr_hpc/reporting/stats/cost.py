"""What training costs, and how soon a retraining reaches its target: the baseline's best validation loss.

A run that does not reach the target within its training is censored: all that is known is that it takes longer. So
runs are compared by the restricted mean time to the target (Royston & Parmar 2013, doi:10.1186/1471-2288-13-152),
the area under the Kaplan–Meier curve up to a horizon. Here the horizon is the length of training: every run is
watched until then, and compared runs train equally long. So the area is the mean of min(steps to the target, steps
of training).
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from clr_hpc.reporting.stats.bootstrap import Interval
from clr_hpc.reporting.stats.contrast import ArmContrast, RunPair
from clr_hpc.reporting.stats.scoring import ScoredRun, mean_of_numbers
from clr_hpc.reporting.stats.significance import mean_interval

Measured = Literal["on a grid of steps", "at ends of epochs"]
"""Where the validation loss was. Runs of earlier versions, or with a baseline of one, have no grid."""


@dataclass(frozen=True, slots=True)
class ToTarget:
    """When a run first reached its target."""

    steps: int
    """0 where it starts there; all steps of its training where it does not reach it."""
    reached: bool


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
    restricted_steps_to_target: float
    """Restricted mean: a run that does not reach it counts with its whole length. NaN where early stopping ended
    such a run before the others."""
    target_measured: Measured | None
    """None without a target."""


@dataclass(frozen=True, slots=True)
class Saving:
    """How much sooner retraining reaches the target than its control; means weigh every task alike."""

    tasks: int
    """With a target."""
    pairs: int
    """Of these tasks."""
    measured: Measured
    reached: int
    control_reached: int
    at_start: int
    """Pairs whose common initial weights are at the target already, so that they say nothing of its cost."""
    steps_of_training: float
    restricted_steps: float
    """Restricted mean steps to the target."""
    control_restricted_steps: float
    steps_difference: float
    """Of these, retraining minus control; NaN where no run of either reached the target."""
    interval: Interval | None
    """Of the difference: Student's over tasks, of a single task over its pairs (variability over training runs),
    within what the length of training allows. None with fewer than two, or where all differ by the same."""
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
    measured = _measured(runs)
    found = [(run, to_target(run, measured)) for run in runs]
    targets = [target for _, target in found if target is not None]
    cut_short = any(
        target and not target.reached and run.record.result.get("stopped_early") for run, target in found
    )

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
        reached=sum(target.reached for target in targets),
        restricted_steps_to_target=float("nan") if cut_short else mean_of_numbers(to.steps for to in targets),
        target_measured=measured if targets else None,
    )


def to_target(run: ScoredRun, measured: Measured) -> ToTarget | None:
    """Return when a run first reached its target, as measured there; None where it has none."""
    target = _targets(run)[measured]
    if target is None:
        return None
    reached = target["reached_at"]
    return ToTarget(run.steps, reached=False) if reached is None else ToTarget(int(reached["steps"]), reached=True)


def _targets(run: ScoredRun) -> dict[Measured, dict[str, Any] | None]:
    result = run.record.result
    on_grid = result.get("on_grid") or {}
    return {"on a grid of steps": on_grid.get("target"), "at ends of epochs": result["target"]}


def _measured(runs: Iterable[ScoredRun]) -> Measured:
    """Return how the target of all these runs can be compared: on the grid, if none of them lacks it."""
    targets = [_targets(run) for run in runs]
    lacking = any(of["at ends of epochs"] and not of["on a grid of steps"] for of in targets)
    return "at ends of epochs" if lacking else "on a grid of steps"


def saving(contrast: ArmContrast) -> Saving:
    """Return how one arm's cost compares with its control's."""
    every = [pair for task in contrast.tasks for pair in task.pairs]
    measured = _measured([run for pair in every for run in (pair.first, pair.second)])
    tasks = [found for task in contrast.tasks if (found := _steps(task.pairs, measured))]
    steps = [np.array([[own.steps, control.steps] for own, control in pairs]) for pairs in tasks]
    both = [target for pairs in tasks for pair in pairs for target in pair]
    means = np.mean([of_task.mean(axis=0) for of_task in steps], axis=0) if steps else np.full(2, np.nan)
    seconds = [
        np.log(pair.first.record.result["cost"]["seconds"] / pair.second.record.result["cost"]["seconds"])
        for pair in every
    ]
    length = mean_of_numbers(mean_of_numbers(pair.second.steps for pair in task.pairs) for task in contrast.tasks)
    is_known = any(target.reached for target in both)
    return Saving(
        tasks=len(tasks),
        pairs=sum(map(len, tasks)),
        measured=measured,
        reached=sum(own.reached for pairs in tasks for own, _ in pairs),
        control_reached=sum(control.reached for pairs in tasks for _, control in pairs),
        at_start=sum(own.reached and own.steps == control.steps == 0 for pairs in tasks for own, control in pairs),
        steps_of_training=length,
        restricted_steps=float(means[0]),
        control_restricted_steps=float(means[1]),
        steps_difference=float(means[0] - means[1]) if is_known else float("nan"),
        interval=_interval([of_task[:, 0] - of_task[:, 1] for of_task in steps], length),
        seconds_ratio=float(np.exp(mean_of_numbers(seconds))),
    )


def _steps(pairs: Iterable[RunPair], measured: Measured) -> list[tuple[ToTarget, ToTarget]]:
    """Return when each pair's two runs reached the target, of those pairs that have one."""
    found = [(to_target(pair.first, measured), to_target(pair.second, measured)) for pair in pairs]
    return [(own, control) for own, control in found if own is not None and control is not None]


def _interval(differences: Sequence[Any], length: float) -> Interval | None:
    """Return Student's interval of the mean over tasks of differences ``(P,)``, or over a single task's pairs."""
    units = differences[0] if len(differences) == 1 else [of_task.mean() for of_task in differences]
    if len(units) < 2 or np.ptp(units) == 0:
        return None
    bounds = mean_interval([float(unit) for unit in units])
    return bounds and Interval(max(bounds.low, -length), min(bounds.high, length))
