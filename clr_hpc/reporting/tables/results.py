"""The report's tables of policies, models, results, slices, gaps and labels."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from clr_hpc.config.pathologies import NO_FINDING, PATHOLOGIES, title
from clr_hpc.reporting import wording
from clr_hpc.reporting.read.study import StudyRecord
from clr_hpc.reporting.stats.compare import Comparison, ContenderMean
from clr_hpc.reporting.stats.metrics import MEASURES, Measure
from clr_hpc.reporting.stats.scoring import ResultRow, ScoredRun
from clr_hpc.reporting.stats.subgroups import SliceRow
from clr_hpc.reporting.tables.table import UNDEFINED_ORDER, Cell, Column, Table, bounded, part, tabulate
from clr_hpc.reporting.wording import duration, number, whole

ALWAYS_NO = Column(
    "Always “no”",
    lambda record: record.always_no_accuracy,
    number,
    "Test accuracy of a model that never finds anything",
)


def arm_table(comparison: Comparison, frequent: Comparison, frequent_name: str) -> Table:
    """Return the policies, best first; ``frequent`` compares them on frequent pathologies alone."""
    among_frequent = {mean.name: mean for mean in frequent.contenders}
    differs = frequent.tasks != comparison.tasks
    columns = [
        Column("Policy and stage", lambda mean: mean.name),
        Column(
            "Mean AUROC (95 % CI)", _mean, number, "Test split, mean over pathologies; bootstrap over patients"
        ),
        Column(
            "Behind the best",
            _behind,
            number,
            "Difference in mean AUROC on the same draws of patients, with its CI",
        ),
        *[Column(f"Mean AUROC, {frequent_name}", lambda mean: _mean(among_frequent.get(mean.name)), number)]
        * differs,
        Column("Training accuracy", lambda mean: mean.training_accuracy, number, "The article's measure"),
        Column("Test accuracy", lambda mean: mean.accuracy, number, "At the threshold chosen on validation"),
        ALWAYS_NO,
        Column("Training time", lambda mean: mean.seconds, duration, "Sum over the compared runs"),
    ]
    return tabulate("arms", "Over all pathologies that can be compared", columns, comparison.contenders)


def model_table(comparisons: Mapping[str, Comparison]) -> Table:
    """Return the models that runs end with, side by side within each arm; ``comparisons`` are by arm."""
    columns = [
        Column("Policy and stage", lambda row: row[0], filtered=True),
        Column("Model", lambda row: row[2].name),
        Column(
            "Mean AUROC (95 % CI)",
            lambda row: _mean(row[2]),
            number,
            "Test split, mean over tasks; bootstrap over patients",
        ),
        Column(
            "Behind the best of its runs",
            lambda row: _behind(row[2]),
            number,
            "Difference on the same draws of patients, with its CI",
        ),
        Column("Average precision", lambda row: row[2].average_precision, number),
        Column(
            "Test accuracy",
            lambda row: row[2].accuracy,
            number,
            "At the model's own threshold, chosen on validation",
        ),
        Column("Runs", lambda row: row[1].runs_each, str),
    ]
    rows = [(arm, comparison, mean) for arm, comparison in comparisons.items() for mean in comparison.contenders]
    return tabulate("models", "Models of the same runs, best first", columns, rows)


def _mean(mean: ContenderMean | None) -> Cell:
    return Cell("–", UNDEFINED_ORDER) if mean is None else bounded(mean.auroc, mean.interval)


def _behind(mean: ContenderMean) -> Cell:
    return Cell("best", 0.0) if mean.is_best else bounded(mean.ahead, mean.ahead_interval)


def result_table(rows: Sequence[ResultRow]) -> Table:
    """Return one row per task, model, stage and policy of the binary classifiers."""
    columns = [
        *_setting_columns("Pathology"),
        Column(
            "Training accuracy",
            lambda row: row.training_accuracy,
            number,
            "On the whole training split, in evaluation mode, at 0.5",
        ),
        Column("Validation accuracy", lambda row: row.validation_accuracy, number, "At 0.5, as in training"),
        Column("Validation AUROC", lambda row: row.validation_auroc, number, "Of the last model"),
        *_measure_columns(rows),
        Column(
            "Positives",
            lambda row: part(row.positives, row.images),
            number,
            "Images with the finding, of all of the test split",
        ),
    ]
    return tabulate("results", "One row per pathology, model, stage and policy", columns, rows, shorten=True)


def _setting_columns(task_title: str) -> list[Column]:
    return [
        Column(task_title, lambda row: row.setting.task, filtered=True),
        Column("Architecture", lambda row: row.setting.architecture, filtered=True),
        Column("Optimizer", lambda row: row.setting.optimizer, filtered=True),
        Column("Stage", lambda row: row.setting.stage, filtered=True),
        Column("Policy", lambda row: row.setting.policy, filtered=True),
        Column(
            "Seeds",
            lambda row: part(row.done, row.planned),
            str,
            "Done of planned; numbers are means over those done",
        ),
    ]


def _measure_columns(rows: Sequence[ResultRow]) -> Iterator[Column]:
    for measure in MEASURES.values():
        yield _measure_column(measure)
        if measure.key == "auroc" and any(row.planned > 1 for row in rows):
            yield Column(
                "Seed SD", lambda row: row.auroc.spread, number, "Standard deviation of the AUROC over seeds"
            )
        if measure.key == "accuracy":
            yield ALWAYS_NO


def _measure_column(measure: Measure) -> Column:
    heading = f"{measure.title} (95 % CI)" if measure.shows_interval else measure.title
    hint = measure.hint if measure.higher_is_better else f"{measure.hint}; lower is better"
    return Column(heading, lambda row: measured(row, measure), measure.write, hint)


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
        Column(
            "False-positive rate (95 % CI)",
            _false_positives,
            number,
            "Test images of the one class at or above the threshold",
        ),
        Column(
            "Expected",
            lambda row: 1 - (row.setting.threshold_quantile or 0.0),
            lambda rate: number(rate, 2),
            "1 − the quantile of the training scores that is the threshold",
        ),
        Column(
            "Anomalous",
            lambda row: part(row.positives, row.images),
            number,
            "Test images known not to belong to the class",
        ),
    ]
    return tabulate("one-class", "One row per class, method, model and policy", columns, rows, shorten=True)


def _false_positives(row: ResultRow) -> Cell:
    rate, interval = row.false_positive_rate
    return measured(row, MEASURES["specificity"]) if rate != rate else bounded(rate, interval)


def slice_table(rows: Sequence[SliceRow]) -> Table:
    """Return one row per slice, one column per arm."""
    by_slice: dict[tuple[str, str], dict[str, SliceRow]] = defaultdict(dict)
    for row in rows:
        by_slice[row.attribute, row.slice][row.arm] = row
    columns = [
        Column("By", lambda by_arm: _first(by_arm).attribute, filtered=True),
        Column("Slice", lambda by_arm: _first(by_arm).slice),
        Column("Images", lambda by_arm: _first(by_arm).images, whole, "Of the slice in the test split"),
        Column("Pathologies", _task_counts, str, "With enough images of both classes in the slice"),
        *(
            Column(arm, _slice_cell(arm), number, "Mean AUROC over those pathologies, with its 95 % CI")
            for arm in dict.fromkeys(row.arm for row in rows)
        ),
    ]
    return tabulate(
        "slices", "Mean test AUROC on parts of the test split (95 % CI)", columns, list(by_slice.values())
    )


def _first(by_arm: dict[str, SliceRow]) -> SliceRow:
    return next(iter(by_arm.values()))


def _task_counts(by_arm: dict[str, SliceRow]) -> Cell:
    tasks = [row.tasks for row in by_arm.values()]
    return Cell(wording.span(min(tasks), max(tasks)), max(tasks))


def _slice_cell(arm: str) -> Any:
    def cell(by_arm: dict[str, SliceRow]) -> Cell:
        row = by_arm[arm]
        return bounded(row.auroc, row.interval) if row.tasks else Cell("not defined", UNDEFINED_ORDER, row.note)

    return cell


def failure_table(runs: Iterable[ScoredRun]) -> Table:
    """Return the runs that are not done, and those whose AUROC or interval isn't defined, with the reasons."""
    rows: list[tuple[str, str, str]] = []
    for run in runs:
        record = run.record
        if record.status != "done":
            rows.append((record.spec.name, record.status, record.reason or "no reason given"))
        elif run.note:
            rows.append((record.spec.name, "no AUROC" if run.auroc != run.auroc else "no interval", run.note))
    columns = [
        Column("Run", lambda row: row[0]),
        Column("State", lambda row: row[1], filtered=True),
        Column("Reason", lambda row: row[2]),
    ]
    return tabulate("failures", "Runs that are not done, or whose AUROC is not defined, and why", columns, rows)


def label_table(study: StudyRecord) -> Table:
    """Return the images of each label in each split."""
    splits = study.pack["counts"]["splits"]
    counts = {
        label: {name: split.get("labels", {}).get(label, {}).get("positive", 0) for name, split in splits.items()}
        for label in (*PATHOLOGIES, NO_FINDING)
    }
    columns = [
        Column("Label", lambda item: title(item[0])),
        *(Column(name.capitalize(), _of_split(name), "{:,}".format) for name in ("train", "validation", "test")
          if name in splits),
        Column("All", lambda item: sum(item[1].values()), "{:,}".format),
    ]  # fmt: skip
    ranked = sorted(counts.items(), key=lambda item: -sum(item[1].values()))
    return tabulate("labels", "Images with each label, by split", columns, ranked)


def _of_split(name: str) -> Any:
    return lambda item: item[1][name]
