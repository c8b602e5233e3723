"""Which column holds which finding, and the labels of a row."""

import logging
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from difflib import get_close_matches
from operator import itemgetter

from clr_hpc.config.base import shown, unknown
from clr_hpc.config.pathologies import (
    NEGATIVE,
    NO_DISEASES,
    NO_FINDING,
    PATHOLOGIES,
    POSITIVE,
    UNKNOWN,
    in_order,
    misspelt,
    parse_finding,
    parse_pathology,
    title,
)
from clr_hpc.data.source import SourceError
from clr_hpc.data.tables.findings_cell import OTHER, FindingsCells
from clr_hpc.data.tables.label_table import LabelTable, Row
from clr_hpc.data.tables.layout import TableLayout
from clr_hpc.data.tables.values import Meaning, ValueRules

log = logging.getLogger(__name__)
_UNREAD = "?"
"""Stands in the place of a column that a table hasn't; it means unknown under each rule."""


@dataclass(frozen=True, slots=True)
class LabelColumns:
    """What of a table's labels a pack takes."""

    findings: tuple[str, ...]
    """The 14, and those that were asked for."""
    positions: Mapping[str, int]
    """Column of each finding that has one, and of ``no_finding``."""
    names: Mapping[str, tuple[str, ...]]
    """Findings of names in the cells of the findings column, in lower case."""


def find_label_columns(table: LabelTable, layout: TableLayout) -> LabelColumns:
    """Return where the labels are: those that the layout names, and columns that are named as one of the 14.

    Raises:
        SourceError: a column or finding isn't known, two columns name one finding, or there is no label at all.
    """
    lists = layout.findings_column is not None
    positions: dict[str, int] = {}
    names: dict[str, tuple[str, ...]] = {}
    given = [*layout.labels, *((name, name) for name in layout.findings)]
    for column, text in given:
        finding = _finding(text) if text or not lists else OTHER
        position = table.find_column(column) if lists else table.column(column)
        if position is None:
            meant = (*names.get(column.casefold(), ()), finding)
            names[column.casefold()] = tuple(dict.fromkeys(meant))
        elif positions.setdefault(finding, position) != position:
            raise SourceError(f"two columns are given for {finding}; give one")
    if not lists:
        positions |= _by_name(table, positions)
    asked = {*positions, *(finding for meant in names.values() for finding in meant)}
    found = LabelColumns(in_order({*PATHOLOGIES, *asked} - {NO_FINDING, OTHER}), positions, names)
    if not positions and not lists:
        raise SourceError(
            f"{table.path} has no column named like one of {', '.join(PATHOLOGIES)}; give --label COLUMN=FINDING "
            "for one of its columns, or --findings-column for one that lists findings; its columns are "
            f"{', '.join(table.columns)}"
        )
    if not lists:
        _warn_of_near_names(table, positions)
    return found


def _finding(text: str) -> str:
    if (finding := parse_finding(text)) is None:
        raise SourceError(f"{shown(text)} names no finding; give a name that begins with a letter")
    if misspelt(text) is not None:
        raise SourceError(unknown("finding", text, list(PATHOLOGIES)))
    return finding


def _by_name(table: LabelTable, given: Mapping[str, int]) -> dict[str, int]:
    by_name: dict[str, int] = {}
    for position, column in enumerate(table.columns):
        finding = parse_finding(column)
        if finding is None or finding not in (*PATHOLOGIES, NO_FINDING):
            continue
        if finding in given or position in given.values():
            continue
        if finding in by_name:
            both = [table.columns[by_name[finding]], column]
            raise SourceError(
                f"{table.path} has two columns for {finding}, {both[0]!r} and {both[1]!r}; give --label "
                f"{shlex.quote(f'{both[0]}={finding}')} for the one to take"
            )
        by_name[finding] = position
    return by_name


def _warn_of_near_names(table: LabelTable, found: Mapping[str, int]) -> None:
    missing = [name for name in PATHOLOGIES if name not in found]
    for position, column in enumerate(table.columns):
        if position not in found.values() and (
            meant := get_close_matches(column.lower(), missing, n=1, cutoff=0.75)
        ):
            log.warning(
                "%s: column %r is not read; did you mean %s? rename it, or give --label %s=%s",
                *(table.path, column, meant[0], column, meant[0]),
            )


class LabelReader:
    """The labels of rows: one column per finding, a column that lists findings, or both."""

    def __init__(self, table: LabelTable, layout: TableLayout, columns: LabelColumns) -> None:
        """Take what the columns are for."""
        self._table = table
        self._columns = columns
        self._value = _Values(layout.values)
        # "No Finding" left blank says nothing, and positive it would say everything
        blank: Meaning = "negative" if layout.values.blank == "negative" else "unknown"
        self._clear_value = _Values(replace(layout.values, blank=blank, uncertain="unknown"))
        places = [columns.positions.get(finding, len(table.columns)) for finding in columns.findings]
        self._places = itemgetter(*places)
        self._clear_place = columns.positions.get(NO_FINDING)
        self._has_columns = bool(columns.positions)
        self._list_place = None if layout.findings_column is None else table.column(layout.findings_column)
        self.cells = FindingsCells(
            columns.findings, columns.names, layout.values, layout.other_findings == "ignore"
        )

    def read(self, row: Row) -> tuple[tuple[int, ...], int | None]:
        """Return the labels ``(findings,)`` of a row, and whether it says that nothing was found, None if never.

        Raises:
            ValueError: its labels contradict each other, or it names an unknown finding.
            SourceError: a cell of a label column holds no label.
        """
        if self._list_place is None:
            return self._of_columns(row)
        listed = self.cells.labels(row.cells[self._list_place])
        return self._both(self._of_columns(row)[0], *listed) if self._has_columns else listed

    def _of_columns(self, row: Row) -> tuple[tuple[int, ...], int | None]:
        try:
            labels = tuple(map(self._value.__getitem__, self._places((*row.cells, _UNREAD))))
            if self._clear_place is None:
                return labels, None
            clear = self._clear_value[row.cells[self._clear_place]]
        except ValueError:
            raise self._not_a_label(row) from None
        return self._with_clear(labels, clear)

    def _with_clear(self, labels: tuple[int, ...], clear: int) -> tuple[tuple[int, ...], int]:
        """Make all findings negative where the row says that there is none."""
        findings = self._columns.findings
        if POSITIVE in labels:
            diseases = [
                name for name, label in zip(findings, labels, strict=True)
                if label == POSITIVE and name not in NO_DISEASES
            ]  # fmt: skip
            if diseases and clear == POSITIVE:
                raise ValueError(f"'No Finding' together with {title(diseases[0])}")
            if diseases:
                return labels, NEGATIVE
        if clear != POSITIVE:
            return labels, clear
        return tuple(
            label if name in NO_DISEASES else NEGATIVE for name, label in zip(findings, labels, strict=True)
        ), clear

    def _both(
        self, of_columns: tuple[int, ...], listed: tuple[int, ...], clear: int
    ) -> tuple[tuple[int, ...], int]:
        """Let a finding's own column go before the list, which must not name what the column denies."""
        pairs = zip(self._columns.findings, of_columns, listed, strict=True)
        labels = []
        for name, own, other in pairs:
            if own == NEGATIVE and other == POSITIVE:
                raise ValueError(f"{title(name)} is listed, and its column says no")
            labels.append(other if own == UNKNOWN else own)
        return self._with_clear(tuple(labels), clear)

    def _not_a_label(self, row: Row) -> SourceError:
        for position in dict.fromkeys(self._columns.positions.values()):
            try:
                self._value[row.cells[position]]
            except ValueError as error:
                return SourceError(
                    f"{self._table.path}, row {row.number}, {self._table.columns[position]}: {error}"
                )
        raise AssertionError("all cells hold labels")


class _Values(dict[str, int]):
    """Labels by the text of their cell: a table has few different ones."""

    def __init__(self, rules: ValueRules) -> None:
        super().__init__({_UNREAD: UNKNOWN})
        self._rules = rules

    def __missing__(self, text: str) -> int:
        label = self[text] = self._rules.label(text)
        return label


def unlabelled(labels: Sequence[int]) -> bool:
    """Return whether labels say nothing at all."""
    return max(labels) == UNKNOWN  # the least of the three values


def labelled_as_14(column: str) -> bool:
    """Return whether a column is read without being named: as one of the 14, or as No Finding."""
    return parse_pathology(column) is not None or parse_finding(column) == NO_FINDING
