"""A folder of DICOM files: patients, views, ages and sexes from their tags, labels from a table."""

import logging
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from clr_hpc.config.pathologies import PATHOLOGIES, UNKNOWN
from clr_hpc.config.plugins import require
from clr_hpc.config.resources import usable_cores
from clr_hpc.data.images.files import RESAMPLING, FileSource
from clr_hpc.data.images.listing import list_files
from clr_hpc.data.pseudonyms import Pseudonyms, hashed
from clr_hpc.data.source import ImageRecord, Option, Rejection, SourceError, SourceTable
from clr_hpc.data.tables.label_table import read_label_table
from clr_hpc.data.tables.layout import TableLayout
from clr_hpc.data.tables.records import read_records
from clr_hpc.data.tables.values import Meaning, ValueRules
from clr_hpc.store.csv_text import csv_text

if TYPE_CHECKING:
    from clr_hpc.data.images.dicom_headers import DicomFile

log = logging.getLogger(__name__)
_AGE_MOST = 90.0
"""Of a pseudonymous patient: so few are older that the age would name them."""


@dataclass(frozen=True)
class _Labels:
    """What the label table says of each file, and what of the table belongs into the manifest."""

    record_of: "Mapping[DicomFile, ImageRecord]"
    reason_of: "Mapping[DicomFile, str]"
    findings: tuple[str, ...] = PATHOLOGIES
    provenance: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True)
class DicomSource(FileSource):
    """Pack a folder of DICOM files.

    Patient, view, age and sex come from the files. A table with labels is joined by file name, SOP or study
    instance UID, or accession number. Only frontal chest radiographs are packed, unless --lateral is given.
    """

    images: Annotated[
        Path | tuple[Path, ...],
        Option("Folder with DICOM files, nested ones too, or a pattern in quotes; repeat.", metavar="FOLDER"),
    ]
    labels: Annotated[Path | None, Option("CSV with one row per image or study, .gz or not.")] = None
    image_column: Annotated[
        str | None, Option("Column with file name, SOP or study instance UID, or accession number.")
    ] = None
    label_columns: Annotated[
        tuple[tuple[str, str], ...],
        Option(
            "A column and its finding; repeat. Columns named as one of the 14 need none.",
            flag="--label",
            metavar="COLUMN=FINDING",
        ),
    ] = ()
    findings: Annotated[
        tuple[str, ...], Option("A column to take as a finding besides the 14; repeat.", flag="--finding")
    ] = ()
    findings_column: Annotated[str | None, Option("Column that lists what was found: Effusion|Mass.")] = None
    blank: Annotated[Meaning, Option("What a blank label means.")] = "unknown"
    uncertain: Annotated[Meaning, Option("What an uncertain label (-1) means.")] = "unknown"
    split_column: Annotated[str | None, Option("Column with train, validation, test, train_val.")] = None
    unlabelled: Annotated[bool, Option("Pack without a table: every label is unknown.")] = False
    lateral: Annotated[bool, Option("Pack lateral and other views too.")] = False
    image_is_patient: Annotated[bool, Option("Each image counts as another patient, whatever the files say.")] = (
        False
    )
    pseudonymise: Annotated[
        Path | None, Option("File with a secret key: patients and images are named by a keyed hash.")
    ] = None
    file_list: Annotated[
        Path | None,
        Option("CSV to write, outside of the pack: each file with its names in the pack, or its reason."),
    ] = None

    def __post_init__(self) -> None:
        """Check the options.

        Raises:
            SourceError: neither labels nor ``unlabelled``, or both; labels without the column that names images.
        """
        super().__post_init__()
        if (self.labels is None) != self.unlabelled:
            raise SourceError(
                "give --labels TABLE with --image-column COLUMN, or --unlabelled for a pack whose labels are all "
                "unknown, which can't be trained or evaluated on; not both"
            )
        if self.labels is not None and self.image_column is None:
            raise SourceError(
                "--labels needs --image-column: the column with file names, SOP or study instance UIDs, or "
                "accession numbers"
            )

    @property
    def has_official_split(self) -> bool:
        return self.split_column is not None

    def table(self) -> SourceTable:
        """Read the headers of all files and the label table.

        Raises:
            MissingExtraError: pydicom is not installed.
            SourceError: the folder, the key or the table can't be read, or no row belongs to a file.
        """
        require("pydicom", "dicom", "clr-hpc pack dicom")
        from clr_hpc.data.images.dicom_headers import read_headers

        names = Pseudonyms.read(self.pseudonymise) if self.pseudonymise else None
        files = read_headers(list_files(self.images).images, usable_cores(), only_frontal=not self.lateral)
        labels = self._labels(files)
        results = [self._result(file, labels, names) for file in files]
        if self.file_list is not None:
            _write_list(self.file_list, files, results)
        records = sorted((each for each in results if isinstance(each, ImageRecord)), key=lambda each: each.image)
        return SourceTable(
            records=tuple(records),
            findings=labels.findings,
            rejections=tuple(each for each in results if isinstance(each, Rejection)),
            resampling=RESAMPLING,
            provenance={
                "kind": "dicom",
                "files": len(files),
                "views": "all" if self.lateral else "frontal",
                "patients": "each image counts as another patient" if self.image_is_patient else "PatientID",
                "pseudonyms": names.key_id if names else None,
                "unknown_ages": sum(record.age_years is None for record in records),
                **labels.provenance,
            },
        )

    def _labels(self, files: "Sequence[DicomFile]") -> _Labels:
        if self.labels is None or self.image_column is None:
            return _Labels({}, {})
        from clr_hpc.data.images.dicom_join import join

        layout = TableLayout(
            image=self.image_column,
            image_is_patient=True,  # the files name the patients
            labels=self.label_columns,
            findings=self.findings,
            findings_column=self.findings_column,
            split=self.split_column,
            values=ValueRules(self.blank, self.uncertain),
        )
        read = read_records(read_label_table(self.labels), layout)
        joined = join(read.names, files, self.image_column)
        log.warning(
            "labels are joined by %s: %d of %d files have a row, and %d rows have no file",
            *(joined.by, len(joined.name_of), len(files), joined.rows_without_file),
        )
        record_of = {record.image: record for record in read.records}
        reason_of = {each.image: each.reason for each in read.rejections if each.image not in record_of}
        return _Labels(
            record_of={file: record_of[name] for file, name in joined.name_of.items() if name in record_of},
            reason_of={file: reason_of[name] for file, name in joined.name_of.items() if name in reason_of},
            findings=read.findings,
            provenance={
                **{name: value for name, value in read.provenance.items() if name != "patients"},
                "joined_by": joined.by,
                "rows_without_file": joined.rows_without_file,
                "ambiguous_names": len(joined.ambiguous),
            },
        )

    def _result(self, file: "DicomFile", labels: _Labels, names: Pseudonyms | None) -> ImageRecord | Rejection:
        """Return what a file becomes; nothing in it names anybody but for the patient's id."""
        image = _image_name(file, names)
        if file.reason or file.tags is None:
            return Rejection(image, file.reason or "damaged")
        patient = image if self.image_is_patient else file.tags.patient
        label = labels.record_of.get(file)
        if reason := labels.reason_of.get(file):
            return Rejection(image, reason)
        if label is None and not self.unlabelled:
            return Rejection(image, "no row in the label table, or one that fits several files")
        if not patient:
            return Rejection(image, "no patient in the DICOM file; --image-is-patient packs it as one of its own")
        age = file.tags.age_years
        record = label or ImageRecord(image, patient, (UNKNOWN,) * len(labels.findings))
        return replace(
            record,
            image=image,
            patient=names.of("patient", patient) if names else patient,
            view=file.tags.view,
            age_years=min(age, _AGE_MOST) if names and age is not None else age,
            sex=file.tags.sex,
            path=file.path,
        )


def _image_name(file: "DicomFile", names: Pseudonyms | None) -> str:
    """Return the SOP instance UID, since a path may name the patient; a hash where there is none or a key."""
    uid = "" if file.tags is None else file.tags.image
    if names:
        return names.of("image", uid or file.file.name)
    is_copy = file.reason is not None and "SOP instance UID" in file.reason
    return uid if uid and not is_copy else f"file-{hashed(file.file.name)}"


def _write_list(path: Path, files: "Sequence[DicomFile]", results: Sequence[ImageRecord | Rejection]) -> None:
    """Write what leads from the names in the pack back to the files; it may name patients."""
    rows = []
    for each, result in zip(files, results, strict=True):
        tags = each.tags
        rows.append(
            {
                "file": str(each.path),
                "image": result.image,
                "patient": result.patient if isinstance(result, ImageRecord) else "",
                "patient_id": tags.patient if tags else "",
                "study": tags.study if tags else "",
                "view": (tags.view or "") if tags else "",
                "body_part": tags.body_part if tags else "",
                "laterality": tags.laterality if tags else "",
                "reason": result.reason if isinstance(result, Rejection) else "",
            }
        )
    columns = ("file", "image", "patient", "patient_id", "study", "view", "body_part", "laterality", "reason")
    path.unlink(missing_ok=True)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)  # its owner's alone from the start
    with os.fdopen(descriptor, "w", encoding="utf-8", newline="") as file:
        file.write(csv_text(rows, columns))


SOURCE = DicomSource
