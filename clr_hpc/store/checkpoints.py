"""Checkpoints and snapshots as files: their names, checksums and metadata. ``clr_hpc.training`` reads the tensors.

A file of tensors is a safetensors file with its SHA-256 in a file next to it, which is written second: one without
it counts as damaged. Its metadata is JSON. ``format_version`` stands there from version 2 on, so that checkpoints
of version 1 keep their bytes.
"""

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from pydantic import ConfigDict, TypeAdapter, ValidationError, with_config

from clr_hpc.config.given_file import mistake_of
from clr_hpc.store import layout
from clr_hpc.store.atomic import atomic_write
from clr_hpc.store.records import Count, Damaged, Epochs, Number, PolicyRate, read_bytes, sha256_of, why

FORMAT_VERSION = 1
"""One more with every field that ``Progress`` gets; checkpoints of earlier versions stay readable."""
RATE_CUT = 3
"""What every rate is divided by when training has diverged."""
REMEDY = "training resumes from an older one, or from the beginning"
_strict = with_config(ConfigDict(extra="forbid", strict=True, allow_inf_nan=False))


@_strict
@dataclass(frozen=True)
class Divergence:
    """A return to a checkpoint, from which the run continued with lower rates."""

    samples: Count
    """Samples seen at that checkpoint."""
    lr_max: PolicyRate
    """The policy's highest rate from there on."""


@_strict
@dataclass(frozen=True)
class Progress:
    """How far a run is, and what it has seen on the way that later decisions need."""

    samples: Count = 0
    best_loss: Number | None = None
    """Lowest validation loss so far."""
    best_progress: Epochs = 0.0
    """Epochs at which it was."""
    epochs_without_improvement: Count = 0
    divergences: tuple[Divergence, ...] = ()
    micro_batches: Count = 1
    """Parts that a batch is trained in, one after the other, because memory was short for all of it."""

    def after(self, samples: int) -> "Progress":
        """Return the progress after so many samples more."""
        return replace(self, samples=self.samples + samples)

    @property
    def rate_factor(self) -> float:
        """What every rate is multiplied by."""
        return float(RATE_CUT) ** -len(self.divergences)


_PROGRESS = TypeAdapter(Progress)


def progress_metadata(progress: Progress) -> dict[str, Any]:
    """Return the metadata of a checkpoint."""
    version = {"format_version": FORMAT_VERSION} if FORMAT_VERSION > 1 else {}
    return version | asdict(progress)


def parse_progress(metadata: dict[str, Any], file: Path) -> Progress | Damaged:
    """Return the progress in a checkpoint's metadata."""
    values = dict(metadata)
    version = values.pop("format_version", 1)
    if version not in range(1, FORMAT_VERSION + 1):
        return Damaged(
            file, f"it has format version {version}, and this clr_hpc reads up to {FORMAT_VERSION}", REMEDY
        )
    try:
        return _PROGRESS.validate_json(json.dumps(values))
    except ValidationError as error:
        return Damaged(file, f"its metadata: {why(error)}", REMEDY)


def checksum_damage(file: Path, expected: str | None = None) -> Damaged | None:
    """Compare a file of tensors with its checksum.

    Args:
        file: to be read completely.
        expected: the SHA-256 it must have; None takes that of the checksum file.
    """
    if expected is None:
        found = read_bytes(layout.checksum_of(file), REMEDY)
        if isinstance(found, Damaged):
            return found
        words = (found or b"").decode(errors="replace").split()
        if not words:
            return Damaged(file, "the file or its checksum can't be read: there is no checksum", REMEDY)
        expected = words[0]
    try:
        actual = sha256_of(file)
    except OSError as error:
        return Damaged(file, f"the file or its checksum can't be read: {mistake_of(error).rule}", REMEDY)
    if actual != expected:
        return Damaged(file, f"SHA-256 is {actual}, not {expected[:64]} as when it was written", REMEDY)
    return None


def write_checksum(file: Path, checksum: str) -> None:
    """Write the checksum of a file of tensors next to it."""
    with atomic_write(layout.checksum_of(file)) as temporary:
        temporary.write_text(f"{checksum}  {file.name}\n")


def tensor_files(folder: Path) -> list[Path]:
    """Return the checkpoints or snapshots in a folder, the oldest first; nothing that has another name."""
    found = (path for path in folder.glob("*.safetensors") if layout.TENSORS.fullmatch(path.name))
    return sorted(path for path in found if not path.is_dir())


def drop(files: Iterable[Path]) -> None:
    """Delete files of ``tensor_files`` with their checksums, but no links, and nothing behind them."""
    for file in files:
        if file.is_symlink() or file.parent.is_symlink():
            continue
        layout.checksum_of(file).unlink(missing_ok=True)
        file.unlink(missing_ok=True)


def newest_checkpoint(run_folder: Path) -> int:
    """Return the samples seen at a run's newest checkpoint, -1 without one."""
    return max((int(file.stem) for file in tensor_files(run_folder / layout.CHECKPOINTS)), default=-1)
