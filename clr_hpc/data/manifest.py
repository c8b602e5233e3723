"""What a pack says of itself: ``manifest.json``, its checksum, and whether the files are what it says."""

import hashlib
import json
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal, cast

from pydantic import Field, SerializerFunctionWrapHandler, TypeAdapter, ValidationError, model_serializer

from clr_hpc.config.base import FrozenSpec, UserError
from clr_hpc.config.pathologies import NEGATIVE, NO_DISEASES, NO_FINDING, PATHOLOGIES, POSITIVE, UNKNOWN
from clr_hpc.config.run import Selection
from clr_hpc.data.source import ImageRecord
from clr_hpc.data.splits import Split, SplitName
from clr_hpc.store.pack_record import PackRecord
from clr_hpc.store.records import Damaged, read_record, why


class LabelCounts(FrozenSpec):
    """Images by the value of one label."""

    positive: int = 0
    negative: int = 0
    unknown: int = 0

    def __add__(self, other: "LabelCounts") -> "LabelCounts":
        """Return the counts of both together."""
        return LabelCounts(
            positive=self.positive + other.positive,
            negative=self.negative + other.negative,
            unknown=self.unknown + other.unknown,
        )


def count_labels(
    findings: Sequence[str], labels: Sequence[tuple[int, ...]], clear: Sequence[int] | None = None
) -> dict[str, LabelCounts]:
    """Count the values of each finding, and of ``no_finding``.

    Args:
        findings: names of the labels.
        labels: of each image, ``(findings,)``.
        clear: whether each image shows nothing; None: as its labels imply.
    """
    clear = [implied_no_finding(findings, of_image) for of_image in labels] if clear is None else clear
    columns = zip(*labels, strict=True) if labels else ((),) * len(findings)
    counts = {name: Counter(column) for name, column in zip(findings, columns, strict=True)}
    counts[NO_FINDING] = Counter(clear)
    return {
        name: LabelCounts(positive=values[POSITIVE], negative=values[NEGATIVE], unknown=values[UNKNOWN])
        for name, values in counts.items()
    }


def implied_no_finding(findings: Sequence[str], labels: Sequence[int]) -> int:
    """Return whether an image shows none of its findings: UNKNOWN where one is unknown and none positive."""
    of_diseases = [label for name, label in zip(findings, labels, strict=True) if name not in NO_DISEASES]
    if POSITIVE in of_diseases:
        return NEGATIVE
    return UNKNOWN if UNKNOWN in of_diseases else POSITIVE


def no_findings(records: Sequence[ImageRecord], findings: Sequence[str]) -> list[int]:
    """Return whether each image shows nothing: by the source's word, else by its labels."""
    return [
        implied_no_finding(findings, record.labels) if record.no_finding is None else record.no_finding
        for record in records
    ]


FORMAT_VERSION: Literal[2] = 2
"""Version 1 had the 14 findings alone, and no column of ``no_finding``; it is read as before."""
MANIFEST = "manifest.json"


class PackError(UserError, ValueError):
    """A pack can't be made or can't be trusted; the message names the file and the remedy."""


class FileEntry(FrozenSpec):
    """One file of the pack."""

    file: str
    bytes: int
    sha256: str


class ShardEntry(FileEntry):
    """One array of pixels, ``(rows, size, size)`` uint8."""

    rows: int


class ViewCounts(FrozenSpec):
    """The images of one view; ``labels`` has the pack's findings and ``no_finding``."""

    images: int
    labels: dict[str, LabelCounts]


class SplitCounts(ViewCounts):
    """What one split holds."""

    patients: int
    views: dict[str, ViewCounts] = Field(default_factory=dict)
    """By view, ``unknown`` where it isn't known; empty in packs of version 1."""

    def of(self, select: Selection | None) -> ViewCounts:
        """Return what is selected of it."""
        if select is None:
            return self
        chosen = [self.views[view] for view in select.view if view in self.views]
        return ViewCounts(
            images=sum(each.images for each in chosen),
            labels={
                name: sum((each.labels[name] for each in chosen), start=LabelCounts()) for name in self.labels
            },
        )

    @model_serializer(mode="wrap")
    def _as_version_1_without_views(self, serialise: SerializerFunctionWrapHandler) -> dict[str, Any]:
        values: dict[str, Any] = serialise(self)
        if not self.views:
            del values["views"]
        return values


class Counts(FrozenSpec):
    """What the pack holds."""

    images: int
    patients: int
    rejected: int
    splits: dict[SplitName, SplitCounts]


class Manifest(FrozenSpec):
    """Everything about a pack but its rows and pixels."""

    format_version: Literal[1, 2] = FORMAT_VERSION
    size: int
    findings: tuple[str, ...] = PATHOLOGIES
    """What images are labelled with: the 14, and what else the source has."""
    resampling: str
    source: dict[str, Any]
    split: Split
    counts: Counts
    shards: tuple[ShardEntry, ...]
    index: FileEntry
    rejected: FileEntry
    boxes: FileEntry | None = None

    @model_serializer(mode="wrap")
    def _as_its_version_was_written(self, serialise: SerializerFunctionWrapHandler) -> dict[str, Any]:
        values: dict[str, Any] = serialise(self)
        if self.format_version == 1:
            del values["findings"]
        return values

    @property
    def checksum(self) -> str:
        """SHA-256 of all the rest, which covers every byte of the pack through the files' checksums."""
        canonical = json.dumps(self.model_dump(mode="json"), sort_keys=True, ensure_ascii=False)
        return hashlib.sha256(canonical.encode()).hexdigest()

    @property
    def record(self) -> PackRecord:
        """What a study's folder keeps of it."""
        return cast(PackRecord, self.model_dump(mode="json") | {"checksum": self.checksum})

    @property
    def files(self) -> tuple[FileEntry, ...]:
        """Every file of the pack but the manifest."""
        return (*self.shards, self.index, self.rejected, *([self.boxes] if self.boxes else []))

    def to_json(self) -> str:
        """Return the text of ``manifest.json``."""
        values = self.model_dump(mode="json")
        ordered = {"format_version": values.pop("format_version"), "checksum": self.checksum, **values}
        return json.dumps(ordered, indent=1, ensure_ascii=False) + "\n"


def read_manifest(folder: Path) -> Manifest:
    """Read ``manifest.json`` and check its own checksum; no other file is opened.

    Raises:
        PackError: ``folder`` isn't a pack, is of another format version, or its manifest was changed.
    """
    path = folder / MANIFEST
    if folder.exists() and not folder.is_dir():
        raise PackError(f"{folder} is not a pack, but a file; name the folder that 'clr-hpc pack' has made")
    values = read_record(path, _VALUES, _REMEDY)
    if values is None:
        reason = f"it has no {MANIFEST}" if folder.exists() else "there is no such folder"
        raise PackError(f"{folder} is not a pack: {reason}; make one with 'clr-hpc pack', or correct the path")
    if isinstance(values, Damaged):
        raise PackError(str(values))
    version = values.get("format_version")
    if version not in range(1, FORMAT_VERSION + 1):
        raise PackError(
            f"{path} has format version {version}, this clr_hpc reads versions 1 to {FORMAT_VERSION}; "
            "make the pack again with this version, or install the version that made it"
        )
    checksum = values.pop("checksum", None)
    try:
        manifest = Manifest.model_validate(values)
    except ValidationError as error:
        raise PackError(f"{path} is damaged: {why(error)}; {_REMEDY}") from error
    if manifest.checksum != checksum:
        raise PackError(f"{path} was changed: its checksum is {manifest.checksum}, not {checksum}; {_REMEDY}")
    return manifest


def damaged_files(folder: Path, manifest: Manifest, verify: bool = False) -> Iterator[str]:
    """Yield what is wrong with each file that is missing, of another size, or (``verify``) of another checksum."""
    for entry in manifest.files:
        path = folder / entry.file
        try:
            size = path.stat().st_size
        except FileNotFoundError:
            yield f"{path} is missing"
            continue
        if size != entry.bytes:
            yield f"{path} has {size:,} bytes instead of {entry.bytes:,}"
        elif verify and (found := file_sha256(path)) != entry.sha256:
            yield f"{path} is damaged: its SHA-256 is {found}, not {entry.sha256}"


def open_manifest(folder: Path, verify: bool = False) -> Manifest:
    """Read the manifest and check that every file has its size, or (``verify``) its checksum.

    Raises:
        PackError: as ``read_manifest``, or files are missing or damaged; all of them are named.
    """
    manifest = read_manifest(folder)
    if damages := list(damaged_files(folder, manifest, verify)):
        raise PackError(f"{'; '.join(damages)}; {_REMEDY}")
    return manifest


def file_sha256(path: Path) -> str:
    """Return a file's SHA-256 in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


_VALUES = TypeAdapter(dict[str, Any])
_REMEDY = "copy the pack again from a whole one, or delete it and make it again with 'clr-hpc pack'"
