"""A publisher's table as rows of text, plain or gzipped, and the small spellings that such tables share."""

import csv
import hashlib
import io
import re
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from clr_hpc.config.base import unknown
from clr_hpc.config.given_file import FileError, as_text, read_given, unpacked
from clr_hpc.data.source import Rejection, SourceError


class Row(NamedTuple):
    """The cells of one row, as many as the table has columns."""

    number: int
    """Line in the file, where the header is line 1."""
    cells: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class LabelTable:
    """The text of a table."""

    path: Path
    columns: tuple[str, ...]
    rows: tuple[Row, ...]
    sha256: str
    """Checksum of the text, so a gzipped copy has the same."""

    def column(self, name: str) -> int:
        """Return the position of a column; case, blanks and underscores make no difference.

        Raises:
            SourceError: there is no such column; the nearest is named.
        """
        position = self.find_column(name)
        if position is None:
            raise SourceError(f"{self.path}: {unknown('column', name, list(self.columns))}")
        return position

    def find_column(self, *names: str) -> int | None:
        """Return the position of the first of these columns that the table has, or None.

        Raises:
            SourceError: two columns have the name.
        """
        known = [_plain(column) for column in self.columns]
        found = next((_plain(name) for name in names if _plain(name) in known), None)
        if found is None:
            return None
        if known.count(found) > 1:
            raise SourceError(
                f"{self.path} has two columns of the name {self.columns[known.index(found)]!r}; rename one"
            )
        return known.index(found)

    def cells(self, name: str) -> list[str]:
        """Return one column from top to bottom.

        Raises:
            SourceError: there is no such column.
        """
        position = self.column(name)
        return [row.cells[position] for row in self.rows]


def read_label_table(path: Path) -> LabelTable:
    """Read a CSV file, gzipped or not.

    Raises:
        SourceError: it can't be opened, isn't CSV in UTF-8, has no row, or a row of more cells than the header.
    """
    data, text = _read(path)
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    try:
        columns = tuple(cell.strip() for cell in next(reader, ()))
        rows = [Row(reader.line_num, tuple(cell.strip() for cell in cells)) for cells in reader if cells]
    except csv.Error as error:
        raise SourceError(
            f"{path}, line {reader.line_num}: it is not CSV: {error}; save the table as CSV, with commas"
        ) from error
    if not rows:
        raise SourceError(f"{path} has no rows below its header; is it the label table?")
    width = len(columns)
    number, last = rows[-1]
    named = max((place for place, column in enumerate(columns, start=1) if column), default=0)
    if len(last) < named and not text.endswith(("\n", "\r")):
        raise SourceError(
            f"{path}, row {number}, the last: {len(last)} cells under {width} columns and no end of the line; the "
            "file is cut short, copy it again from where it came"
        )
    for number, cells in rows:
        # NIH's first edition ends its header, but not its rows, with a comma: missing last cells are blank
        if any(cells[width:]):
            raise SourceError(
                f"{path}, row {number}: {len(cells)} cells under {width} columns; quote cells that hold commas"
            )
    padded = tuple(
        row if len(row.cells) == width else Row(row.number, (*row.cells, *[""] * width)[:width]) for row in rows
    )
    return LabelTable(path, columns, padded, hashlib.sha256(data).hexdigest())


def read_names(path: Path) -> tuple[tuple[str, ...], str]:
    """Return the names of a list, one per line, gzipped or not, and the SHA-256 of its text.

    Raises:
        SourceError: it can't be opened or holds no name.
    """
    data, text = _read(path)
    names = tuple(text.split())
    if not names:
        raise SourceError(f"{path} holds no image names; give the list as published, one name per line")
    return names, hashlib.sha256(data).hexdigest()


def _read(path: Path) -> tuple[bytes, str]:
    """Return what a file holds, decompressed, and as text."""
    try:
        data = unpacked(read_given(path))
        return data, as_text(data)
    except FileError as error:
        raise SourceError(f"{path}: {error}") from error


def unique_rows(table: LabelTable, image_column: int) -> tuple[dict[str, Row], list[Rejection]]:
    """Return one row per image, and a rejection per row that repeats or contradicts another or has no name."""
    rows_of: dict[str, list[Row]] = {}
    for row in table.rows:
        rows_of.setdefault(row.cells[image_column], []).append(row)
    rejections = [Rejection("", f"row {row.number} of the table names no image") for row in rows_of.pop("", [])]
    unique: dict[str, Row] = {}
    for image, (first, *further) in rows_of.items():
        if any(row.cells != first.cells for row in further):
            numbers = ", ".join(str(row.number) for row in (first, *further))
            rejections.append(Rejection(image, f"rows {numbers} of the table contradict one another"))
            continue
        unique[image] = first
        rejections += [
            Rejection(image, f"row {row.number} of the table repeats row {first.number}, which is used")
            for row in further
        ]
    return unique, rejections


def _plain(column: str) -> str:
    return re.sub(r"[\s_\-]+", "", column).casefold()
