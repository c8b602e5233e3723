"""The tables of what retraining changes, and of what it costs."""

from collections.abc import Sequence

from clr_hpc.reporting import wording
from clr_hpc.reporting.stats.contrast import ArmContrast
from clr_hpc.reporting.stats.cost import ArmCost, Saving
from clr_hpc.reporting.tables.table import UNDEFINED_ORDER, Cell, Column, Table, bounded, part, tabulate
from clr_hpc.reporting.wording import duration, number, p_value, signed, whole


def contrast_table(contrasts: Sequence[ArmContrast], key: str = "contrasts") -> Table:
    """Return one row per task and arm of retraining; ``key`` is the id of the HTML element."""
    columns = [
        Column("Task", lambda row: row[1].task, filtered=True),
        Column("Retrained with", lambda row: row[0].policy, filtered=True),
        Column(
            "Pairs",
            lambda row: len(row[1].pairs),
            str,
            "Retraining and control of one model and seed; each difference is the mean over them",
        ),
        Column(
            "ΔAUROC (95 % CI)",
            lambda row: bounded(row[1].difference, row[1].interval, signed),
            signed,
            "Retraining minus control on the test split; bootstrap over patients",
        ),
        Column("DeLong p", lambda row: row[1].delong, p_value, "With the variance for several images per patient"),
        Column(
            "Holm",
            lambda row: row[1].delong_adjusted,
            p_value,
            "DeLong's p-value adjusted for the number of pathologies",
        ),
        Column(
            "ΔAccuracy, test",
            lambda row: row[1].accuracy_difference,
            signed,
            "Each at its threshold chosen on validation",
        ),
        Column("McNemar p", lambda row: row[1].mcnemar, p_value, "Exact; several pairs combined by Rüger's rule"),
        Column(
            "Holm (accuracy)",
            lambda row: row[1].mcnemar_adjusted,
            p_value,
            "McNemar's p-value adjusted for the number of pathologies",
        ),
        Column(
            "ΔAccuracy, training",
            lambda row: row[1].training_accuracy_difference,
            signed,
            "The article's measure",
        ),
    ]
    controls = wording.listed(list(dict.fromkeys(contrast.control for contrast in contrasts)))
    rows = [(contrast, task) for contrast in contrasts for task in contrast.tasks]
    return tabulate(key, f"Retraining minus its control ({controls})", columns, rows)


def cost_table(costs: Sequence[ArmCost]) -> Table:
    """Return one row per arm."""
    columns = [
        Column("Policy and stage", lambda cost: cost.arm),
        Column("Runs", lambda cost: cost.runs, str, "Done; numbers are means over them"),
        Column("Steps", lambda cost: cost.steps, whole, "Of the optimizer"),
        Column("Images", lambda cost: cost.images, whole, "Seen in training"),
        Column("Wall time", lambda cost: cost.seconds, duration, "Of the whole run, evaluation included"),
        Column("Images/s", lambda cost: cost.images_per_second, whole, "While training, median"),
        Column("CPU hours", lambda cost: cost.cpu_hours, number),
        Column("GPU hours", lambda cost: cost.gpu_hours, number),
        Column(
            "Target reached",
            lambda cost: part(cost.reached, cost.with_target) if cost.with_target else float("nan"),
            number,
            "Runs that reached the baseline's best validation loss",
        ),
        Column(
            "Steps to the target", lambda cost: cost.steps_to_target, whole, "Mean over the runs that reached it"
        ),
    ]
    return tabulate("costs", "Mean cost of a run", columns, costs)


def saving_table(savings: Sequence[tuple[ArmContrast, Saving]]) -> Table:
    """Return one row per arm of retraining: how much sooner it reaches the target than its control."""
    columns = [
        Column("Retrained with", lambda row: row[0].policy),
        Column(
            "Steps to the target / the control's (95 % CI)",
            lambda row: _ratio(row[1]),
            number,
            "Geometric mean over pathologies",
        ),
        Column("Pathologies", lambda row: row[1].tasks, str, "On which both reach it"),
        Column(
            "Reached", lambda row: part(row[1].reached, row[1].pairs), str, "Runs that reached it, of all pairs"
        ),
        Column("Reached by the control", lambda row: part(row[1].control_reached, row[1].pairs), str),
        Column("Wall time / the control's", lambda row: row[1].seconds_ratio, wording.ratio, "Of whole runs"),
    ]
    return tabulate(
        "savings", "Until the baseline's best validation loss is first reached again", columns, savings
    )


def _ratio(cost: Saving) -> Cell:
    if not cost.tasks:
        return Cell("not defined", UNDEFINED_ORDER, "on no pathology did both reach the target")
    return bounded(cost.ratio, cost.interval, wording.ratio)
