"""Each retraining against its control: the same weights, retrained for as long with the decaying rate."""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, replace

import numpy as np

from clr_hpc.config.study import Question
from clr_hpc.reporting.stats.controls import Controls, control_label
from clr_hpc.reporting.stats.difference import Difference, Influence
from clr_hpc.reporting.stats.pairs import Pair, balanced
from clr_hpc.reporting.stats.run.scores import LAST, RunScores
from clr_hpc.reporting.stats.scoring import ScoredRun, mean_of_numbers, training_accuracy
from clr_hpc.reporting.stats.significance import combined, holm, mcnemar
from clr_hpc.reporting.stats.verdict import SIGNIFICANCE, Verdict, verdicts

BY_DEFAULT = Question()
RunPair = Pair[ScoredRun]
"""A retraining, and its control; both have a defined AUROC on the same test images."""


@dataclass(frozen=True, slots=True)
class TaskContrast:
    """One task: means over the pairs of its models and seeds; differences are retraining minus control."""

    task: str
    pairs: tuple[RunPair, ...]
    difference: Difference
    """In AUROC on the test split."""
    p_adjusted: float
    """p-value over patients and training runs, after Holm over the tasks of all arms; NaN with one seed."""
    accuracy_difference: float
    """On the test split, at each model's threshold."""
    mcnemar: float
    """p-value that these very models are equally accurate, over pairs as ``significance.combined`` has it."""
    mcnemar_adjusted: float
    training_accuracy_difference: float


@dataclass(frozen=True, slots=True)
class ArmContrast:
    """One arm of retraining against the control, over tasks that weigh alike."""

    arm: str
    policy: str
    """The arm's label among retrainings."""
    name: str
    """The policy's name in the study file."""
    cyclical: bool
    """Whether the rate moves in waves; others show the effect of retraining with a rate that doesn't decay."""
    control: str
    tasks: tuple[TaskContrast, ...]
    seeds: int
    """That all compared tasks and models have; 0: nothing can be compared."""
    difference: Difference
    """In AUROC on the test split, retraining minus control."""
    training_accuracy: Difference
    left_out: tuple[str, ...]
    """Runs without a comparable control or without a match in the means, each with the reason."""
    verdict: Verdict | None = None
    """On the test AUROC; None: exploratory, as the study's question is not about this policy."""
    training_verdict: Verdict | None = None
    """On the training accuracy, the article's measure."""

    @property
    def better(self) -> int:
        """Number of tasks with a significantly higher AUROC."""
        return sum(task.p_adjusted < SIGNIFICANCE and task.difference.value > 0 for task in self.tasks)

    @property
    def worse(self) -> int:
        """Number of tasks with a significantly lower AUROC."""
        return sum(task.p_adjusted < SIGNIFICANCE and task.difference.value < 0 for task in self.tasks)


def against_control(runs: Iterable[ScoredRun], question: Question | None = BY_DEFAULT) -> tuple[ArmContrast, ...]:
    """Compare every arm of retraining with the control, and judge those that the question is about.

    ``runs`` are of one kind of task; without a question, all of it is exploratory.
    """
    runs = tuple(runs)
    controls = Controls(runs)
    by_arm: dict[str, list[ScoredRun]] = defaultdict(list)
    for run in runs:
        if run.record.spec.stage == "retrain":
            by_arm[run.setting.arm].append(run)
    contrasts = [_arm_contrast(arm, group, controls) for arm, group in by_arm.items()]
    return tuple(_judged(_with_holm(contrasts), question))


def _judged(contrasts: list[ArmContrast], question: Question | None) -> list[ArmContrast]:
    if question is None:
        return contrasts
    asked = [each for each in contrasts if each.tasks and question.asks_about(each.name, each.cyclical)]
    on_test = verdicts([each.difference for each in asked], question.margin)
    on_training = verdicts([each.training_accuracy for each in asked], question.margin)
    judged = {
        each.arm: replace(each, verdict=test, training_verdict=training)
        for each, test, training in zip(asked, on_test, on_training, strict=True)
    }
    return [judged.get(each.arm, each) for each in contrasts]


def _arm_contrast(arm: str, runs: list[ScoredRun], controls: Controls) -> ArmContrast:
    pairs: list[RunPair] = []
    left_out = []
    for run in runs:
        control = controls.get(run)
        why = _gap(run, control)
        if why or control is None:
            left_out.append(f"{run.record.spec.name} ({why})")
        else:
            setting = run.setting
            pairs.append(Pair(setting.task, setting.model, run.record.spec.seed, run, control))
    by_task: dict[str, list[RunPair]] = defaultdict(list)
    for pair in pairs:
        by_task[pair.task].append(pair)
    compared = balanced(pairs)
    return ArmContrast(
        arm=arm,
        policy=runs[0].setting.variant,
        name=runs[0].record.spec.policy.name,
        cyclical=runs[0].record.spec.policy.is_cyclical,
        control=control_label([(pair.first, pair.second) for pair in pairs]),
        tasks=tuple(_task_contrast(task, group) for task, group in by_task.items()),
        seeds=len(compared.seeds),
        difference=compared.auroc(_influence),
        training_accuracy=compared.training(lambda run: training_accuracy(run.record)),
        left_out=(
            *left_out,
            *(f"{pair} (of other tasks or seeds there is no pair)" for pair in compared.left_out),
        ),
    )


def _gap(run: ScoredRun, control: ScoredRun | None) -> str:
    """Return why two runs can't be compared; empty when they can."""
    if control is None:
        return "the study has no control of the same baseline"
    if run.note or control.note:
        return run.note or f"its control: {control.note}"
    if run.steps != control.steps:
        return f"trained for {run.steps:,} steps and its control for {control.steps:,}: early stopping ended one"
    if _scores(run).images != _scores(control).images:
        return "its control was tested on other images"
    return ""


def _task_contrast(task: str, pairs: list[RunPair]) -> TaskContrast:
    return TaskContrast(
        task=task,
        pairs=tuple(pairs),
        difference=balanced(pairs).auroc(_influence),
        p_adjusted=float("nan"),
        accuracy_difference=mean_of_numbers(_accuracy(pair.first) - _accuracy(pair.second) for pair in pairs),
        mcnemar=combined([_mcnemar(pair) for pair in pairs]),
        mcnemar_adjusted=float("nan"),
        training_accuracy_difference=mean_of_numbers(
            training_accuracy(pair.first.record) - training_accuracy(pair.second.record) for pair in pairs
        ),
    )


def _with_holm(contrasts: list[ArmContrast]) -> list[ArmContrast]:
    """Adjust the p-values of tasks over all tasks and arms."""
    tasks = [task for contrast in contrasts for task in contrast.tasks]
    adjusted = zip(
        tasks,
        holm([task.difference.p_value for task in tasks]),
        holm([task.mcnemar for task in tasks]),
        strict=True,
    )
    done = iter([replace(task, p_adjusted=auroc, mcnemar_adjusted=accuracy) for task, auroc, accuracy in adjusted])
    return [replace(contrast, tasks=tuple(next(done) for _ in contrast.tasks)) for contrast in contrasts]


def _scores(run: ScoredRun) -> RunScores:
    assert run.scores is not None, "runs with a gap are in no pair"
    return run.scores


def _influence(run: ScoredRun) -> Influence:
    return _scores(run).influences[LAST]


def _mcnemar(pair: RunPair) -> float:
    """Compare which test images the two models get right; NaN where either has no threshold."""
    one, other = (_scores(run).right for run in (pair.first, pair.second))
    if one is None or other is None:
        return float("nan")
    return mcnemar(np.unpackbits(one) == 1, np.unpackbits(other) == 1)


def _accuracy(run: ScoredRun) -> float:
    return run.models[LAST]["accuracy"].value
