"""A bundle: trained models in one folder or ``.zip`` file, which needs no study, no pack and no run."""

import hashlib
import json
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Annotated, Any, Literal, NotRequired

from pydantic import AfterValidator, Field, TypeAdapter, ValidationError
from typing_extensions import TypedDict

from clr_hpc.config.run import RunSpec
from clr_hpc.store import layout
from clr_hpc.store.records import LONGEST_REASON, Damaged, Number, Sha256, read_bytes, record, why
from clr_hpc.store.results import FileState, ModelMetrics

FORMAT_VERSION = 1
REMEDY = "copy the bundle again from a whole one, or export it again with 'clr-hpc export'"
Name = Annotated[str, Field(pattern=r"^[\w-][\w.-]*(/[\w-][\w.-]*)?$")]
"""Of a file in the bundle, in at most one folder; none leads out of it."""
Finite = Annotated[float, Field(ge=-1e300, le=1e300)]


@record
class BundledReading(TypedDict):
    """How images are read: as the pack's were."""

    size: Annotated[int, Field(ge=1, le=2**16)]
    bits: int | str | None
    window: str


@record
class BundledCalibration(TypedDict):
    """A ``Calibration``: of ``logistic`` slope and constant, of ``isotonic`` the steps."""

    method: Literal["logistic", "isotonic"]
    at: list[Finite]
    values: list[Finite]


@record
class BundledModel(TypedDict):
    """A model of a run."""

    run: str
    name: str
    """``last``, ``snapshots`` or ``swa``."""
    spec: RunSpec
    """The run's, but of files that it names the names alone."""
    metrics: ModelMetrics
    weights: Annotated[list[Name], Field(min_length=1)]
    """A safetensors file for each of its networks."""


@record
class BundledSetting(TypedDict):
    """The models of one finding that differ in their seeds alone."""

    finding: str
    threshold: Number | None
    calibration: BundledCalibration | None
    class_scores: Name | None
    """Of one-class models, the scores of their training images: a safetensors file with the tensor ``scores``."""
    models: Annotated[list[BundledModel], Field(min_length=1)]


@record
class BundleRecord(TypedDict):
    """``bundle.json``; ``checksum`` covers all the rest, and ``files`` all that is loaded."""

    format_version: Literal[1]
    checksum: Sha256
    clr_hpc: str
    """Version that wrote it."""
    study: str
    pack: NotRequired[dict[str, Any]]
    """Checksum and counts of the pack."""
    reading: BundledReading
    settings: Annotated[list[BundledSetting], Field(min_length=1)]
    files: dict[Name, FileState]


def _names_its_files(bundle: BundleRecord) -> BundleRecord:
    for setting in bundle["settings"]:
        named = [name for model in setting["models"] for name in model["weights"]]
        named += [setting["class_scores"]] if setting["class_scores"] else []
        missing = [name for name in named if name not in bundle["files"]]
        if missing:
            raise ValueError(f"files lacks {missing[0]}, which belongs to {setting['finding']}")
    return bundle


_BUNDLE: TypeAdapter[BundleRecord] = TypeAdapter(Annotated[BundleRecord, AfterValidator(_names_its_files)])


@dataclass(frozen=True)
class BundleFiles:
    """The files of a bundle, in a folder or in a ``.zip`` file."""

    path: Path

    def read(self, name: str, state: FileState | None = None) -> bytes | Damaged | None:
        """Return what a file holds; None where there is none.

        Args:
            name: of the file.
            state: bytes and SHA-256 that it must have; None: any.
        """
        data = read_bytes(self.path / name, REMEDY) if self.path.is_dir() else self._unpacked(name, state)
        if state is None or data is None or isinstance(data, Damaged):
            return data
        if len(data) != state["bytes"]:
            reason = f"it has {len(data):,} bytes, and {layout.BUNDLE} says {state['bytes']:,}"
            return Damaged(self.path / name, reason, REMEDY)
        if (found := hashlib.sha256(data).hexdigest()) != state["sha256"]:
            reason = f"its SHA-256 is {found}, and {layout.BUNDLE} says {state['sha256']}"
            return Damaged(self.path / name, reason, REMEDY)
        return data

    def _unpacked(self, name: str, state: FileState | None) -> bytes | Damaged | None:
        if not self.path.exists():
            return None
        try:
            with zipfile.ZipFile(self.path) as archive:
                entry = archive.NameToInfo.get(name)
                if entry is None:
                    return None
                # a few kilobytes may unpack to more than the memory holds: read no more than is meant
                with archive.open(entry) as opened:
                    return opened.read(MOST_BYTES_OF_MANIFEST if state is None else state["bytes"] + 1)
        except (OSError, EOFError, ValueError, RuntimeError, zipfile.BadZipFile, zlib.error) as error:
            return Damaged(self.path / name, f"it can't be read: {error}"[:LONGEST_REASON], REMEDY)


MOST_BYTES_OF_MANIFEST = 1 << 28


def is_bundle(path: Path) -> bool:
    """Say whether a path is a bundle rather than a study's folder or file."""
    if path.is_dir():
        return (path / layout.BUNDLE).exists()
    return path.suffix.lower() == ".zip"


def read_bundle(path: Path) -> BundleRecord | Damaged | None:
    """Return the manifest of a bundle, whose own checksum agrees; None where there is none."""
    data = BundleFiles(path).read(layout.BUNDLE)
    if data is None or isinstance(data, Damaged):
        return data
    file = path / layout.BUNDLE
    try:
        values = json.loads(data)
        version = values["format_version"]
        if version != FORMAT_VERSION:
            reason = f"it has format version {version}, and this clr_hpc reads {FORMAT_VERSION}"
            return Damaged(file, reason, "install the version of clr_hpc that wrote it, or a later one")
        if (found := checksum_of(values)) != values["checksum"]:
            return Damaged(file, f"it was changed: its checksum is {found}, not {values['checksum']}", REMEDY)
        return _BUNDLE.validate_json(data)
    except ValidationError as error:
        return Damaged(file, why(error), REMEDY)
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        return Damaged(file, f"it is no manifest of a bundle: {error!r}"[:LONGEST_REASON], REMEDY)


def checksum_of(values: dict[str, Any]) -> str:
    """Return the SHA-256 of a manifest without its ``checksum``."""
    rest = {key: value for key, value in values.items() if key != "checksum"}
    return hashlib.sha256(json.dumps(rest, sort_keys=True, ensure_ascii=False).encode()).hexdigest()


def without_paths(spec: Any) -> Any:
    """Return a spec as JSON in which each ``file`` is a name alone: a path tells of the machine and its user."""
    if isinstance(spec, dict):
        return {
            key: PurePosixPath(value).name if key == "file" and isinstance(value, str) else without_paths(value)
            for key, value in spec.items()
        }
    return [without_paths(value) for value in spec] if isinstance(spec, list) else spec


def zip_folder(folder: Path, file: Path) -> None:
    """Write the files of a folder into a ``.zip`` file; the same files give the same bytes."""
    with zipfile.ZipFile(file, "w") as archive:
        for path in sorted(path for path in folder.rglob("*") if path.is_file()):
            # weights are not compressible, and the time of ZipInfo is fixed
            entry = zipfile.ZipInfo(path.relative_to(folder).as_posix())
            with archive.open(entry, "w", force_zip64=True) as opened:
                opened.write(path.read_bytes())
