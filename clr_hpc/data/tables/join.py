"""Tables of images and of studies as one: rows that agree in the columns that both tables have."""

import hashlib
from collections.abc import Sequence

from clr_hpc.data.source import SourceError
from clr_hpc.data.tables.label_table import LabelTable, Row


def joined(first: LabelTable, others: Sequence[LabelTable]) -> LabelTable:
    """Return the first table with the columns of others, blank where another has no row for a row of the first.

    Args:
        first: one row per image, or per image and reader.
        others: each with a row per study, patient or image; their rows are found by all columns that both tables
            have.

    Raises:
        SourceError: two tables share no column, or a table has two rows for one key that differ.
    """
    for other in others:
        first = _joined(first, other)
    return first


def _joined(left: LabelTable, right: LabelTable) -> LabelTable:
    pairs = [
        (place, position)
        for position, column in enumerate(right.columns)
        if column and (place := left.find_column(column)) is not None
    ]
    if not pairs:
        raise SourceError(
            f"{left.path} and {right.path} have no column in common, so that rows can't be joined; their columns "
            f"are {', '.join(left.columns)} and {', '.join(right.columns)}"
        )
    keys = [position for _, position in pairs]
    added = [position for position in range(len(right.columns)) if position not in keys]
    cells_of: dict[tuple[str, ...], tuple[str, ...]] = {}
    for row in right.rows:
        key, cells = tuple(row.cells[at] for at in keys), tuple(row.cells[at] for at in added)
        if cells_of.setdefault(key, cells) != cells:
            named = ", ".join(f"{right.columns[at]} {row.cells[at]}" for at in keys)
            raise SourceError(
                f"{right.path}, row {row.number}: another row for {named} differs; keep one row for each"
            )
    blank = ("",) * len(added)
    return LabelTable(
        path=left.path,
        columns=(*left.columns, *(right.columns[position] for position in added)),
        rows=tuple(
            Row(row.number, (*row.cells, *cells_of.get(tuple(row.cells[at] for at, _ in pairs), blank)))
            for row in left.rows
        ),
        sha256=hashlib.sha256(f"{left.sha256} {right.sha256}".encode()).hexdigest(),
        short_rows=left.short_rows,
        separator=left.separator,
    )
