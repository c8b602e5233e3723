"""The report's tables as people read them."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from clr_hpc.reporting import wording
from clr_hpc.reporting.collect import StudyRecord
from clr_hpc.reporting.compare import Comparison, PolicyMean
from clr_hpc.reporting.scoring import ResultRow, ScoredRun
from clr_hpc.spec.pathologies import NO_FINDING, PATHOLOGIES, title

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


def policy_table(comparison: Comparison, frequent: Comparison, frequent_name: str) -> Table:
    """Return the policies, best first; ``frequent`` compares them on frequent pathologies alone."""
    differs = frequent.pathologies != comparison.pathologies
    columns = [
        Column("Policy"),
        Column(
            "Mean AUROC (95 % interval)", True, "Validation split, mean over pathologies; bootstrap over patients"
        ),
        Column(
            "Behind the best", True, "Difference in mean AUROC on the same draws of patients, with its interval"
        ),
        *([Column(f"Mean AUROC, {frequent_name}", True)] if differs else []),
        Column("Training accuracy", True, "The article's measure"),
        Column("Validation accuracy", True),
        Column("Always “no”", True, "Validation accuracy of a model that never finds anything"),
        Column("Training time", True, "Sum over the compared runs"),
    ]
    among_frequent = {policy.policy: policy for policy in frequent.policies}
    rows = [
        [
            _words(policy.policy),
            _mean(policy),
            _behind(policy, comparison.policies[0]),
            *([_mean(among_frequent.get(policy.policy))] if differs else []),
            _number(policy.training_accuracy),
            _number(policy.validation_accuracy),
            _number(policy.always_no_accuracy),
            Cell(wording.duration(policy.seconds), policy.seconds),
        ]
        for policy in comparison.policies
    ]
    return Table("policies", "Policies over all pathologies that can be compared", columns, rows)


def _mean(policy: PolicyMean | None) -> Cell:
    if policy is None:
        return Cell("–", -1.0)
    return Cell(f"{wording.number(policy.auroc)} ({wording.between(policy.interval)})", policy.auroc)


def _behind(policy: PolicyMean, best: PolicyMean) -> Cell:
    if policy is best:
        return Cell("best", 0.0)
    return Cell(f"{wording.number(policy.ahead)} ({wording.between(policy.ahead_interval)})", policy.ahead)


def result_table(rows: Sequence[ResultRow]) -> Table:
    """Return one row a pathology, model and policy."""
    several_seeds = any(row.planned > 1 for row in rows)
    columns = [
        Column("Pathology", filtered=True),
        Column("Architecture", filtered=True),
        Column("Optimizer", filtered=True),
        Column("Policy", filtered=True),
        Column("Seeds", True, "Done of planned; numbers are means over those done"),
        Column("Training accuracy", True, "On the whole training split, in evaluation mode"),
        Column("Validation accuracy", True),
        Column("Always “no”", True, "Validation accuracy of a model that never finds anything"),
        Column("AUROC (95 % interval)", True, "On the validation split; bootstrap over patients"),
        *([Column("Seed SD", True, "Standard deviation of the AUROC over seeds")] if several_seeds else []),
        Column("Average precision", True, "On the validation split; guessing gives positives / images"),
        Column("Positives", True, "Images with the finding, of all of the validation split"),
        Column("Epochs", True),
        Column("Images/s", True, "While training, median"),
        Column("Time", True, "All of a run, evaluation included"),
    ]
    cells = [_result_cells(row, several_seeds) for row in rows]
    return _without_constant_words(Table("results", "A row a pathology, model and policy", columns, cells))


def _without_constant_words(table: Table) -> Table:
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


def _result_cells(row: ResultRow, several_seeds: bool) -> list[Cell]:
    setting = row.setting
    positives = f"{row.positives:.0f} of {row.images:.0f}" if row.done else "–"
    return [
        Cell(title(setting.pathology), setting.pathology),
        _words(setting.architecture),
        _words(setting.optimizer),
        _words(setting.policy),
        Cell(f"{row.done} of {row.planned}", row.done),
        _number(row.training_accuracy),
        _number(row.validation_accuracy),
        _number(row.always_no_accuracy),
        _area(row),
        *([_number(row.seed_spread)] if several_seeds else []),
        _number(row.average_precision),
        Cell(positives, _orderable(row.positives)),
        _number(row.epochs, 1),
        _number(row.images_per_second, 0),
        Cell(wording.duration(row.seconds), _orderable(row.seconds)),
    ]


def _area(row: ResultRow) -> Cell:
    """Write the AUROC and its interval, or say that they aren't defined, with the reason as a hint."""
    if row.auroc != row.auroc:
        return Cell("not defined" if row.done else "not done", -1.0, row.note)
    bounds = wording.between(row.interval) if row.interval else "not defined"
    return Cell(f"{wording.number(row.auroc)} ({bounds})", row.auroc, row.note)


def failure_table(runs: Iterable[ScoredRun]) -> Table:
    """Return the runs that are not done, and those whose AUROC or interval isn't defined, with the reasons."""
    columns = [Column("Run"), Column("State", filtered=True), Column("Reason")]
    rows = []
    for run in runs:
        record = run.record
        if record.status != "done":
            rows.append(
                [_words(record.spec.name), _words(record.status), _words(record.reason or "no reason given")]
            )
        elif run.note:
            state = "no AUROC" if run.auroc != run.auroc else "no interval"
            rows.append([_words(record.spec.name), _words(state), _words(run.note)])
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
        rows.append([_words(title(label)), *(Cell(f"{images:,}", images) for images in (*counts, total))])
    return Table("labels", "Images with each label, by split", columns, rows)


def _words(text: str) -> Cell:
    return Cell(text, text)


def _number(value: float, digits: int = 3) -> Cell:
    return Cell(wording.number(value, digits), _orderable(value))


def _orderable(value: float) -> float:
    """Return ``value``, or -1 for a value that isn't defined: it sorts below all that are."""
    return -1.0 if value != value else value
