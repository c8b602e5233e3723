"""The report's tables of policies, models, results, slices, gaps and labels."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from clr_hpc.config.pathologies import title
from clr_hpc.reporting import wording
from clr_hpc.reporting.read.study import StudyRecord
from clr_hpc.reporting.stats.compare import Comparison, ContenderMean
from clr_hpc.reporting.stats.evaluate import label_counts
from clr_hpc.reporting.stats.metrics import MEASURES, Measure
from clr_hpc.reporting.stats.scoring import ResultRow, ScoredRun
from clr_hpc.reporting.stats.subgroups import SliceRow
from clr_hpc.reporting.tables.table import MISSING, UNDEFINED_ORDER, Cell, Column, Table, bounded, part, tabulate
from clr_hpc.reporting.wording import duration, number, ratio, signed, whole

ALWAYS_NO = Column("Always “no”", "always_no_accuracy", number, "Test accuracy of never finding anything")
TRAINING_ACCURACY = "On the complete training split, in evaluation mode, at 0.5"


def arm_table(comparison: Comparison, frequent: Comparison, frequent_name: str) -> Table:
    """Return the policies; ``frequent`` compares them on frequent pathologies alone."""
    among_frequent = {mean.name: _mean(mean) for mean in frequent.contenders}
    columns = [
        Column("Policy and stage", "name"),
        Column("Mean AUROC (95 % CI)", _mean, number, "Test split, mean over pathologies; patient bootstrap"),
        Column(f"Δ from {_reference(comparison)}", _difference, signed, "95 % CI, over seeds too where several"),
        Column("Validation AUROC", "validation_auroc", number, "Mean, of the last model"),
        Column(f"Mean AUROC, {frequent_name}", lambda mean: among_frequent.get(mean.name, MISSING), number),
        Column("Training accuracy", "training_accuracy", number, "The article's measure"),
        Column("Test accuracy", "accuracy", number, "At the threshold chosen on validation"),
        ALWAYS_NO,
        Column("Training time", "seconds", duration, "Sum over the compared runs"),
    ]
    if frequent.tasks == comparison.tasks:
        del columns[4]
    return tabulate("arms", "Over all pathologies that can be compared", columns, comparison.contenders)


def model_table(comparisons: Mapping[str, Comparison]) -> Table:
    """Return the models that runs end with, side by side within each arm; ``comparisons`` are by arm."""
    columns = [
        Column("Policy and stage", "arm", filtered=True),
        Column("Model", "mean.name"),
        Column("Mean AUROC (95 % CI)", lambda row: _mean(row["mean"]), number, "Test split, mean over tasks"),
        Column("Δ from its last model", lambda row: _difference(row["mean"]), signed, "Mean, with its 95 % CI"),
        Column("Average precision", "mean.average_precision", number),
        Column("Test accuracy", "mean.accuracy", number, "At the model's own threshold, chosen on validation"),
        Column("Runs", "runs", str),
    ]
    rows = [
        {"arm": arm, "mean": mean, "runs": comparison.runs_each}
        for arm, comparison in comparisons.items()
        for mean in comparison.contenders
    ]
    return tabulate("models", "Models of the same runs, described, not judged", columns, rows)


def _mean(mean: ContenderMean) -> Cell:
    return bounded(mean.auroc, mean.interval)


def _reference(comparison: Comparison) -> str:
    return comparison.contenders[0].name if comparison.contenders else "the first"


def _difference(mean: ContenderMean) -> Cell:
    if mean.difference is None:
        return Cell("reference", 0.0)
    difference = mean.difference
    return bounded(difference.value, difference.interval or difference.patient_interval, signed)


def result_table(rows: Sequence[ResultRow]) -> Table:
    """Return one row per task, model, stage and policy of the binary classifiers."""
    columns = [
        *_setting_columns("Pathology"),
        Column("Training accuracy", "training_accuracy", number, TRAINING_ACCURACY),
        Column("Validation accuracy", "validation_accuracy", number, "At 0.5, as in training"),
        Column("Validation AUROC", "validation_auroc", number, "Of the last model"),
        *_measure_columns(rows),
        Column("Positives", _positives, number, "Images with the finding, of all of the test split"),
    ]
    return tabulate("results", "One row per pathology, model, stage and policy", columns, rows, shorten=True)


def _setting_columns(task_title: str) -> list[Column]:
    names = ("Architecture", "Optimizer", "Stage", "Policy")
    return [
        Column(task_title, "setting.task", filtered=True),
        *(Column(name, f"setting.{name.lower()}", filtered=True) for name in names),
        Column("Seeds", lambda row: part(row.done, row.planned), str, "Done of planned; numbers are their means"),
    ]


def _measure_columns(rows: Sequence[ResultRow]) -> Iterator[Column]:
    for measure in MEASURES.values():
        yield _measure_column(measure)
        if measure.key == "auroc" and any(row.planned > 1 for row in rows):
            yield Column("Seed SD", "auroc.spread", number, "Standard deviation of the AUROC over seeds")
        if measure.key == "accuracy":
            yield ALWAYS_NO


def _measure_column(measure: Measure) -> Column:
    heading = f"{measure.title} (95 % CI)" if measure.shows_interval else measure.title
    hint = measure.hint if measure.higher_is_better else f"{measure.hint}; lower is better"
    return Column(heading, lambda row: measured(row, measure), measure.write, hint)


def _positives(row: ResultRow) -> Cell:
    return part(row.positives, row.images)


def measured(row: ResultRow, measure: Measure) -> Cell:
    """Write a measure and its interval, in the cell or as a hint, or why it isn't defined."""
    mean = row.measures[measure.key]
    if mean.value != mean.value:
        return Cell("not defined" if row.done else "not done", UNDEFINED_ORDER, mean.note or row.note)
    if measure.shows_interval:
        return Cell(wording.bounded(mean.value, mean.interval, measure.write), mean.value, mean.note)
    hint = mean.note or (f"95 % CI {wording.between(mean.interval)}" if mean.interval else "")
    return Cell(measure.write(mean.value), mean.value, hint)


def one_class_table(rows: Sequence[ResultRow]) -> Table:
    """Return one row per one-class task, model, stage and policy."""
    columns = [
        *_setting_columns("One class: method"),
        *(_measure_column(measure) for measure in MEASURES.values() if measure.for_one_class),
        Column("False-positive rate (95 % CI)", _false_positives, number, "Of the one class, above the threshold"),
        Column("Expected", "setting.expected_false_positive_rate", ratio, "1 − the threshold's quantile"),
        Column("Anomalous", _positives, number, "Test images known not to belong to the class"),
    ]  # fmt: skip
    return tabulate("one-class", "One row per class, method, model and policy", columns, rows, shorten=True)


def _false_positives(row: ResultRow) -> Cell:
    rate, interval = row.false_positive_rate
    return measured(row, MEASURES["specificity"]) if rate != rate else bounded(rate, interval)


def slice_table(rows: Sequence[SliceRow]) -> Table:
    """Return one row per slice, one column per arm."""
    by_slice: dict[tuple[str, str], dict[str, SliceRow]] = defaultdict(dict)
    for row in rows:
        by_slice[row.attribute, row.slice][row.arm] = row
    records = [{"first": next(iter(by_arm.values())), "arms": by_arm} for by_arm in by_slice.values()]
    hint = "Mean AUROC over those pathologies, with its 95 % CI"
    columns = [
        Column("By", "first.attribute", filtered=True),
        Column("Slice", "first.slice"),
        Column("Images", "first.images", whole, "Of the slice in the test split"),
        Column("Pathologies", _task_counts, str, "With enough images of both classes in the slice"),
        *(Column(arm, _slice_cell(arm), number, hint) for arm in dict.fromkeys(row.arm for row in rows)),
    ]
    return tabulate("slices", "Mean test AUROC on parts of the test split (95 % CI)", columns, records)


def _task_counts(record: dict[str, Any]) -> Cell:
    tasks = [row.tasks for row in record["arms"].values()]
    return Cell(wording.span(min(tasks), max(tasks)), max(tasks))


def _slice_cell(arm: str) -> Callable[[dict[str, Any]], Cell]:
    def cell(record: dict[str, Any]) -> Cell:
        row = record["arms"][arm]
        return bounded(row.auroc, row.interval) if row.tasks else Cell("not defined", UNDEFINED_ORDER, row.note)

    return cell


def failure_table(runs: Iterable[ScoredRun]) -> Table:
    """Return the runs that are not done, and those whose AUROC or interval isn't defined, with the reasons."""
    rows = []
    for run in runs:
        name, status = run.record.spec.name, run.record.status
        if status != "done":
            rows.append({"run": name, "state": status, "reason": run.record.reason or "no reason given"})
        elif run.note:
            state = "no AUROC" if run.auroc != run.auroc else "no interval"
            rows.append({"run": name, "state": state, "reason": run.note})
        elif run.record.reason:
            rows.append({"run": name, "state": "damaged", "reason": run.record.reason})
    columns = [Column("Run", "run"), Column("State", "state", filtered=True), Column("Reason", "reason")]
    return tabulate("failures", "Runs that are not done, or whose AUROC is not defined, and why", columns, rows)


def label_table(study: StudyRecord) -> Table:
    """Return the images of each label in each split."""
    splits = study.pack["counts"]["splits"]
    rows = [
        {"label": title(label), "all": total}
        | {name: split.get("labels", {}).get(label, {}).get("positive", 0) for name, split in splits.items()}
        for label, total in sorted(label_counts(study).items(), key=lambda item: -item[1])
    ]
    names = [name for name in ("train", "validation", "test") if name in splits]
    columns = [Column("Label", "label"), *(Column(name.capitalize(), name, whole) for name in [*names, "all"])]
    return tabulate("labels", "Images with each label, by split", columns, rows)
