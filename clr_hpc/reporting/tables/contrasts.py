"""The tables of what retraining changes, and of what it costs; the report opens with the first."""

from collections.abc import Sequence

from clr_hpc.reporting.stats.contrast import ArmContrast
from clr_hpc.reporting.stats.cost import ArmCost, Saving, saving
from clr_hpc.reporting.stats.difference import Difference
from clr_hpc.reporting.stats.verdict import Verdict
from clr_hpc.reporting.tables.table import (
    MISSING,
    UNDEFINED_ORDER,
    Cell,
    Column,
    Table,
    bounded,
    order,
    part,
    tabulate,
)
from clr_hpc.reporting.wording import count, duration, listed, number, p_value, ratio, signed, steps_apart, whole


def answer_table(contrasts: Sequence[ArmContrast], noun: str, key: str = "answer") -> Table:
    """Return one row per arm of retraining: its verdicts, and the differences that they rest on.

    Args:
        contrasts: those that the study asks about come first.
        noun: what a task is called.
        key: id of the HTML element.
    """
    rows = [each for each in contrasts if each.tasks]
    rows.sort(key=lambda row: (row.verdict is None, not row.cyclical))
    if all(row.difference.total is None for row in rows):
        auroc, interval = "ΔAUROC of these runs (95 % CI over test patients)", "difference.patient_interval"
    else:
        auroc, interval = "ΔAUROC (95 % CI)", "difference.interval"
    columns = [
        Column("Retrained with", _policy),
        Column("Verdict on AUROC", lambda row: _standing(row.verdict, row.difference)),
        Column(auroc, "difference.value", signed, "Test split; the policy minus its control", interval),
        Column("Better / worse", _tally, str, f"Each {noun} judged alone: exploratory"),
    ]
    if any(_measures_training(row) for row in rows):
        columns += [
            Column("Verdict on training accuracy",
                   lambda row: _standing(row.training_verdict, row.training_accuracy)),
            Column("ΔAccuracy (95 % CI)", "training_accuracy.value", signed,
                   "CI over training runs; none where all seeds agree", "training_accuracy.interval"),
        ]  # fmt: skip
    target = "Until the baseline's best validation loss is reached again, fewer are better; CI over training runs"
    columns.append(Column("ΔSteps to target (95 % CI)", lambda row: _difference(saving(row)), whole, target))
    controls = listed(list(dict.fromkeys(row.control for row in rows)))
    tasks, seeds = (
        max(map(size, rows), default=0) for size in (lambda row: len(row.tasks), lambda row: row.seeds)
    )
    caption = f"Retraining minus its control ({controls}); means over {count(tasks, noun)}, {count(seeds, 'seed')}"
    return tabulate(key, caption, columns, rows)


def _policy(contrast: ArmContrast) -> str:
    return contrast.policy if contrast.cyclical else f"{contrast.policy} (not cyclical)"


def _standing(verdict: Verdict | None, difference: Difference) -> str:
    return "exploratory" if verdict is None else "not judged" if difference.total is None else verdict


def _measures_training(contrast: ArmContrast) -> bool:
    return contrast.training_accuracy.value == contrast.training_accuracy.value


def _tally(contrast: ArmContrast) -> Cell:
    if contrast.difference.total is None:
        return MISSING
    return Cell(f"{contrast.better}/{contrast.worse} of {len(contrast.tasks)}", order(contrast.better))


def contrast_table(contrasts: Sequence[ArmContrast], key: str = "contrasts") -> Table:
    """Return one row per task and arm of retraining; ``key`` is the id of the HTML element."""
    columns = [
        Column("Task", "task.task", filtered=True),
        Column("Retrained with", "contrast.policy", filtered=True),
        Column("Pairs", lambda row: len(row["task"].pairs), str, "Of models and seeds; numbers are their means"),
        Column("ΔAUROC (95 % CI)", "task.difference.value", signed, "Test split; of these models, over patients",
               "task.difference.patient_interval"),
        Column("DeLong p", "task.difference.patient_p_value", p_value, "Of these models; another seed may differ"),
        Column("p (Holm)", "task.p_adjusted", p_value, "Over patients and seeds, adjusted for all rows"),
        Column("ΔAccuracy, test", "task.accuracy_difference", signed, "Each at its own threshold"),
        Column("McNemar p", "task.mcnemar", p_value, "Exact; several pairs combined by Rüger's rule"),
        Column("Holm (accuracy)", "task.mcnemar_adjusted", p_value, "McNemar's p-value, adjusted for all rows"),
        Column("ΔAccuracy, training", "task.training_accuracy_difference", signed, "The article's measure"),
    ]  # fmt: skip
    rows = [{"contrast": contrast, "task": task} for contrast in contrasts for task in contrast.tasks]
    controls = listed(list(dict.fromkeys(contrast.control for contrast in contrasts)))
    return tabulate(key, f"Retraining minus its control ({controls})", columns, rows)


def cost_table(costs: Sequence[ArmCost]) -> Table:
    """Return one row per arm."""
    columns = [
        Column("Policy and stage", "arm"),
        Column("Runs", "runs", str, "Done; numbers are means over them"),
        Column("Steps", "steps", whole, "Of the optimizer"),
        Column("Images", "images", whole, "Seen in training"),
        Column("Wall time", "seconds", duration, "Of the complete run, evaluation included"),
        Column("Images/s", "images_per_second", whole, "While training, median"),
        Column("CPU hours", "cpu_hours", number),
        Column("GPU hours", "gpu_hours", number),
        Column("Target reached", _reached, number, "Runs that reached the baseline's best validation loss"),
        Column("Steps to the target", _to_target, whole, RESTRICTED),
    ]
    return tabulate("costs", "Mean cost of a run", columns, costs)


RESTRICTED = "Restricted mean: a run that does not reach it counts with its whole length"


def _to_target(cost: ArmCost) -> Cell:
    steps = cost.restricted_steps_to_target
    if cost.with_target and steps != steps:
        return Cell("not defined", UNDEFINED_ORDER, "early stopping ended a run before it reached the target")
    return Cell(whole(steps), order(steps), f"Measured {cost.target_measured}") if cost.with_target else MISSING


def _reached(cost: ArmCost) -> Cell:
    return part(cost.reached, cost.with_target) if cost.with_target else MISSING


def saving_table(savings: Sequence[tuple[ArmContrast, Saving]]) -> Table:
    """Return one row per arm of retraining: how much sooner it reaches the target than its control."""
    columns = [
        Column("Retrained with", "policy"),
        Column("Steps to the target", "cost.restricted_steps", whole, RESTRICTED),
        Column("Of the control", "cost.control_restricted_steps", whole, RESTRICTED),
        Column(
            "Difference (95 % CI)",
            lambda row: _difference(row["cost"]),
            whole,
            "CI over training runs: Student's over pathologies",
        ),
        Column("Steps of training", "cost.steps_of_training", whole, "Which no steps to the target exceed"),
        Column("Reached", lambda row: part(row["cost"].reached, row["cost"].pairs), str, "Of all pairs"),
        Column("Reached by the control", lambda row: part(row["cost"].control_reached, row["cost"].pairs), str),
        Column("At the start", "cost.at_start", str, "Pairs whose initial weights are at the target already"),
        Column("Measured", "cost.measured", hint="Ends of epochs see waves at their feet or peaks only"),
        Column("Wall time / the control's", "cost.seconds_ratio", ratio, "Of complete runs"),
    ]
    rows = [{"policy": contrast.policy, "cost": cost} for contrast, cost in savings]
    return tabulate("savings", "Until the baseline's best validation loss is first reached again", columns, rows)


def _difference(cost: Saving) -> Cell:
    if cost.steps_difference != cost.steps_difference:
        return Cell("not defined", UNDEFINED_ORDER, "neither a run nor a control reached the target")
    return bounded(cost.steps_difference, cost.interval, steps_apart)
