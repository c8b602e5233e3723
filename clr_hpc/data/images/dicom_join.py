"""Which row of a label table belongs to which DICOM file."""

from collections import defaultdict
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass

from clr_hpc.data.images.dicom_headers import DicomFile
from clr_hpc.data.source import SourceError

FILE, IMAGE, STUDY, ACCESSION = "file name", "SOP instance UID", "study instance UID", "accession number"
"""What a table may name files by. Those of a study share the study's row."""


@dataclass(frozen=True, slots=True)
class Joined:
    """What a table's names are, and whose."""

    by: str
    name_of: dict[DicomFile, str]
    """The row of each file that has one."""
    ambiguous: frozenset[str]
    """File names of rows that fit several files."""
    rows_without_file: int


def join(names: Collection[str], files: Sequence[DicomFile], column: str) -> Joined:
    """Find what the names of a table are: the kind that fits most rows.

    Args:
        names: of the table's rows.
        files: that were read.
        column: of the table, for the error.

    Raises:
        SourceError: no name fits a file.
    """
    tries = [_join_by(kind, names, files) for kind in (FILE, IMAGE, STUDY, ACCESSION)]
    best = min(tries, key=lambda joined: joined.rows_without_file)
    if best.rows_without_file == len(names):
        row = min(names, default="")
        file = next((f", such as {files[0].file.name!r}" for _ in files[:1]), "")
        raise SourceError(
            f"no row belongs to a DICOM file: column {column!r}, such as {row!r}, holds no file name{file}, no "
            "SOP or study instance UID and no accession number of these files; give the column that does with "
            "--image-column"
        )
    return best


def _join_by(kind: str, names: Collection[str], files: Sequence[DicomFile]) -> Joined:
    files_of: defaultdict[str, list[DicomFile]] = defaultdict(list)
    for file in files:
        for key in _keys(kind, file):
            files_of[key].append(file)
    name_of: dict[DicomFile, str] = {}
    ambiguous: set[str] = set()
    without = 0
    for name in sorted(names):
        found = files_of.get(name.replace("\\", "/").removeprefix("./"), [])
        without += not found
        if kind == FILE and len(found) > 1:
            ambiguous.add(name)
        else:
            name_of |= dict.fromkeys(found, name)
    return Joined(kind, name_of, frozenset(ambiguous), without)


def _keys(kind: str, file: DicomFile) -> Iterator[str]:
    """Yield what a table may call a file."""
    if kind == FILE:
        path = file.file.name
        base = path.rpartition("/")[2]
        stem = base.removesuffix(f".{base.rpartition('.')[2]}")
        yield from {path, base, stem}
    elif file.tags is not None:
        key = {IMAGE: file.tags.image, STUDY: file.tags.study, ACCESSION: file.tags.accession}[kind]
        if key:
            yield key
