"""What can be freed of a study's folder: files that no report, prediction, export or resumed run needs."""

import json
import os
from collections.abc import Collection, Iterator
from contextlib import suppress
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from clr_hpc.config.run import RunSpec
from clr_hpc.store import layout
from clr_hpc.store.atomic import left_over
from clr_hpc.store.checkpoints import tensor_files
from clr_hpc.store.results import DoneResult, check_result, is_done
from clr_hpc.store.study_folder import StudyFolder

LONGEST_HEADER = 10**8
"""Bytes of the header of a safetensors file, which the format limits."""


class Kind(StrEnum):
    """What takes room in the folder of a run that is done."""

    OPTIMIZER_STATE = "optimizer state"
    """In the last checkpoint; a retraining with ``optimizer: continued`` begins with it."""
    OLDER_CHECKPOINTS = "older checkpoints"
    """Left where a process was killed between the result and their removal."""
    TEMPORARY_FILES = "temporary files"
    UNUSED_SNAPSHOTS = "snapshots of no model"
    """One cycle end alone makes no ensemble."""
    SNAPSHOTS = "snapshots"
    """Weights of the model ``snapshots``; its scores and the averaged weights stay."""


ALWAYS = frozenset(Kind) - {Kind.SNAPSHOTS}
"""Kinds that are freed without being asked for: every command works as before."""


@dataclass(frozen=True)
class FreeableRun:
    """The folder of a run that is done, and what can be freed of it."""

    folder: Path
    size: dict[Kind, int]
    """Bytes, of the kinds that are there."""


@dataclass(frozen=True)
class Freeable:
    """What can be freed of a study's folder."""

    runs: tuple[FreeableRun, ...]
    needed: tuple[str, ...]
    """Names of runs that are done and left alone, since runs that are not done yet start from them."""
    others: tuple[tuple[Path, int], ...]
    """Folders with their bytes that are only named: of replaced studies, and of runs that the study lacks."""

    def size(self, kind: Kind) -> int:
        """Return the bytes of a kind."""
        return sum(run.size.get(kind, 0) for run in self.runs)


def find_freeable(folder: StudyFolder, kinds: Collection[Kind] = ALWAYS) -> Freeable:
    """Look through the folders of a study's runs; nothing is changed.

    Args:
        folder: of a study that was started.
        kinds: that are looked for.

    Raises:
        NothingThereError: no study was started there.
        StudyError: a file of the study is damaged.
    """
    specs = folder.started().runs
    done = {spec: is_done(check_result(folder.runs / spec.name, verify=False)) for spec in specs}
    needed = {spec.start.baseline.name for spec in specs if spec.start is not None and not done[spec]}
    sizes = {
        path: _sizes(path, kinds)
        for path in _free_to_clean(folder, [spec for spec in specs if done[spec]], needed)
    }
    return Freeable(
        tuple(FreeableRun(path, size) for path, size in sizes.items() if size),
        tuple(spec.name for spec in specs if done[spec] and spec.name in needed),
        tuple((path, size_of(path)) for path in _others(folder, {spec.name for spec in specs})),
    )


def _free_to_clean(folder: StudyFolder, done: list[RunSpec], needed: set[str]) -> Iterator[Path]:
    for spec in done:
        path = folder.runs / spec.name
        if spec.name not in needed and not path.is_symlink():
            yield path


def _others(folder: StudyFolder, names: set[str]) -> Iterator[Path]:
    for name in sorted(folder.begun() - names):
        path = folder.runs / name
        if path.is_dir() and not path.is_symlink():
            yield path
    for path in layout.asides_of(folder.path):
        if not path.is_dir():
            return
        if not path.is_symlink():
            yield path


def _sizes(folder: Path, kinds: Collection[Kind]) -> dict[Kind, int]:
    result = check_result(folder, verify=False)
    assert isinstance(result, dict), "only folders of runs that are done are looked into"
    if result["status"] != "done":
        return {}
    sizes = {
        kind: sum(map(size_of, files))
        for kind, files in files_of(folder, result).items()
        if kind in kinds and files
    }
    state = optimizer_bytes(last_checkpoint(folder, result))
    if state and result.get("checkpoint_sha256") and Kind.OPTIMIZER_STATE in kinds:
        sizes[Kind.OPTIMIZER_STATE] = state
    return sizes


def files_of(folder: Path, result: DoneResult) -> dict[Kind, list[Path]]:
    """Return the files of each kind that are freed as a whole, in the folder of a run that is done."""
    last = last_checkpoint(folder, result)
    has_model = "snapshots" in result["models"]
    checkpoints, snapshots = folder / layout.CHECKPOINTS, folder / layout.SNAPSHOTS
    return {
        Kind.OLDER_CHECKPOINTS: [file for file in _own(checkpoints) if last.is_file() and file != last],
        Kind.SNAPSHOTS if has_model else Kind.UNUSED_SNAPSHOTS: _own(snapshots),
        Kind.TEMPORARY_FILES: left_over(folder, checkpoints, snapshots),
    }


def _own(folder: Path) -> list[Path]:
    """Return the files of tensors in a folder, but no links, and none behind one."""
    return [] if folder.is_symlink() else [file for file in tensor_files(folder) if not file.is_symlink()]


def last_checkpoint(folder: Path, result: DoneResult) -> Path:
    """Return the file of the weights after the last step of a run that is done."""
    named = folder / layout.CHECKPOINTS / layout.tensors_name(result["samples"])
    files = tensor_files(folder / layout.CHECKPOINTS)
    return named if named.exists() or not files else files[-1]


def optimizer_bytes(checkpoint: Path) -> int:
    """Return the bytes of the optimizer's state in a checkpoint, by its header; 0 where that can't be read."""
    if checkpoint.is_symlink() or checkpoint.parent.is_symlink():
        return 0
    try:
        with checkpoint.open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
            header = json.loads(file.read(length)) if length <= LONGEST_HEADER else {}
        offsets = [entry["data_offsets"] for name, entry in header.items() if name.startswith("optimizer.")]
        return sum(int(end) - int(begin) for begin, end in offsets)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return 0


def size_of(path: Path) -> int:
    """Return the bytes of a file, or of all files in a folder; links count nothing, and what is gone neither."""
    files = (
        [path] if path.is_file() else (Path(parent, name) for parent, _, names in os.walk(path) for name in names)
    )
    total = 0
    for file in files:
        with suppress(OSError):
            total += 0 if file.is_symlink() else file.stat().st_size
    return total
