"""What can be freed of a study's folder: weights that its ``keep:`` doesn't name, and what nothing reads."""

import json
import os
from collections.abc import Collection, Iterator
from contextlib import suppress
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from statistics import fmean

from clr_hpc.config.run import RunSpec
from clr_hpc.config.study import Keep
from clr_hpc.store import layout
from clr_hpc.store.atomic import left_over
from clr_hpc.store.cache.blocks import kept_files
from clr_hpc.store.checkpoints import tensor_files
from clr_hpc.store.results import DoneResult, check_result, freed_weights
from clr_hpc.store.study_folder import StartedStudy, StudyFolder

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
    LAST = "last weights"
    BEST = "best weights"
    SWA = "averaged weights"


LEFTOVERS = frozenset({Kind.OLDER_CHECKPOINTS, Kind.TEMPORARY_FILES, Kind.UNUSED_SNAPSHOTS})
"""What nothing reads, whatever a study keeps."""
KEYS = {
    Kind.OPTIMIZER_STATE: "optimizer_state",
    Kind.SNAPSHOTS: "snapshots",
    Kind.LAST: "last",
    Kind.BEST: "best",
    Kind.SWA: "swa",
}
"""The keys of ``keep:``; those of models are also their names in results."""
WEIGHTS = frozenset(KEYS)
FILES = tuple(kind for kind in KEYS if kind != Kind.OPTIMIZER_STATE)
"""Weights that have files of their own."""


@dataclass(frozen=True)
class FreeableRun:
    """The folder of a run that is done, and what can be freed of it."""

    folder: Path
    kinds: frozenset[Kind]
    """That may be freed, whether there or not."""
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
    cache: tuple[Path, ...]
    """Files of what ``clr-hpc report`` would otherwise compute again."""

    @property
    def cache_size(self) -> int:
        """Return their bytes."""
        return sum(map(size_of, self.cache))

    def size(self, kind: Kind) -> int:
        """Return the bytes of a kind."""
        return sum(run.size.get(kind, 0) for run in self.runs)


def find_freeable(folder: StudyFolder, keep: Keep | None = None) -> Freeable:
    """Look through the folders of a study's runs; nothing is changed.

    Args:
        folder: of a study that was started.
        keep: what its runs keep; None: as the study says.

    Raises:
        NothingThereError: no study was started there.
        StudyError: a file of the study is damaged.
    """
    upkeep = Upkeep(folder, folder.started(), keep, once=True)
    done = [spec for spec in upkeep.specs if upkeep.is_done(spec)]
    free = [spec for spec in done if not upkeep.awaited_from(spec)]
    found = []
    for spec in free:
        path, kinds = folder.runs / spec.name, upkeep.freed(spec)
        if not path.is_symlink() and (size := _sizes(path, kinds)):
            found.append(FreeableRun(path, kinds, size))
    return Freeable(
        tuple(found),
        tuple(spec.name for spec in done if upkeep.awaited_from(spec)),
        tuple((path, size_of(path)) for path in _others(folder, {spec.name for spec in upkeep.specs})),
        tuple(kept_files(folder.path / layout.REPORT_CACHE)),
    )


def _validation_auroc(result: DoneResult, model: str) -> float:
    """Return that of a run's model; -1 where it isn't defined, as ``clr_hpc.load`` takes it."""
    auroc = result["models"][model]["validation"]["auroc"] if model in result["models"] else None
    return -1.0 if auroc is None else auroc


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


class Upkeep:
    """What each run of a study keeps, by what is done of the study when it is asked for."""

    def __init__(
        self, folder: StudyFolder, started: StartedStudy, keep: Keep | None = None, once: bool = False
    ) -> None:
        """Take the runs of a study as it was started.

        Args:
            folder: of the study.
            started: what it holds.
            keep: in place of the study's own.
            once: look at each run once, though others may end meanwhile: thousands compare with each other.
        """
        self.specs = started.runs
        self._folder, self._keep = folder, keep or started.study.keep
        self._awaiting: dict[str, list[RunSpec]] = {}
        self._of_task: dict[str, dict[str, list[RunSpec]]] = {}
        """By task and setting."""
        for spec in self.specs:
            if spec.start is not None:
                self._awaiting.setdefault(spec.start.baseline.name, []).append(spec)
            if self._keep.settings == "best":
                self._of_task.setdefault(spec.task.name, {}).setdefault(spec.setting, []).append(spec)
        self._known: dict[str, DoneResult | None] = {}
        self._once, self._known_beaten = once, dict[str, dict[str, list[RunSpec]]]()
        self._names = {id(spec): spec.name for spec in self.specs}
        """Of these very objects; a name takes a hash of the spec."""

    def is_done(self, spec: RunSpec) -> bool:
        """Say whether a run is done, and remember it."""
        return self._result(spec) is not None

    def awaited_from(self, spec: RunSpec) -> list[RunSpec]:
        """Return the runs that start from this one and are not done yet."""
        name = self._name(spec)
        waiting = [each for each in self._awaiting.get(name, ()) if not self.is_done(each)]
        self._awaiting[name] = waiting
        return waiting

    def freed(self, spec: RunSpec) -> frozenset[Kind]:
        """Return what is freed of a run that is done, or about to be."""
        freed = {kind for kind, key in KEYS.items() if not getattr(self._keep, key)}
        if self._keep.settings == "best" and spec.setting in self._beaten(spec.task.name):
            freed |= WEIGHTS
        for awaiting in self.awaited_from(spec):
            assert awaiting.start is not None
            freed.discard(Kind.BEST if awaiting.start.weights == "best" else Kind.LAST)
            if awaiting.start.optimizer == "continued":
                freed.discard(Kind.OPTIMIZER_STATE)
        return LEFTOVERS | freed

    def beaten_with(self, spec: RunSpec) -> list[RunSpec]:
        """Return the runs of a run's task whose weights go, since another setting is better."""
        if self._keep.settings == "all":
            return []
        return [each for group in self._beaten(spec.task.name).values() for each in group]

    def _beaten(self, task: str) -> dict[str, list[RunSpec]]:
        """Return the settings all of whose runs are done, but for the best of them that has its weights.

        A setting that was beaten once has them no more, and with more seeds it may be the best after all.
        """
        if task in self._known_beaten:
            return self._known_beaten[task]
        beaten = self._found_beaten(task)
        if self._once:
            self._known_beaten[task] = beaten
        return beaten

    def _found_beaten(self, task: str) -> dict[str, list[RunSpec]]:
        done = {
            setting: group
            for setting, group in self._of_task[task].items()
            if all(self.is_done(each) for each in group)
        }
        whole = [setting for setting, group in done.items() if all(map(self._has_weights, group))]
        best = max(whole, key=lambda setting: self._auroc(done[setting]), default=None)
        if best is None:
            return {}
        return {setting: group for setting, group in done.items() if setting != best}

    def _auroc(self, group: list[RunSpec]) -> float:
        """Return the highest validation AUROC of a setting's models that are kept, over all seeds."""
        results = [result for spec in group if (result := self._result(spec)) is not None]
        scores = [[_validation_auroc(result, model) for result in results] for model in self._models]
        return max(map(fmean, scores))

    def _has_weights(self, spec: RunSpec) -> bool:
        """Say whether a run that is done still has one of the models that the study keeps."""
        result = self._result(spec)
        return result is not None and bool({*self._models} & {*result["models"]} - freed_weights(result))

    @property
    def _models(self) -> list[str]:
        """Names of the models that the study keeps."""
        return [key for key in ("last", "snapshots", "swa") if getattr(self._keep, key)] or ["last"]

    def _name(self, spec: RunSpec) -> str:
        return self._names.get(id(spec)) or spec.name

    def _result(self, spec: RunSpec) -> DoneResult | None:
        name = self._name(spec)
        if name not in self._known:
            result = check_result(self._folder.runs / name, verify=False)
            if isinstance(result, dict) and result["status"] == "done":
                self._known[name] = result
            elif self._once:
                self._known[name] = None
        return self._known.get(name)


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
        if Kind.LAST in sizes:
            sizes[Kind.LAST] -= state
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
        Kind.LAST: [file for file in _own(checkpoints) if file == last],
        Kind.BEST: _file(folder / layout.BEST),
        Kind.SWA: _file(folder / layout.SWA),
    }


def _file(file: Path) -> list[Path]:
    return [file] if file.is_file() and not file.is_symlink() else []


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
