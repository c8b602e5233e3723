"""NIH ChestX-ray14 as NIH ships it: PNG files, either edition of the label table, the official lists, the boxes.

Wang et al., "ChestX-ray8", CVPR 2017. The first edition (``Data_Entry_2017.csv``) and the one of 2020 spell
columns and ages differently, and 181 images have other labels.
"""

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Annotated

from clr_hpc.config.pathologies import NEGATIVE, PATHOLOGIES, POSITIVE, parse_pathology
from clr_hpc.data.images.files import RESAMPLING, FileSource
from clr_hpc.data.images.folder import locate
from clr_hpc.data.source import Box, ImageRecord, Option, Rejection, SourceError, SourceTable
from clr_hpc.data.tables.label_table import LabelTable, Row, read_label_table, read_names
from clr_hpc.data.tables.records import NO_LABEL, agreeing, names_in, read_images
from clr_hpc.data.tables.values import is_missing, parse_age_years, parse_sex, parse_view

log = logging.getLogger(__name__)
FINDINGS_COLUMN = "Finding Labels"
"""Column that identifies NIH's table."""

_BOX_PIXELS = 1024
"""Boxes are drawn on images of this side, whatever size the files in the folder have."""


@dataclass(frozen=True)
class NihSource(FileSource):
    """Pack NIH ChestX-ray14.

    With both of NIH's lists, NIH's test images stay test, and validation patients are drawn from train_val.
    Without them, patients are drawn for all three splits.
    """

    is_collection = True

    images: Annotated[
        Path | tuple[Path, ...],
        Option("Folder with NIH's PNG files, nested ones too, or a pattern in quotes; repeat.", metavar="FOLDER"),
    ]
    labels: Annotated[Path, Option("NIH's label table, either edition, .csv or .csv.gz.")]
    train_val_list: Annotated[Path | None, Option("NIH's train_val_list.txt.")] = None
    test_list: Annotated[Path | None, Option("NIH's test_list.txt.")] = None
    boxes: Annotated[Path | None, Option("NIH's BBox_List_2017.csv.")] = None
    subset: Annotated[bool, Option("The folder holds only some of the table's images.")] = False
    """Rows without a file are counted, not rejected one by one."""

    @property
    def has_official_split(self) -> bool:
        return self.train_val_list is not None

    def table(self) -> SourceTable:
        """Read the tables and find the images.

        Raises:
            SourceError: a table is of another layout, only one list is given, or the images folder isn't there.
        """
        labels = read_label_table(self.labels)
        side_of_image, lists_sha256 = self._official_lists()
        records, row_rejections = read_nih_records(labels, side_of_image)
        names = names_in(labels, labels.column("Image Index"))
        located = locate(records, row_rejections, names, self.images, self.subset)
        boxes = read_label_table(self.boxes) if self.boxes else None
        return SourceTable(
            records=located.records,
            rejections=located.rejections,
            boxes=read_nih_boxes(boxes) if boxes else (),
            resampling=RESAMPLING,
            provenance={
                "kind": "nih",
                "labels_sha256": labels.sha256,
                **lists_sha256,
                "boxes_sha256": boxes.sha256 if boxes else None,
                "rows": len(labels.rows),
                "rows_without_file": located.rows_without_file,
                "names": dict(located.names),
                "unknown_ages": sum(record.age_years is None for record in located.records),
            },
        )

    def _official_lists(self) -> tuple[Mapping[str, str], dict[str, object]]:
        if self.train_val_list is None and self.test_list is None:
            return {}, {}
        if self.train_val_list is None or self.test_list is None:
            given, absent = ("test", "train_val") if self.train_val_list is None else ("train_val", "test")
            raise SourceError(f"the {given} list is given without the {absent} list; give both or neither")
        train_val, train_val_sha256 = read_names(self.train_val_list)
        test, test_sha256 = read_names(self.test_list)
        if both := sorted({*train_val} & {*test}):
            raise SourceError(
                f"{len(both)} images are on both lists, among them {both[0]}; give NIH's own two lists"
            )
        sides = dict.fromkeys(train_val, "train_val") | dict.fromkeys(test, "test")
        return sides, {"train_val_list_sha256": train_val_sha256, "test_list_sha256": test_sha256}


def read_nih_records(
    table: LabelTable, side_of_image: Mapping[str, str]
) -> tuple[list[ImageRecord], list[Rejection]]:
    """Return what the table says of each image, and the rows that can't be used.

    Raises:
        SourceError: a column that NIH's table has is missing.
    """
    image, findings, patient = (table.column(name) for name in ("Image Index", FINDINGS_COLUMN, "Patient ID"))
    age = table.find_column("Patient Age")
    sex = table.find_column("Patient Gender", "Patient Sex")
    view = table.find_column("View Position")
    for name, position in (("Patient Age", age), ("Patient Sex", sex), ("View Position", view)):
        if position is None:
            log.warning("%s: no column %r; without it these are unknown for all images", table.path, name)

    def read(row: Row) -> ImageRecord:
        cells = row.cells
        return ImageRecord(
            image=cells[image],
            patient="" if is_missing(cells[patient]) else cells[patient].lstrip("0") or "0",
            labels=parse_findings(cells[findings]),
            view=parse_view(cells[view]) if view is not None else None,
            age_years=parse_age_years(cells[age]) if age is not None else None,
            sex=parse_sex(cells[sex]) if sex is not None else None,
            official_split=side_of_image.get(cells[image]),
        )

    return read_images(table, image, read, agreeing)


@cache
def parse_findings(text: str) -> tuple[int, ...]:
    """Return the 14 labels ``(14,)`` from ``Effusion|Mass`` or ``No Finding``.

    Raises:
        ValueError: no label, an unknown one, or ``No Finding`` beside a finding.
    """
    names = [name.strip() for name in text.split("|") if not is_missing(name.strip())]
    if not names:
        raise ValueError(NO_LABEL)
    found: set[str] = set()
    for name in names:
        pathology = parse_pathology(name)
        if pathology is not None:
            found.add(pathology)
        elif name.casefold() != "no finding":
            raise ValueError(f"unknown label {name!r}")
        elif len(names) > 1:
            raise ValueError(f"'No Finding' beside a finding: {text!r}")
    return tuple(POSITIVE if pathology in found else NEGATIVE for pathology in PATHOLOGIES)


def read_nih_boxes(table: LabelTable) -> tuple[Box, ...]:
    """Return the boxes of ``BBox_List_2017.csv``, whose columns are image, label, x, y, width and height.

    Raises:
        SourceError: another layout, an unknown finding, or a number that isn't one.
    """
    image, label = table.column("Image Index"), table.column("Finding Label")
    left = table.column("Bbox [x")  # the header is 'Bbox [x,y,w,h]', which a CSV reader takes for four columns
    boxes = []
    for number, row in table.rows:
        # NIH writes 'Infiltrate' here and 'Infiltration' in the label table
        pathology = parse_pathology({"Infiltrate": "Infiltration"}.get(row[label], row[label]))
        try:
            x, y, width, height = (float(cell) / _BOX_PIXELS for cell in row[left : left + 4])
        except ValueError as error:
            raise SourceError(f"{table.path}, row {number}: {error}; four numbers are needed") from error
        if pathology is None:
            raise SourceError(f"{table.path}, row {number}: unknown finding {row[label]!r}")
        boxes.append(Box(row[image], pathology, x, y, width, height))
    return tuple(boxes)


SOURCE = NihSource
