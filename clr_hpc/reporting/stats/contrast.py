"""Each retraining against its control: the same weights, retrained for as long with the decaying rate."""

from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from clr_hpc.reporting.stats.bootstrap import Interval, interval, mean_of_defined
from clr_hpc.reporting.stats.controls import Controls, control_label
from clr_hpc.reporting.stats.scoring import LAST, ScoredRun, mean_of_numbers, training_accuracy
from clr_hpc.reporting.stats.significance import auroc_contrast, combined, holm, mcnemar, mean_interval

SIGNIFICANT = 0.05


@dataclass(frozen=True, slots=True)
class Pair:
    """A retraining and its control, both with a defined AUROC on the same test images."""

    retrained: ScoredRun
    control: ScoredRun


@dataclass(frozen=True, slots=True)
class TaskContrast:
    """One task: means over the pairs of its models and seeds; differences are retraining minus control."""

    task: str
    pairs: tuple[Pair, ...]
    difference: float
    """In AUROC on the test split, retraining minus control."""
    interval: Interval | None
    delong: float
    """p-value of the difference in AUROC."""
    delong_adjusted: float
    """The same, after Holm over the tasks."""
    accuracy_difference: float
    """On the test split, at each model's threshold."""
    mcnemar: float
    """p-value of the difference in accuracy, over pairs as ``significance.combined`` has it."""
    mcnemar_adjusted: float
    training_accuracy_difference: float


@dataclass(frozen=True, slots=True)
class ArmContrast:
    """One arm of retraining against the control, over tasks that weigh alike."""

    arm: str
    policy: str
    """The arm's label among retrainings."""
    cyclical: bool
    """Whether the rate moves in waves; others show the effect of retraining with a rate that doesn't decay."""
    control: str
    tasks: tuple[TaskContrast, ...]
    difference: float
    interval: Interval | None
    """By the bootstrap over patients: variability over patients, for the same models."""
    training_interval: Interval | None
    """Student's over tasks, of a single task over its pairs: variability over training runs."""
    training_accuracy_difference: float
    training_accuracy_interval: Interval | None
    """Student's, as ``training_interval``."""
    left_out: tuple[str, ...]
    """Runs without a comparable control, each with the reason."""

    @property
    def standing(self) -> int:
        """1 or -1 where both intervals exclude zero, by the sign of the difference; else 0."""
        bounds = (self.interval, self.training_interval)
        if all(interval is not None and interval.excludes(0.0) for interval in bounds):
            return 1 if self.difference > 0 else -1
        return 0

    @property
    def better(self) -> int:
        """Number of tasks with a higher AUROC whose adjusted p-value is below 0.05."""
        return sum(task.delong_adjusted < SIGNIFICANT and task.difference > 0 for task in self.tasks)

    @property
    def worse(self) -> int:
        """Number of tasks with a lower AUROC whose adjusted p-value is below 0.05."""
        return sum(task.delong_adjusted < SIGNIFICANT and task.difference < 0 for task in self.tasks)


def against_control(runs: Iterable[ScoredRun]) -> tuple[ArmContrast, ...]:
    """Compare every arm of retraining with the control."""
    runs = tuple(runs)
    controls = Controls(runs)
    by_arm: dict[str, list[ScoredRun]] = defaultdict(list)
    for run in runs:
        if run.record.spec.stage == "retrain":
            by_arm[run.setting.arm].append(run)
    return tuple(_arm_contrast(arm, group, controls) for arm, group in by_arm.items())


def _arm_contrast(arm: str, runs: list[ScoredRun], controls: Controls) -> ArmContrast:
    by_task: dict[str, list[Pair]] = defaultdict(list)
    left_out = []
    for run in runs:
        control = controls.get(run)
        why = _gap(run, control)
        if why or control is None:
            left_out.append(f"{run.record.spec.name} ({why})")
        else:
            by_task[run.setting.task].append(Pair(run, control))
    tasks = _with_holm([_task_contrast(task, pairs) for task, pairs in by_task.items()])
    draws = [_difference_draws(task.pairs) for task in tasks]
    compared = [(pair.retrained, pair.control) for pairs in by_task.values() for pair in pairs]
    return ArmContrast(
        arm=arm,
        policy=runs[0].setting.variant,
        cyclical=runs[0].record.spec.policy.is_cyclical,
        control=control_label(compared),
        tasks=tuple(tasks),
        difference=mean_of_numbers(task.difference for task in tasks),
        interval=interval(mean_of_defined(np.array(draws))) if draws else None,
        training_interval=_over_tasks(tasks, _auroc),
        training_accuracy_difference=mean_of_numbers(task.training_accuracy_difference for task in tasks),
        training_accuracy_interval=_over_tasks(tasks, lambda run: training_accuracy(run.record)),
        left_out=tuple(left_out),
    )


def _over_tasks(tasks: list[TaskContrast], value: Callable[[ScoredRun], float]) -> Interval | None:
    """Return Student's interval of the mean difference in ``value`` over tasks, or over a single one's pairs."""
    differences = [[value(pair.retrained) - value(pair.control) for pair in task.pairs] for task in tasks]
    units = differences[0] if len(tasks) == 1 else [mean_of_numbers(of_task) for of_task in differences]
    return mean_interval([unit for unit in units if np.isfinite(unit)])


def _gap(run: ScoredRun, control: ScoredRun | None) -> str:
    """Return why two runs can't be compared; empty when they can."""
    if control is None:
        return "the study has no control of the same baseline"
    if run.note or control.note:
        return run.note or f"its control: {control.note}"
    if run.steps != control.steps:
        return f"trained for {run.steps:,} steps and its control for {control.steps:,}: early stopping ended one"
    if not np.array_equal(run.record.predictions["test"].images, control.record.predictions["test"].images):
        return "its control was tested on other images"
    return ""


def _task_contrast(task: str, pairs: list[Pair]) -> TaskContrast:
    test = pairs[0].retrained.record.predictions["test"]
    sides = [pair.retrained for pair in pairs] + [pair.control for pair in pairs]
    scores = np.array([side.record.predictions["test"].of(LAST).scores for side in sides])
    weights = [1 / len(pairs)] * len(pairs) + [-1 / len(pairs)] * len(pairs)
    contrast = auroc_contrast(test.labels, scores, weights, test.patients)
    return TaskContrast(
        task=task,
        pairs=tuple(pairs),
        difference=contrast.value,
        interval=interval(_difference_draws(pairs)),
        delong=contrast.p_value,
        delong_adjusted=float("nan"),
        accuracy_difference=mean_of_numbers(_accuracy(pair.retrained) - _accuracy(pair.control) for pair in pairs),
        mcnemar=combined([_mcnemar(pair) for pair in pairs]),
        mcnemar_adjusted=float("nan"),
        training_accuracy_difference=mean_of_numbers(
            training_accuracy(pair.retrained.record) - training_accuracy(pair.control.record) for pair in pairs
        ),
    )


def _with_holm(tasks: list[TaskContrast]) -> list[TaskContrast]:
    delong = holm([task.delong for task in tasks])
    accuracy = holm([task.mcnemar for task in tasks])
    return [
        replace(task, delong_adjusted=of_auroc, mcnemar_adjusted=of_accuracy)
        for task, of_auroc, of_accuracy in zip(tasks, delong, accuracy, strict=True)
    ]


def _difference_draws(pairs: Iterable[Pair]) -> NDArray[np.float64]:
    return mean_of_defined(
        np.array(
            [
                pair.retrained.models[LAST]["auroc"].draws - pair.control.models[LAST]["auroc"].draws
                for pair in pairs
            ]
        )
    )


def _mcnemar(pair: Pair) -> float:
    """Compare which test images the two models get right; NaN where either has no threshold."""
    right = []
    for run in (pair.retrained, pair.control):
        threshold = run.thresholds[LAST]
        if threshold is None:
            return float("nan")
        test = run.record.predictions["test"].of(LAST)
        right.append((test.scores >= threshold) == test.labels)
    return mcnemar(right[0], right[1])


def _auroc(run: ScoredRun) -> float:
    return run.auroc


def _accuracy(run: ScoredRun) -> float:
    return run.models[LAST]["accuracy"].value
