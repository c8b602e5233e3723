"""From a table and what its columns are for to one record per image, and the reasons for images without one."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from clr_hpc.config.base import unknown
from clr_hpc.config.pathologies import PATHOLOGIES
from clr_hpc.data.source import ImageRecord, Rejection, SourceError
from clr_hpc.data.tables.label_columns import LabelReader, find_label_columns, unlabelled
from clr_hpc.data.tables.label_table import LabelTable, Row
from clr_hpc.data.tables.layout import NO_PATIENT, TableLayout
from clr_hpc.data.tables.merge import ContradictionError, merge, unite, vote
from clr_hpc.data.tables.values import SIDES, is_missing, parse_age_years, parse_sex, parse_view

NO_LABEL, NO_PATIENT_OF_IMAGE = "no label in the label table", "no patient in the label table"
Combine = Callable[[Sequence[tuple[Row, ImageRecord]]], ImageRecord]
"""Makes one record of those of an image's rows."""


@dataclass(frozen=True, slots=True)
class TableRecords:
    """What a table says of images, before anybody looks for their files."""

    records: tuple[ImageRecord, ...]
    """One per image, in the order of the table."""
    rejections: tuple[Rejection, ...]
    names: frozenset[str]
    """Every image that the table names, whatever became of it."""
    findings: tuple[str, ...]
    provenance: Mapping[str, object]
    """JSON-able: each choice that changes a record, and the table's checksum."""


def read_records(table: LabelTable, layout: TableLayout) -> TableRecords:
    """Read a table by its layout.

    Raises:
        SourceError: a column, finding, label or side isn't known, or nothing tells patients apart.
    """
    places = layout.positions(table)
    columns = find_label_columns(table, layout)
    labels = LabelReader(table, layout, columns)
    read = _Reader(table, layout, places, labels)
    combine = _Combine(layout, columns.findings, places, _lists_one(table, places, labels, layout))
    records, rejections = read_images(table, places["image"], read, combine)
    if records and layout.patients is None:
        raise SourceError(f"{table.path}: {NO_PATIENT}")
    return TableRecords(
        records=tuple(records),
        rejections=tuple(rejections),
        names=names_in(table, places["image"]),
        findings=columns.findings,
        provenance={
            "labels_sha256": table.sha256,
            "rows": len(table.rows) + len(table.short_rows),
            "columns": {role: table.columns[position] for role, position in places.items()},
            "label_columns": {name: table.columns[position] for name, position in columns.positions.items()},
            "label_names": {name: list(meant) for name, meant in columns.names.items()},
            "patients": layout.patients,
            "blank": layout.values.blank,
            "uncertain": layout.values.uncertain,
            "readers": layout.readers,
            "rows_are": combine.row_kind,
            "other_findings": layout.other_findings,
        },
    )


def read_images(
    table: LabelTable, image: int, read: Callable[[Row], ImageRecord], combine: Combine
) -> tuple[list[ImageRecord], list[Rejection]]:
    """Return a record per image, and a rejection per row and image that can't be used.

    Args:
        table: that is read.
        image: position of the column with the image's name.
        read: makes a record of one row; raises ValueError where the row can't be one.
        combine: makes one record of several rows of an image; raises ValueError where they contradict.
    """
    rejections = [_short(table, row, image) for row in table.short_rows]
    rows_of: dict[str, list[Row]] = {}
    for row in table.rows:
        rows_of.setdefault(row.cells[image], []).append(row)
    for name in [name for name in rows_of if is_missing(name)]:
        rejections += [Rejection("", f"row {row.number} of the table names no image") for row in rows_of.pop(name)]
    records = []
    for name, rows in rows_of.items():
        try:
            record = read(rows[0]) if len(rows) == 1 else combine([(row, _read(read, row)) for row in rows])
        except SourceError:
            raise
        except ValueError as error:
            rejections.append(Rejection(name, str(error)))
            continue
        if unlabelled(record.labels):
            rejections.append(Rejection(name, NO_LABEL))
        elif not record.patient:
            rejections.append(Rejection(name, NO_PATIENT_OF_IMAGE))
        else:
            records.append(record)
    return records, rejections


def names_in(table: LabelTable, image: int) -> frozenset[str]:
    """Return every image that a table names."""
    short = (row.cells[image] for row in table.short_rows if image < len(row.cells))
    return frozenset(name for name in (*(row.cells[image] for row in table.rows), *short) if not is_missing(name))


def agreeing(rows: Sequence[tuple[Row, ImageRecord]]) -> ImageRecord:
    """Return what rows of an image say if they agree.

    Raises:
        ContradictionError: they don't; the message gives their numbers and what differs.
    """
    try:
        return merge([record for _, record in rows], PATHOLOGIES)
    except ContradictionError as error:
        raise contradiction(rows, error) from None


def contradiction(
    rows: Sequence[tuple[Row, ImageRecord]], error: ContradictionError, remedy: str = ""
) -> ContradictionError:
    """Return the error for rows of an image, with their numbers."""
    numbers = ", ".join(str(row.number) for row, _ in rows)
    return ContradictionError(f"rows {numbers} of the table contradict one another: {error}{remedy}")


def _read(read: Callable[[Row], ImageRecord], row: Row) -> ImageRecord:
    try:
        return read(row)
    except SourceError:
        raise
    except ValueError as error:
        raise ValueError(f"row {row.number} of the table: {error}") from None


def _short(table: LabelTable, row: Row, image: int) -> Rejection:
    name = row.cells[image] if image < len(row.cells) else ""
    return Rejection(
        name, f"row {row.number} of the table has {len(row.cells)} cells under {len(table.columns)} columns"
    )


class _Reader:
    """Makes a record of a row."""

    def __init__(
        self, table: LabelTable, layout: TableLayout, places: Mapping[str, int], labels: LabelReader
    ) -> None:
        self._table = table
        self._places = places
        self._views = [position for role, position in places.items() if role.startswith("view")]
        self._labels = labels
        self._pattern = layout.patient_pattern()

    def __call__(self, row: Row) -> ImageRecord:
        cells, places = row.cells, self._places
        labels, clear = self._labels.read(row)
        return ImageRecord(
            image=cells[places["image"]],
            patient=self._patient(cells),
            labels=labels,
            view=next((view for place in self._views if (view := parse_view(cells[place]))), None),
            age_years=parse_age_years(cells[places["age"]]) if "age" in places else None,
            sex=parse_sex(cells[places["sex"]]) if "sex" in places else None,
            official_split=self._side(row) if "split" in places else None,
            no_finding=clear,
        )

    def _patient(self, cells: Sequence[str]) -> str:
        """Return the patient, "" where none is named."""
        if (place := self._places.get("patient")) is not None:
            return "" if is_missing(cells[place]) else cells[place]
        name = cells[self._places["image"]]
        if self._pattern is None:
            return name
        match = self._pattern.search(name)
        if match is None or not match[1]:
            raise ValueError(f"its name has no patient as --patient-from {self._pattern.pattern} finds one")
        return match[1]

    def _side(self, row: Row) -> str | None:
        text = row.cells[self._places["split"]]
        if is_missing(text):
            return None
        if (side := SIDES.get(text.casefold())) is None:
            raise SourceError(f"{self._table.path}, row {row.number}: {unknown('split', text, list(SIDES))}")
        return side


class _Combine:
    """Makes one record of an image's rows: of several readers, of several findings, or the same again."""

    def __init__(
        self, layout: TableLayout, findings: Sequence[str], places: Mapping[str, int], lists_one: bool
    ) -> None:
        self.row_kind = layout.rows or ("finding" if lists_one else "image")
        self._rule = layout.readers
        self._findings = findings
        self._reader = places.get("reader")

    def __call__(self, rows: Sequence[tuple[Row, ImageRecord]]) -> ImageRecord:
        try:
            readings = [self._one(reading) for reading in self._by_reader(rows)]
            return merge(readings, self._findings) if self._rule is None else vote(readings, self._rule)
        except ContradictionError as error:
            several = self._rule is None and all(
                record == replace(rows[0][1], labels=record.labels, no_finding=record.no_finding)
                for _, record in rows
            )
            remedy = "; if several readers wrote them, give --readers any, majority or all" if several else ""
            raise contradiction(rows, error, remedy) from None

    def _by_reader(self, rows: Sequence[tuple[Row, ImageRecord]]) -> list[list[ImageRecord]]:
        """Return the records of each reader; without such a column each row is a reading of its own."""
        if self._reader is None and self._rule is not None and self.row_kind == "image":
            return [[record] for _, record in rows]
        of_reader: dict[str, list[ImageRecord]] = {}
        for row, record in rows:
            of_reader.setdefault("" if self._reader is None else row.cells[self._reader], []).append(record)
        return list(of_reader.values())

    def _one(self, records: Sequence[ImageRecord]) -> ImageRecord:
        return unite(records) if self.row_kind == "finding" else merge(records, self._findings)


def _lists_one(table: LabelTable, places: Mapping[str, int], labels: LabelReader, layout: TableLayout) -> bool:
    """Return whether each cell of the findings column holds one name at most, so that further rows add to it."""
    if layout.findings_column is None or layout.rows is not None:
        return False
    texts = {row.cells[places["findings"]] for row in table.rows}
    return all(len(labels.cells.names(text)) < 2 for text in texts)
