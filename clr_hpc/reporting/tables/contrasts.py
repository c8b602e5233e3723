"""The tables of what retraining changes, of costs, of one-class models and of parts of the test split."""

from collections import defaultdict
from collections.abc import Sequence

from clr_hpc.reporting import wording
from clr_hpc.reporting.stats.bootstrap import Interval
from clr_hpc.reporting.stats.contrast import ArmContrast, TaskContrast
from clr_hpc.reporting.stats.cost import ArmCost, Saving
from clr_hpc.reporting.stats.scoring import ResultRow
from clr_hpc.reporting.stats.subgroups import SliceRow
from clr_hpc.reporting.tables.html import (
    Cell,
    Column,
    Table,
    bounded,
    measured,
    number,
    orderable,
    without_constant_words,
    words,
)

UNDEFINED_ORDER = -9.0
"""Below every difference of two shares."""


def contrast_table(contrasts: Sequence[ArmContrast], key: str = "contrasts") -> Table:
    """Return one row a task and arm of retraining; ``key`` is of the HTML element."""
    columns = [
        Column("Task", filtered=True),
        Column("Retrained with", filtered=True),
        Column("Pairs", True, "Of models and seeds; each difference is the mean over them"),
        Column("AUROC, difference (95 % interval)", True, "Test split; bootstrap over patients"),
        Column("DeLong p", True, "With the variance for several images of a patient"),
        Column("Holm", True, "DeLong's p-value adjusted for the number of pathologies"),
        Column("Test accuracy, difference", True, "Each at its threshold chosen on validation"),
        Column("McNemar p", True, "Exact; over several pairs by Rüger's rule"),
        Column("Holm (accuracy)", True, "McNemar's p-value adjusted for the number of pathologies"),
        Column("Training accuracy, difference", True, "The article's measure"),
    ]
    rows = [_contrast_cells(contrast, task) for contrast in contrasts for task in contrast.tasks]
    controls = wording.listed(list(dict.fromkeys(contrast.control for contrast in contrasts)))
    return Table(key, f"Retraining minus its control ({controls})", columns, rows)


def _contrast_cells(contrast: ArmContrast, task: TaskContrast) -> list[Cell]:
    return [
        words(task.task),
        words(contrast.policy),
        Cell(str(len(task.pairs)), len(task.pairs)),
        _difference(task.difference, task.interval),
        _p_value(task.delong),
        _p_value(task.delong_adjusted),
        _signed(task.accuracy_difference),
        _p_value(task.mcnemar),
        _p_value(task.mcnemar_adjusted),
        _signed(task.training_accuracy_difference),
    ]


def cost_table(costs: Sequence[ArmCost]) -> Table:
    """Return one row an arm."""
    columns = [
        Column("Policy and stage"),
        Column("Runs", True, "Finished; numbers are means over them"),
        Column("Steps", True, "Of the optimizer"),
        Column("Images", True, "Seen in training"),
        Column("Wall time", True, "All of a run, evaluation included"),
        Column("Images/s", True, "While training, median"),
        Column("CPU hours", True),
        Column("GPU hours", True),
        Column("Target reached", True, "Runs that reached the baseline's best validation loss"),
        Column("Steps to the target", True, "Mean over the runs that reached it"),
    ]
    rows = [
        [
            words(cost.arm),
            Cell(str(cost.runs), cost.runs),
            _whole(cost.steps),
            _whole(cost.images),
            Cell(wording.duration(cost.seconds), orderable(cost.seconds)),
            _whole(cost.images_per_second),
            number(cost.cpu_hours),
            number(cost.gpu_hours),
            Cell(f"{cost.reached} of {cost.with_target}", cost.reached) if cost.with_target else Cell("–", -1.0),
            _whole(cost.steps_to_target),
        ]
        for cost in costs
    ]
    return Table("costs", "Mean cost of a run", columns, rows)


def saving_table(savings: Sequence[tuple[ArmContrast, Saving]]) -> Table:
    """Return one row an arm of retraining: how much sooner it reaches the target than its control."""
    columns = [
        Column("Retrained with"),
        Column("Steps to the target / the control's (95 % interval)", True, "Geometric mean over pathologies"),
        Column("Pathologies", True, "On which both reach it"),
        Column("Reached", True, "Runs that reached it, of all pairs"),
        Column("Reached by the control", True),
        Column("Wall time / the control's", True, "Of whole runs"),
    ]
    rows = [
        [
            words(contrast.policy),
            Cell(f"{wording.number(cost.ratio, 2)} ({wording.between(cost.interval, 2)})", orderable(cost.ratio))
            if cost.tasks
            else Cell("not defined", -1.0, "on no pathology did both reach the target"),
            Cell(str(cost.tasks), cost.tasks),
            Cell(f"{cost.reached} of {cost.pairs}", cost.reached),
            Cell(f"{cost.control_reached} of {cost.pairs}", cost.control_reached),
            number(cost.seconds_ratio, 2),
        ]
        for contrast, cost in savings
    ]
    return Table("savings", "Until the baseline's best validation loss is first reached again", columns, rows)


def one_class_table(rows: Sequence[ResultRow]) -> Table:
    """Return one row a one-class task, model, stage and policy."""
    columns = [
        Column("One class: method", filtered=True),
        Column("Architecture", filtered=True),
        Column("Optimizer", filtered=True),
        Column("Stage", filtered=True),
        Column("Policy", filtered=True),
        Column("Seeds", True, "Done of planned; numbers are means over those done"),
        Column("AUROC (95 % interval)", True, "Others against the one class, test split; bootstrap over patients"),
        Column("Average precision", True, "Guessing gives anomalous / images"),
        Column("False-positive rate (95 % interval)", True, "Test images of the one class above the threshold"),
        Column("Expected", True, "1 − the quantile of the training scores that is the threshold"),
        Column("Sensitivity", True, "Other test images above the threshold"),
        Column("Anomalous", True, "Test images known not to belong to the class"),
    ]
    cells = [
        [
            words(row.setting.task),
            words(row.setting.architecture),
            words(row.setting.optimizer),
            words(row.setting.stage),
            words(row.setting.policy),
            Cell(f"{row.done} of {row.planned}", row.done),
            measured(row, "auroc"),
            measured(row, "average_precision"),
            _false_positives(row),
            number(1 - (row.setting.threshold_quantile or 0.0), 2),
            measured(row, "sensitivity"),
            Cell(f"{row.positives:.0f} of {row.images:.0f}" if row.done else "–", orderable(row.positives)),
        ]
        for row in rows
    ]
    return without_constant_words(Table("one-class", "A row a class, method, model and policy", columns, cells))


def _false_positives(row: ResultRow) -> Cell:
    rate, bounds = false_positive_rate(row)
    return measured(row, "specificity") if rate != rate else bounded(rate, bounds)


def false_positive_rate(row: ResultRow) -> tuple[float, Interval | None]:
    """Return the share of test images of the one class that lie above the threshold, and its interval."""
    specificity = row.measures["specificity"]
    bounds = specificity.interval
    return 1 - specificity.value, Interval(1 - bounds.high, 1 - bounds.low) if bounds else None


def slice_table(rows: Sequence[SliceRow]) -> Table:
    """Return one row a slice, one column an arm."""
    arms = list(dict.fromkeys(row.arm for row in rows))
    columns = [
        Column("By", filtered=True),
        Column("Slice"),
        Column("Images", True, "Of the slice in the test split"),
        Column("Pathologies", True, "With enough images of both classes in the slice"),
        *(Column(arm, True, "Mean AUROC over those pathologies, with its 95 % interval") for arm in arms),
    ]
    by_slice: dict[tuple[str, str], dict[str, SliceRow]] = defaultdict(dict)
    for row in rows:
        by_slice[row.attribute, row.slice][row.arm] = row
    cells = []
    for (attribute, name), by_arm in by_slice.items():
        first = next(iter(by_arm.values()))
        tasks = [row.tasks for row in by_arm.values()]
        counts = f"{min(tasks)}" if min(tasks) == max(tasks) else f"{min(tasks)} to {max(tasks)}"
        cells.append(
            [words(attribute), words(name), _whole(first.images), Cell(counts, max(tasks))]
            + [_slice_cell(by_arm[arm]) for arm in arms]
        )
    return Table("slices", "Mean test AUROC on parts of the test split (95 % interval)", columns, cells)


def _slice_cell(row: SliceRow) -> Cell:
    return bounded(row.auroc, row.interval) if row.tasks else Cell("not defined", -1.0, row.note)


def _difference(value: float, bounds: Interval | None) -> Cell:
    return Cell(f"{wording.signed(value)} ({wording.between(bounds)})", _place(value))


def _signed(value: float) -> Cell:
    return Cell(wording.signed(value), _place(value))


def _p_value(value: float) -> Cell:
    return Cell(wording.p_value(value), _place(value))


def _place(value: float) -> float:
    return UNDEFINED_ORDER if value != value else value


def _whole(value: float) -> Cell:
    return Cell("–" if value != value else f"{value:,.0f}", orderable(value))
