"""One-class models next to what exposure alone comes to: the page's table and its file."""

from collections.abc import Callable, Iterable, Sequence

from clr_hpc.reporting import wording
from clr_hpc.reporting.stats.floors import FloorRow
from clr_hpc.reporting.tables.export import bounds
from clr_hpc.reporting.tables.table import Cell, Column, Table, bounded, part, tabulate
from clr_hpc.reporting.wording import number, signed
from clr_hpc.store.csv_text import csv_text

TITLES = {
    "brightness": ("Mean gray", "AUROC of the mean gray alone, its sign by the training labels"),
    "statistics": (
        "Five statistics",
        "AUROC of a logistic regression on mean, spread and three quantiles",
    ),
}


def floor_table(rows: Sequence[FloorRow]) -> Table:
    """Return one row per one-class setting and part of the test images: its AUROC next to the floors'."""
    names = ("Architecture", "Stage", "Policy")
    columns = [
        Column("One class: method", "setting.task", filtered=True),
        *(Column(name, f"setting.{name.lower()}", filtered=True) for name in names),
        Column("Images", "part", hint="All, one view, or one pathology against the class", filtered=True),
        Column("Anomalous", lambda row: part(row.anomalous, row.images), number),
        Column("AUROC (95 % CI)", lambda row: bounded(row.auroc.value, row.auroc.interval), number, "Over seeds"),
        *(Column(name, _floor_cell(key), number, hint) for key, (name, hint) in TITLES.items()),
        # numeric, so that it stays a column where all rows agree
        Column("Above both", _is_above, str, "A difference of zero is excluded"),
    ]
    return tabulate("floors", "One-class models and what exposure alone comes to", columns, rows, shorten=True)


def floors_csv(rows: Iterable[FloorRow]) -> str:
    """Return the same as a file."""
    return csv_text(
        {
            "task": row.setting.task,
            "architecture": row.setting.architecture,
            "arm": row.setting.arm,
            "images_of": row.part,
            "images": row.images,
            "anomalous": row.anomalous,
            "auroc": row.auroc.value,
            **bounds("auroc", row.auroc.interval),
            **{f"{floor}_auroc": sampled.value for floor, sampled in row.floors.items()},
            **{
                f"above_{floor}_by_at_least": interval.low
                for floor, interval in row.differences.items()
                if interval is not None
            },
        }
        for row in rows
    )


def _is_above(row: FloorRow) -> Cell:
    return Cell("yes" if row.is_above else "no", float(row.is_above))


def _floor_cell(floor: str) -> Callable[[FloorRow], Cell]:
    def cell(row: FloorRow) -> Cell:
        found, apart = row.floors[floor], row.differences[floor]
        hint = "too few patients" if apart is None else f"95 % CI {wording.between(apart, signed)}"
        return Cell(number(found.value), found.value, f"Difference: {hint}")

    return cell
