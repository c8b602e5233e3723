"""The headers of a folder of DICOM files: one image per file, and the files that are none."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pydicom import dcmread

from clr_hpc.data.images.dicom_tags import TAGS, WITHOUT_PIXELS, DicomTags, read_tags, why_not_frontal, why_unfit
from clr_hpc.data.images.kinds import DICOM_SUFFIXES, first_bytes, is_dicom
from clr_hpc.data.images.listing import ImageFile
from clr_hpc.data.images.quiet import quiet
from clr_hpc.data.workers import mapped

_AT_ONCE = 64


@dataclass(frozen=True, slots=True)
class DicomFile:
    """A file and what its header says."""

    file: ImageFile
    tags: DicomTags | None
    """None where the header can't be read."""
    reason: str | None = None
    """Why it is left out; None where nothing in the header says so."""

    @property
    def path(self) -> Path:
        return self.file.root / self.file.name


def read_headers(files: Sequence[ImageFile], workers: int, only_frontal: bool) -> list[DicomFile]:
    """Read the headers of files, and leave out what is no chest radiograph, or another copy of one.

    Args:
        files: below the images folders.
        workers: processes.
        only_frontal: whether other views are left out.
    """
    with mapped(read_header, [file.root / file.name for file in files], workers, _AT_ONCE) as found:
        read = [
            DicomFile(file, None, tags) if isinstance(tags, str) else DicomFile(file, tags, why_unfit(tags))
            for file, tags in zip(files, found, strict=True)
        ]
    if only_frontal:
        read = [
            DicomFile(each.file, each.tags, why_not_frontal(each.tags)) if each.tags and not each.reason else each
            for each in read
        ]
    copies = _copies(read)
    return [DicomFile(each.file, each.tags, copies.get(each.file, each.reason)) for each in read]


def read_header(path: Path) -> DicomTags | str:
    """Return the tags of one file, or why they can't be read."""
    if not is_dicom(first_bytes(path)) and path.suffix.lower() not in DICOM_SUFFIXES:
        return "not a DICOM file; 'clr-hpc pack table' packs images of other formats"
    with quiet():
        try:
            dataset = dcmread(path, stop_before_pixels=True, specific_tags=[*TAGS, "Rows"], force=True)
            return read_tags(dataset) if "Rows" in dataset else WITHOUT_PIXELS
        except Exception as error:  # values are decoded when they are read, and fail in many ways
            return f"damaged: its header can't be read ({type(error).__name__})"


def _copies(files: Sequence[DicomFile]) -> dict[ImageFile, str]:
    """Return the reason for each file that has the instance UID of another; each image has one of its own."""
    groups: defaultdict[str, list[DicomFile]] = defaultdict(list)
    for file in files:
        if file.tags and file.tags.image and not file.reason:
            groups[file.tags.image].append(file)
    reasons: dict[ImageFile, str] = {}
    for group in groups.values():
        patients = {file.tags.patient for file in group if file.tags}
        if len(patients) > 1:
            reasons |= {
                file.file: "several files of its SOP instance UID are of different patients" for file in group
            }
        else:
            reasons |= {file.file: "another file has its SOP instance UID, and is used" for file in group[1:]}
    return reasons
