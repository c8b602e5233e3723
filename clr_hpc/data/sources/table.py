"""Any CSV table with an image column and label columns, and the folder its image names refer to."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated

from clr_hpc.config.base import unknown
from clr_hpc.config.pathologies import NEGATIVE, PATHOLOGIES, POSITIVE, UNKNOWN, parse_pathology
from clr_hpc.data.images.files import RESAMPLING, FileSource
from clr_hpc.data.images.folder import locate
from clr_hpc.data.source import ImageRecord, Option, Rejection, SourceError, SourceTable
from clr_hpc.data.tables.label_table import (
    LabelTable,
    Row,
    read_label_table,
    unique_rows,
)
from clr_hpc.data.tables.values import parse_age_years, parse_sex

log = logging.getLogger(__name__)
_LABEL_VALUES = {
    **dict.fromkeys(("1", "1.0", "true", "yes", "positive"), POSITIVE),
    **dict.fromkeys(("0", "0.0", "false", "no", "negative"), NEGATIVE),
    **dict.fromkeys(("", "-1", "-1.0", "uncertain", "unknown", "nan"), UNKNOWN),
}
"""A blank and CheXpert's -1 (uncertain) are both unknown: neither is an answer."""

_SPLIT_VALUES = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("validation", "valid", "val"), "validation"),
    **dict.fromkeys(("test", "testing"), "test"),
    "train_val": "train_val",
}


@dataclass(frozen=True)
class TableSource(FileSource):
    """Pack any CSV with its folder of images."""

    images: Annotated[
        Path | tuple[Path, ...], Option("Folder of the images, or a pattern in quotes; repeat.", metavar="FOLDER")
    ]
    """The table's names start from it; a bare file name is also found in folders below it."""
    labels: Annotated[Path, Option("CSV with one row per image, .gz or not.")]
    image_column: Annotated[str, Option("Column with the image's name or path.")]
    patient_column: Annotated[str | None, Option("Column that names the patient.")] = None
    """None: each image counts as its own patient."""
    label_columns: Annotated[
        Mapping[str, str],
        Option(
            "A column and its pathology; repeat. Columns named as a pathology need none.",
            flag="--label",
            metavar="COLUMN=PATHOLOGY",
        ),
    ] = field(default_factory=dict)
    view_column: Annotated[str | None, Option("Column with PA, AP, ...")] = None
    age_column: Annotated[str | None, Option("Column with the age in years.")] = None
    sex_column: Annotated[str | None, Option("Column with F or M.")] = None
    split_column: Annotated[str | None, Option("Column with train, validation, test, train_val.")] = None
    """``train_val``: for what is yet to be divided."""
    subset: Annotated[bool, Option("The folder holds a part of the images only.")] = False
    """Rows without a file are counted, not rejected one by one."""

    @property
    def has_official_split(self) -> bool:
        return self.split_column is not None

    def table(self) -> SourceTable:
        """Read the table and find the images.

        Raises:
            SourceError: a column, a pathology or the value of a label or split isn't known, or the images folder.
        """
        table = read_label_table(self.labels)
        columns = self._columns(table)
        label_columns = find_label_columns(table, self.label_columns)
        records, row_rejections = _read_records(table, columns, label_columns)
        names = set(table.cells(self.image_column)) - {""}
        located = locate(records, row_rejections, names, self.images, self.subset)
        return SourceTable(
            records=located.records,
            rejections=located.rejections,
            resampling=RESAMPLING,
            provenance={
                "kind": "table",
                "labels_sha256": table.sha256,
                "columns": {role: table.columns[position] for role, position in columns.items()},
                "label_columns": {name: table.columns[position] for name, position in label_columns.items()},
                "rows": len(table.rows),
                "rows_without_file": located.rows_without_file,
                "names": dict(located.names),
                "unknown_ages": sum(record.age_years is None for record in located.records),
            },
        )

    def _columns(self, table: LabelTable) -> dict[str, int]:
        named = {
            "image": self.image_column,
            "patient": self.patient_column,
            "view": self.view_column,
            "age": self.age_column,
            "sex": self.sex_column,
            "split": self.split_column,
        }
        return {role: table.column(name) for role, name in named.items() if name is not None}


def find_label_columns(table: LabelTable, given: Mapping[str, str]) -> dict[str, int]:
    """Return the position of each pathology's column: those ``given``, and those that have a pathology's name.

    Raises:
        SourceError: a column or pathology isn't known, two columns name one pathology, or none does.
    """
    positions: dict[str, int] = {}
    for column, text in given.items():
        if (pathology := parse_pathology(text)) is None:
            raise SourceError(unknown("pathology", text, list(PATHOLOGIES)))
        if pathology in positions:
            raise SourceError(f"two columns are given for {pathology}; give one")
        positions[pathology] = table.column(column)
    by_name: dict[str, int] = {}
    for position, column in enumerate(table.columns):
        pathology = parse_pathology(column)
        if pathology is None or pathology in positions:
            continue
        if pathology in by_name:
            raise SourceError(f"{table.path} has two columns of the name {pathology}; say which to take")
        by_name[pathology] = position
    if not positions and not by_name:
        raise SourceError(
            f"{table.path} has no column named like one of {', '.join(PATHOLOGIES)}; "
            f"say which column is which pathology; its columns are {', '.join(table.columns)}"
        )
    found = positions | by_name
    missing = [name for name in PATHOLOGIES if name not in found]
    for position, column in enumerate(table.columns):
        if position not in found.values() and (
            meant := get_close_matches(column.lower(), missing, n=1, cutoff=0.75)
        ):
            log.warning(
                "%s: column %r is not read; did you mean %s? rename it, or give --label %s=%s",
                *(table.path, column, meant[0], column, meant[0]),
            )
    return found


def read_labels(table: LabelTable, row: Row, columns: Mapping[str, int]) -> tuple[int, ...]:
    """Return the labels ``(14,)`` of a row; a pathology without a column is UNKNOWN.

    Raises:
        SourceError: a cell holds none of the values a label has.
    """
    labels = []
    for pathology in PATHOLOGIES:
        text = row.cells[columns[pathology]] if pathology in columns else ""
        if (label := _LABEL_VALUES.get(text.casefold())) is None:
            raise SourceError(
                f"{table.path}, row {row.number}, {table.columns[columns[pathology]]}: {text!r} is not a label; "
                "1 is yes, 0 is no, -1 or a blank is unknown"
            )
        labels.append(label)
    return tuple(labels)


def _read_records(
    table: LabelTable, columns: Mapping[str, int], label_columns: Mapping[str, int]
) -> tuple[list[ImageRecord], list[Rejection]]:
    records = []
    rows, rejections = unique_rows(table, columns["image"])
    for name, row in rows.items():
        cell = {role: row.cells[position] for role, position in columns.items()}
        labels = read_labels(table, row, label_columns)
        if all(label == UNKNOWN for label in labels):
            rejections.append(Rejection(name, "no label in the label table"))
        elif cell.get("patient") == "":
            rejections.append(Rejection(name, "no patient in the label table"))
        else:
            records.append(
                ImageRecord(
                    image=name,
                    patient=cell.get("patient", name),
                    labels=labels,
                    view=cell.get("view", "").upper() or None,
                    age_years=parse_age_years(cell.get("age", "")),
                    sex=parse_sex(cell.get("sex", "")),
                    official_split=_parse_split(table, row, cell.get("split", "")),
                )
            )
    return records, rejections


def _parse_split(table: LabelTable, row: Row, text: str) -> str | None:
    if not text:
        return None
    if (side := _SPLIT_VALUES.get(text.casefold())) is None:
        raise SourceError(f"{table.path}, row {row.number}: {unknown('split', text, list(_SPLIT_VALUES))}")
    return side


SOURCE = TableSource
