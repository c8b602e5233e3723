"""A table as people read it: each column says how its cell follows from a record."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from clr_hpc.reporting import wording
from clr_hpc.reporting.stats.bootstrap import Interval

UNDEFINED_ORDER = -9.0
"""Sorts below every share, difference of shares, duration and count."""


@dataclass(frozen=True, slots=True)
class Cell:
    """A cell's text, and the value by which it is sorted."""

    text: str
    order: float | str
    hint: str = ""


MISSING = Cell("–", UNDEFINED_ORDER)


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a table; numeric where ``write`` is given."""

    title: str
    value: str | Callable[[Any], Any]
    """Path to an attribute or key of the record, or a function of it: a text, a number, or a ready ``Cell``."""
    write: Callable[[Any], str] | None = None
    hint: str = ""
    interval: str = ""
    """Path to the interval that stands next to the number."""
    filtered: bool = False
    """Whether the reader may filter by its values."""

    @property
    def numeric(self) -> bool:
        """Whether cells are aligned right and sorted as numbers."""
        return self.write is not None

    def cell(self, record: Any) -> Cell:
        """Return the cell of a record."""
        value = self.value(record) if callable(self.value) else _at(record, self.value)
        if isinstance(value, Cell):
            return value
        if self.write is None:
            return Cell(value, value)
        if self.interval:
            return bounded(value, _at(record, self.interval), self.write)
        return Cell(self.write(value), order(value))


def _at(record: Any, path: str) -> Any:
    for name in path.split("."):
        record = record[name] if isinstance(record, Mapping) else getattr(record, name)
    return record


@dataclass(frozen=True, slots=True)
class Table:
    """Columns and their cells."""

    key: str
    """``id`` of the HTML element."""
    caption: str
    columns: Sequence[Column]
    rows: Sequence[Sequence[Cell]]


def tabulate(
    key: str, caption: str, columns: Sequence[Column], records: Iterable[Any], shorten: bool = False
) -> Table:
    """Return one row per record; ``shorten`` moves words that all rows share to the caption."""
    rows = [[column.cell(record) for column in columns] for record in records]
    constant = {
        place: rows[0][place].text
        for place, column in enumerate(columns)
        if shorten and not column.numeric and len(rows) > 1 and len({row[place].text for row in rows}) == 1
    }
    kept = [place for place in range(len(columns)) if place not in constant]
    if constant:
        caption = f"{caption}; all rows: {', '.join(constant.values())}"
    return Table(
        key, caption, [columns[place] for place in kept], [[row[place] for place in kept] for row in rows]
    )


def bounded(value: float, interval: Interval | None, write: Callable[[float], str] = wording.number) -> Cell:
    """Write a number and its interval."""
    return Cell(wording.bounded(value, interval, write), order(value))


def part(some: float, whole: float) -> Cell:
    """Write ``3 of 5``, sorted by the first."""
    return Cell(f"{some:.0f} of {whole:.0f}", order(some)) if some == some else MISSING


def order(value: float | None) -> float:
    """Return what a number is sorted by; those that aren't defined come last."""
    return UNDEFINED_ORDER if value is None or value != value else value
