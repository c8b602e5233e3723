"""Any table with an image column and labels, and the folder its image names refer to."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from clr_hpc.data.images.files import RESAMPLING, FileSource
from clr_hpc.data.images.folder import locate
from clr_hpc.data.images.listing import list_files
from clr_hpc.data.source import Option, SourceError, SourceTable
from clr_hpc.data.tables.folders import spread
from clr_hpc.data.tables.join import joined
from clr_hpc.data.tables.label_table import LabelTable, read_label_table
from clr_hpc.data.tables.layout import ReadersRule, RowKind, TableLayout
from clr_hpc.data.tables.records import read_records
from clr_hpc.data.tables.values import Meaning, ValueRules
from clr_hpc.data.tables.views import select_views, wanted_views


@dataclass(frozen=True)
class TableSource(FileSource):
    """Pack any table with its folder of images; 'clr-hpc inspect TABLE' prints the command for it."""

    images: Annotated[
        Path | tuple[Path, ...], Option("Folder of the images, or a pattern in quotes; repeat.", metavar="FOLDER")
    ]
    """The table's names start from it; a bare file name is also found in folders below it."""
    labels: Annotated[Path, Option("Label table: CSV or similar text, also as .gz or .zip.")]
    image_column: Annotated[str, Option("Column with the image's name or path.")]
    image_is_folder: Annotated[
        bool,
        Option("The image column names folders, such as one per study; a row is for all images in its folder."),
    ] = False
    join: Annotated[
        tuple[Path, ...],
        Option("A further table, such as one of studies, joined by the columns it shares; repeat."),
    ] = ()
    patient_column: Annotated[str | None, Option("Column that names the patient.")] = None
    patient_from: Annotated[
        str | None, Option(r"Pattern that finds the patient in image names: '(patient\d+)'.", metavar="PATTERN")
    ] = None
    image_is_patient: Annotated[bool, Option("Each image counts as another patient.")] = False
    label_columns: Annotated[
        tuple[tuple[str, str], ...],
        Option(
            "A column and its finding; repeat. Columns named as one of the 14 need none. With --findings-column "
            "also a name in its cells; nothing after = leaves that name out.",
            flag="--label",
            metavar="COLUMN=FINDING",
        ),
    ] = ()
    findings: Annotated[
        tuple[str, ...],
        Option("A column to take as a finding besides the 14; repeat.", flag="--finding"),
    ] = ()
    findings_column: Annotated[str | None, Option("Column that lists what was found: Effusion|Mass.")] = None
    other_findings: Annotated[
        Literal["reject", "ignore"],
        Option("What becomes of images whose list has names other than the pack's findings."),
    ] = "reject"
    rows: Annotated[
        RowKind | None,
        Option("Whether a row lists all findings of its image, or one of them (default: by the table)."),
    ] = None
    blank: Annotated[Meaning, Option("What a blank label means.")] = "unknown"
    uncertain: Annotated[Meaning, Option("What an uncertain label (-1) means.")] = "unknown"
    reader_column: Annotated[str | None, Option("Column that names who read the image.")] = None
    readers: Annotated[
        ReadersRule | None, Option("How many of an image's readers must say yes, where it has several.")
    ] = None
    view_columns: Annotated[
        tuple[str, ...],
        Option("Column with PA, AP, ...; repeat: the first with a value counts.", flag="--view-column"),
    ] = ()
    views: Annotated[tuple[str, ...], Option("A view to pack, such as PA; repeat.", flag="--view")] = ()
    frontal: Annotated[bool, Option("Pack PA and AP only.")] = False
    age_column: Annotated[str | None, Option("Column with the age in years.")] = None
    sex_column: Annotated[str | None, Option("Column with F or M.")] = None
    split_column: Annotated[str | None, Option("Column with train, validation, test, train_val.")] = None
    """``train_val``: for what is yet to be divided."""
    separator: Annotated[str | None, Option("Character between cells (default: recognised).")] = None
    encoding: Annotated[
        str | None, Option("Encoding of the table, such as cp1252 (default: UTF-8 or UTF-16).")
    ] = None
    subset: Annotated[bool, Option("The folder holds only some of the table's images.")] = False
    """Rows without a file are counted, not rejected one by one."""

    @property
    def has_official_split(self) -> bool:
        return self.split_column is not None

    @property
    def layout(self) -> TableLayout:
        """What the columns are for."""
        return TableLayout(
            image=self.image_column,
            patient=self.patient_column,
            patient_from=self.patient_from,
            image_is_patient=self.image_is_patient,
            labels=self.label_columns,
            findings=self.findings,
            findings_column=self.findings_column,
            other_findings=self.other_findings,
            rows=self.rows,
            view=self.view_columns,
            age=self.age_column,
            sex=self.sex_column,
            split=self.split_column,
            reader=self.reader_column,
            readers=self.readers,
            values=ValueRules(self.blank, self.uncertain),
        )

    def table(self) -> SourceTable:
        """Read the table and find the images.

        Raises:
            SourceError: a column, a finding or the value of a label or split isn't known, or the images folder.
        """
        views = wanted_views(self.views, self.frontal)
        if views is not None and not self.view_columns:
            raise SourceError(f"{'--frontal' if self.frontal else '--view'} needs --view-column; name the column")
        table = self._read()
        read = read_records(table, self.layout)
        located = locate(read.records, read.rejections, read.names, self.images, self.subset)
        records, left_out = select_views(located.records, views)
        return SourceTable(
            records=records,
            findings=read.findings,
            rejections=located.rejections,
            resampling=RESAMPLING,
            provenance={
                "kind": "table",
                "tables_joined": len(self.join),
                "image_is_folder": self.image_is_folder,
                **read.provenance,
                "views": sorted(views) if views is not None else None,
                "images_of_other_views": left_out,
                "rows_without_file": located.rows_without_file,
                "names": dict(located.names),
                "unknown_ages": sum(record.age_years is None for record in records) if self.age_column else None,
                **({"unknown_sexes": sum(record.sex is None for record in records)} if self.sex_column else {}),
                **({"unknown_views": sum(record.view is None for record in records)} if self.view_columns else {}),
            },
        )

    def _read(self) -> LabelTable:
        first, *others = (
            read_label_table(path, self.separator, self.encoding) for path in (self.labels, *self.join)
        )
        table = joined(first, others)
        if not self.image_is_folder:
            return table
        return spread(
            table, table.column(self.image_column), (file.name for file in list_files(self.images).images)
        )


SOURCE = TableSource
