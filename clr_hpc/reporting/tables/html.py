"""The report's tables as people read them."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from clr_hpc.config.pathologies import NO_FINDING, PATHOLOGIES, title
from clr_hpc.reporting import wording
from clr_hpc.reporting.read.study import StudyRecord
from clr_hpc.reporting.stats.bootstrap import Interval
from clr_hpc.reporting.stats.compare import Comparison, ContenderMean
from clr_hpc.reporting.stats.scoring import ResultRow, ScoredRun

SPLITS = ("train", "validation", "test")


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a table that people read."""

    title: str
    numeric: bool = False
    hint: str = ""
    filtered: bool = False
    """Whether the reader may choose among its values."""


@dataclass(frozen=True, slots=True)
class Cell:
    """What stands in a table, and the value it is sorted by."""

    text: str
    order: float | str
    hint: str = ""


@dataclass(frozen=True, slots=True)
class Table:
    """A table that people read."""

    key: str
    """Of the HTML element."""
    caption: str
    columns: Sequence[Column]
    rows: Sequence[Sequence[Cell]]


def arm_table(comparison: Comparison, frequent: Comparison, frequent_name: str) -> Table:
    """Return the arms, best first; ``frequent`` compares them on frequent pathologies alone."""
    differs = frequent.tasks != comparison.tasks
    columns = [
        Column("Policy and stage"),
        Column("Mean AUROC (95 % interval)", True, "Test split, mean over pathologies; bootstrap over patients"),
        Column(
            "Behind the best", True, "Difference in mean AUROC on the same draws of patients, with its interval"
        ),
        *([Column(f"Mean AUROC, {frequent_name}", True)] if differs else []),
        Column("Training accuracy", True, "The article's measure"),
        Column("Test accuracy", True, "At the threshold chosen on validation"),
        Column("Always “no”", True, "Test accuracy of a model that never finds anything"),
        Column("Training time", True, "Sum over the compared runs"),
    ]
    among_frequent = {mean.name: mean for mean in frequent.contenders}
    rows = [
        [
            words(mean.name),
            _mean(mean),
            _behind(mean, comparison.contenders[0]),
            *([_mean(among_frequent.get(mean.name))] if differs else []),
            number(mean.training_accuracy),
            number(mean.accuracy),
            number(mean.always_no_accuracy),
            Cell(wording.duration(mean.seconds), mean.seconds),
        ]
        for mean in comparison.contenders
    ]
    return Table("arms", "Over all pathologies that can be compared", columns, rows)


def model_table(comparisons: Mapping[str, Comparison]) -> Table:
    """Return the models that runs end with, side by side within each arm; ``comparisons`` are by arm."""
    columns = [
        Column("Policy and stage", filtered=True),
        Column("Model"),
        Column("Mean AUROC (95 % interval)", True, "Test split, mean over tasks; bootstrap over patients"),
        Column("Behind the best of its runs", True, "Difference on the same draws of patients, with its interval"),
        Column("Average precision", True),
        Column("Test accuracy", True, "At the model's own threshold, chosen on validation"),
        Column("Runs", True),
    ]
    rows = [
        [
            words(arm),
            words(mean.name),
            _mean(mean),
            _behind(mean, comparison.contenders[0]),
            number(mean.average_precision),
            number(mean.accuracy),
            Cell(str(comparison.runs_each), comparison.runs_each),
        ]
        for arm, comparison in comparisons.items()
        for mean in comparison.contenders
    ]
    return Table("models", "Models of the same runs, best first", columns, rows)


def _mean(mean: ContenderMean | None) -> Cell:
    return words("–") if mean is None else bounded(mean.auroc, mean.interval)


def _behind(mean: ContenderMean, best: ContenderMean) -> Cell:
    return Cell("best", 0.0) if mean is best else bounded(mean.ahead, mean.ahead_interval)


def result_table(rows: Sequence[ResultRow]) -> Table:
    """Return one row a task, model, stage and policy of the binary classifiers."""
    several_seeds = any(row.planned > 1 for row in rows)
    columns = [
        Column("Pathology", filtered=True),
        Column("Architecture", filtered=True),
        Column("Optimizer", filtered=True),
        Column("Stage", filtered=True),
        Column("Policy", filtered=True),
        Column("Seeds", True, "Done of planned; numbers are means over those done"),
        Column("Training accuracy", True, "On the whole training split, in evaluation mode, at 0.5"),
        Column("Validation accuracy", True, "At 0.5, as in training"),
        Column("Validation AUROC", True, "Of the last model"),
        Column("AUROC (95 % interval)", True, "On the test split; bootstrap over patients"),
        *([Column("Seed SD", True, "Standard deviation of the AUROC over seeds")] if several_seeds else []),
        Column("Average precision", True, "Guessing gives positives / images"),
        Column("Test accuracy", True, "At the threshold chosen on validation (Youden)"),
        Column("Always “no”", True, "Test accuracy of a model that never finds anything"),
        Column("Balanced accuracy", True, "Mean of sensitivity and specificity"),
        Column("Sensitivity", True, "At the threshold chosen on validation (Youden)"),
        Column("Specificity", True, "At the threshold chosen on validation (Youden)"),
        Column("Brier score", True, "Mean squared error of the probability; lower is better"),
        Column("Calibration error", True, "Expected calibration error, ten bins of equal width; lower is better"),
        Column("Positives", True, "Images with the finding, of all of the test split"),
    ]
    cells = [_result_cells(row, several_seeds) for row in rows]
    return without_constant_words(Table("results", "A row a pathology, model, stage and policy", columns, cells))


def _result_cells(row: ResultRow, several_seeds: bool) -> list[Cell]:
    setting = row.setting
    positives = f"{row.positives:.0f} of {row.images:.0f}" if row.done else "–"
    return [
        words(setting.task),
        words(setting.architecture),
        words(setting.optimizer),
        words(setting.stage),
        words(setting.policy),
        Cell(f"{row.done} of {row.planned}", row.done),
        number(row.training_accuracy),
        number(row.validation_accuracy),
        number(row.validation_auroc),
        measured(row, "auroc"),
        *([number(row.auroc.spread)] if several_seeds else []),
        measured(row, "average_precision"),
        measured(row, "accuracy"),
        number(row.always_no_accuracy),
        *(
            measured(row, name)
            for name in ("balanced_accuracy", "sensitivity", "specificity", "brier", "calibration_error")
        ),
        Cell(positives, orderable(row.positives)),
    ]


def measured(row: ResultRow, name: str) -> Cell:
    """Write a measure (the AUROC with its interval, the others with it as a hint), or why it isn't defined."""
    mean = row.measures[name]
    if mean.value != mean.value:
        return Cell("not defined" if row.done else "not done", -1.0, mean.note or row.note)
    if name == "auroc":
        cell = bounded(mean.value, mean.interval)
        return Cell(cell.text, cell.order, mean.note)
    hint = mean.note or (f"95 % interval {wording.between(mean.interval)}" if mean.interval else "")
    return Cell(wording.number(mean.value), mean.value, hint)


def without_constant_words(table: Table) -> Table:
    """Say in the caption, rather than in every row, what all rows have in common."""
    constant = [
        position
        for position, column in enumerate(table.columns)
        if not column.numeric and len(table.rows) > 1 and len({row[position].text for row in table.rows}) == 1
    ]
    common = [table.rows[0][position].text for position in constant]
    kept = [position for position in range(len(table.columns)) if position not in constant]
    return Table(
        key=table.key,
        caption=f"{table.caption}; all rows: {', '.join(common)}" if common else table.caption,
        columns=[table.columns[position] for position in kept],
        rows=[[row[position] for position in kept] for row in table.rows],
    )


def failure_table(runs: Iterable[ScoredRun]) -> Table:
    """Return the runs that are not done, and those whose AUROC or interval isn't defined, with the reasons."""
    columns = [Column("Run"), Column("State", filtered=True), Column("Reason")]
    rows = []
    for run in runs:
        record = run.record
        if record.status != "done":
            rows.append([words(record.spec.name), words(record.status), words(record.reason or "no reason given")])
        elif run.note:
            state = "no AUROC" if run.auroc != run.auroc else "no interval"
            rows.append([words(record.spec.name), words(state), words(run.note)])
    return Table("failures", "Runs that are not done, or whose AUROC is not defined, and why", columns, rows)


def label_counts(study: StudyRecord) -> dict[str, int]:
    """Return the number of images of the 14 pathologies and of no finding, over all splits of the pack."""
    splits = study.pack["counts"]["splits"].values()
    return {
        label: sum(split.get("labels", {}).get(label, {}).get("positive", 0) for split in splits)
        for label in (*PATHOLOGIES, NO_FINDING)
    }


def label_table(study: StudyRecord) -> Table:
    """Return the images of each label in each split."""
    splits = study.pack["counts"]["splits"]
    names = [name for name in SPLITS if name in splits]
    columns = [Column("Label"), *(Column(name.capitalize(), True) for name in names), Column("All", True)]
    rows = []
    for label, total in sorted(label_counts(study).items(), key=lambda item: -item[1]):
        counts = [splits[name].get("labels", {}).get(label, {}).get("positive", 0) for name in names]
        rows.append([words(title(label)), *(Cell(f"{images:,}", images) for images in (*counts, total))])
    return Table("labels", "Images with each label, by split", columns, rows)


def words(text: str) -> Cell:
    """Write words."""
    return Cell(text, text)


def number(value: float, digits: int = 3) -> Cell:
    """Write a number."""
    return Cell(wording.number(value, digits), orderable(value))


def bounded(value: float, bounds: Interval | None) -> Cell:
    """Write a number and its interval."""
    return Cell(f"{wording.number(value)} ({wording.between(bounds)})", orderable(value))


def orderable(value: float) -> float:
    """Return ``value``, or -1 for a value that isn't defined: it sorts below all that are."""
    return -1.0 if value != value else value
