"""A publisher's table as rows of text: columns by name, cells without the blanks around them."""

import csv
import hashlib
import io
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import NamedTuple

from clr_hpc.config.base import shown, unknown
from clr_hpc.data.source import SourceError
from clr_hpc.data.tables.text import read_text

SEPARATORS = {",": "comma", ";": "semicolon", "\t": "tab", "|": "bar"}
_LOOKED_AT = 200
"""Rows by which a separator is chosen where the header leaves a choice."""
_LONGEST_CELL = 1 << 24
"""Masks are written as run lengths in a cell, far longer than the csv module expects."""


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
    """Checksum of the file as unpacked, so a gzipped copy has the same."""
    short_rows: tuple[Row, ...] = ()
    """Rows with too few cells, as they are: nobody knows which ones are missing."""
    separator: str = ","

    def column(self, name: str) -> int:
        """Return the position of a column; case, blanks and underscores make no difference.

        Raises:
            SourceError: there is no such column; the nearest is named.
        """
        position = self.find_column(name)
        if position is None:
            raise SourceError(f"{self.path}: {unknown('column', name, list(self.columns))}{self._hint()}")
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

    def _hint(self) -> str:
        return (
            "; if another character separates its cells, give it as --separator" if len(self.columns) == 1 else ""
        )


def read_label_table(path: Path, separator: str | None = None, encoding: str | None = None) -> LabelTable:
    """Read a table of text, packed by gzip or zip or not.

    Args:
        path: of the file.
        separator: of cells: one character, or the name of one; None recognises those of ``SEPARATORS``.
        encoding: as Python calls it; None recognises UTF-8 and UTF-16.

    Raises:
        SourceError: it can't be opened, is no such table, has no row, or a row of more cells than the header.
    """
    data, text = read_text(path, encoding)
    delimiter = _separator(text) if separator is None else _named_separator(separator)
    columns, rows = _rows(path, text, delimiter)
    if not rows:
        raise SourceError(f"{path} has no rows below its header; is it the label table?")
    width = len(columns)
    # NIH's first edition ends its header, but not its rows, with a comma: only cells under a name must be there
    named = max((place for place, column in enumerate(columns, start=1) if column), default=0)
    number, last = rows[-1]
    if len(last) < named and not text.endswith(("\n", "\r")):
        raise SourceError(
            f"{path}, row {number}, the last: {len(last)} cells under {width} columns and no end of the line; the "
            "file is cut short, copy it again from where it came"
        )
    if all(len(row.cells) < named for row in rows):
        raise SourceError(
            f"{path}: no row has a cell under each of its {named} columns; if another character separates its "
            "cells, give it as --separator"
        )
    return LabelTable(
        path=path,
        columns=columns,
        rows=tuple(_of_width(path, rows, named, width)),
        sha256=hashlib.sha256(data).hexdigest(),
        short_rows=tuple(row for row in rows if len(row.cells) < named),
        separator=delimiter,
    )


def read_names(path: Path) -> tuple[tuple[str, ...], str]:
    """Return the names of a list, one per line, packed or not, and the SHA-256 of its text.

    Raises:
        SourceError: it can't be opened or holds no name.
    """
    data, text = read_text(path)
    names = tuple(text.split())
    if not names:
        raise SourceError(f"{path} holds no image names; give the list as published, one name per line")
    return names, hashlib.sha256(data).hexdigest()


def _rows(path: Path, text: str, delimiter: str) -> tuple[tuple[str, ...], list[Row]]:
    """Return the header and all rows that are not empty."""
    csv.field_size_limit(_LONGEST_CELL)
    reader = csv.reader(io.StringIO(text, newline=""), strict=True, delimiter=delimiter)
    try:
        columns = tuple(cell.strip() for cell in next(reader, ()))
        stripped = ((reader.line_num, tuple(map(str.strip, cells))) for cells in reader)
        return columns, [Row(number, cells) for number, cells in stripped if any(cells)]
    except csv.Error as error:
        raise SourceError(
            f"{path}, line {reader.line_num}: it is not CSV: {error}; save the table as CSV, with commas"
        ) from error


def _of_width(path: Path, rows: Iterable[Row], named: int, width: int) -> Iterator[Row]:
    """Yield rows that have a cell under each name, with as many cells as the header."""
    for row in rows:
        number, cells = row
        if len(cells) == width:
            yield row
        elif len(cells) > width and any(cells[width:]):
            raise SourceError(
                f"{path}, row {number}: {len(cells)} cells under {width} columns; quote cells that hold the "
                "separator, or give another --separator"
            )
        elif len(cells) >= named:
            yield Row(number, (*cells, *[""] * width)[:width])


def _separator(text: str) -> str:
    """Return the separator of the header; where it holds several, the one by which the first rows are as wide."""
    header = re.sub(r'"[^"]*"', "", text.partition("\n")[0])
    candidates = [separator for separator in SEPARATORS if separator in header]
    if len(candidates) < 2:
        return candidates[0] if candidates else ","
    return max(candidates, key=lambda separator: (_fits(text, separator), header.count(separator)))


def _fits(text: str, separator: str) -> float:
    """Return the share of the first rows that are as wide as the header."""
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator)
    try:
        header, *rows = [cells for cells in islice(reader, _LOOKED_AT) if cells]
    except (csv.Error, ValueError):
        return 0.0
    least = len(header) - (header[-1] == "")  # NIH's first edition ends its header, but not its rows, with a comma
    return sum(least <= len(cells) <= len(header) for cells in rows) / max(1, len(rows))


def _named_separator(text: str) -> str:
    named = {name: separator for separator, name in SEPARATORS.items()} | {"\\t": "\t", "space": " "}
    separator = named.get(text, text)
    if len(separator) != 1 or separator in '"\r\n':
        raise SourceError(f"--separator {shown(text)} is not one character; give ',' ';' '|' or tab")
    return separator


def _plain(column: str) -> str:
    return re.sub(r"[\s_\-]+", "", column).casefold()
