"""A study's folder: what was asked for, on which pack, and the run folders."""

import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from clr_hpc.config.base import UserError, shown
from clr_hpc.config.expand import expand, with_placeholders
from clr_hpc.config.load import StudyError, load_study
from clr_hpc.config.run import RunSpec
from clr_hpc.config.study import Study
from clr_hpc.config.yaml_file import to_yaml
from clr_hpc.store import layout
from clr_hpc.store.atomic import atomic_write
from clr_hpc.store.pack_record import PackRecord, read_pack, trainable
from clr_hpc.store.records import Damaged
from clr_hpc.store.results import Result, check_result, is_done, read_result
from clr_hpc.store.run_files import Environment, read_environments

MOST_SHOWN = 5
"""Keys; more are counted."""
IGNORED = {"name", "pack", "tune", "measured", "track", "keep", "notify"}
"""Keys on which runs don't depend, or that others are told of: packs differ by their checksums."""
_ABSENT = object()


class NothingThereError(UserError):
    """The study was never started, or has no such run; the message says what to do."""


@dataclass(frozen=True)
class StartedStudy:
    """A study with the overrides and rates that it was last started with, and its pack."""

    study: Study
    pack: PackRecord
    runs: tuple[RunSpec, ...]


@dataclass(frozen=True)
class Remaining:
    """What is to be trained of a study."""

    runs: tuple[RunSpec, ...]
    """Without a result, failed, or with damaged files."""
    damaged: tuple[Damaged, ...]
    """Results that don't count, since they or a file that they name are damaged."""


@dataclass(frozen=True)
class Change:
    """How the runs of a study differ from those that a folder of this name holds."""

    differences: tuple[str, ...]
    new: int
    """Runs of the study that the folder's study lacks."""
    lost: int
    """Runs of the folder's study that the study lacks."""

    def __str__(self) -> str:
        """Return the differences in one line."""
        return "; ".join(self.differences)


class StudyFolder:
    """``results/<study>/``."""

    def __init__(self, path: Path) -> None:
        """Name the folder, which ``prepare`` makes."""
        self.path = path
        self.runs = path / layout.RUNS

    @classmethod
    def of(cls, results: Path, name: str) -> "StudyFolder":
        """Return the folder of a study among all results.

        Raises:
            StudyError: no study can have the name, or a file lies where a folder is meant.
        """
        if name.lower() in layout.OF_NO_STUDY:
            raise StudyError(f"name: {name} is what clr-hpc calls a folder of its own in {results}; take another")
        path = results / name
        nearest = next((each for each in (path, *path.parents) if each.exists()), path)
        if nearest.exists() and not nearest.is_dir():
            raise StudyError(
                f"--results {results}: {nearest} is a file, where a folder is meant; give another folder"
            )
        return cls(path)

    def change_to(self, study: Study, pack_checksum: str | None = None) -> Change | None:
        """Compare a study with the one that was started here, by their runs.

        A rate that is ``auto`` counts as the number that stands in the folder for it.

        Args:
            study: of the folder's name.
            pack_checksum: of its pack; None: as in the folder.

        Returns:
            None where both have the same runs, where none was started, and where the folder's can't be read.
        """
        started = self._readable()
        return None if started is None else self._change(started, study, pack_checksum)

    def _readable(self) -> StartedStudy | None:
        try:
            return self.started()
        except (NothingThereError, StudyError):
            return None

    def _change(self, started: StartedStudy, study: Study, pack_checksum: str | None) -> Change | None:
        before = started.pack["checksum"]
        after = pack_checksum or before
        study = study.on_pack_with(trainable(started.pack, study.training.select))
        wanted = {spec.name for spec in expand(with_placeholders(study, *started.study.measured), after)}
        there = {spec.name for spec in started.runs}
        if wanted == there:
            return None
        packs = [f"pack: other images, with checksum {before[:8]}… → {after[:8]}…"] if before != after else []
        found = [*packs, *_differences(started.study, study)] or ["the rates measured for auto"]
        return Change(tuple(found), len(wanted - there), len(there - wanted))

    def check(self, study: Study, pack_checksum: str) -> Change | None:
        """Return the change to a study that has all runs of this folder, and perhaps more.

        Raises:
            StudyError: it lacks some of them, so it is another study; or it asks another question than was
                declared before these runs were trained.
        """
        started = self._readable()
        if started is None:
            return None
        self._check_question(started.study, study)
        change = self._change(started, study, pack_checksum)
        if change is not None and change.lost:
            raise StudyError(
                f"{self.path} holds another study of this name: {change}; give this one another name "
                f"(--set name={study.name}-2) or another --results, or add --replace, which keeps that folder as "
                f"{self.free_name_aside().name}"
            )
        return change

    def _check_question(self, declared: Study, study: Study) -> None:
        # studies of earlier versions declared none
        if "question" in declared.model_fields_set and declared.question != study.question and self.begun():
            before, after = (each.question.model_dump(mode="json") for each in (declared, study))
            raise StudyError(
                f"{self.path} was started with question: {before}, and this study asks {after}; a question is "
                f"declared before training: keep that one, or give this study another name "
                f"(--set name={study.name}-2)"
            )

    def free_name_aside(self) -> Path:
        """Return where this folder can be kept when another study takes its name."""
        return next(path for path in layout.asides_of(self.path) if not path.exists())

    def prepare(self, study: Study, pack_folder: Path) -> None:
        """Write down the study as it will run, and its pack's manifest."""
        self.runs.mkdir(parents=True, exist_ok=True)
        with atomic_write(self.path / layout.STUDY) as temporary:
            temporary.write_text(to_yaml(study.model_dump(mode="json")), encoding="utf-8")
        with atomic_write(self.path / layout.PACK) as temporary:
            shutil.copyfile(pack_folder / "manifest.json", temporary)

    def started(self) -> StartedStudy:
        """Return the study as it was last started.

        Raises:
            NothingThereError: it was never started.
            StudyError: a file of it is damaged; the message names the file and the remedy.
        """
        pack = read_pack(self.path)
        file = self.path / layout.STUDY
        if pack is None or not file.exists():
            missing = layout.PACK if pack is None else layout.STUDY
            raise NothingThereError(
                f"{self.path}: no study was started here; start it with clr-hpc run, or give its --results "
                f"({missing} does not exist)"
            )
        if isinstance(pack, Damaged):
            raise StudyError(str(pack))
        try:
            study = load_study(file)
            return StartedStudy(study, pack, expand(study, pack["checksum"]))
        except (StudyError, ValueError) as error:
            named = error if isinstance(error, StudyError) else f"{file}: {error}"
            raise StudyError(f"{named}; 'clr-hpc run' writes this file anew") from error

    def begun(self) -> set[str]:
        """Return the names of what lies in ``runs/``."""
        try:
            return {path.name for path in self.runs.iterdir()}
        except (FileNotFoundError, NotADirectoryError):
            return set()

    def remaining(self, runs: tuple[RunSpec, ...]) -> Remaining:
        """Return the runs that are not done; reads metrics and predictions of those that are, to verify them."""
        results = {spec: check_result(self.runs / spec.name) for spec in runs}
        return Remaining(
            tuple(spec for spec, result in results.items() if not is_done(result)),
            tuple(result for result in results.values() if isinstance(result, Damaged)),
        )

    def unfinished(self, runs: tuple[RunSpec, ...]) -> tuple[RunSpec, ...]:
        """Return the runs that are not done; see ``remaining``."""
        return self.remaining(runs).runs

    def failures(self, runs: tuple[RunSpec, ...]) -> dict[str, int]:
        """Return the modification time, in ns, of the result of each of these runs that failed."""
        results = {spec.name: self.runs / spec.name / layout.RESULT for spec in self.unfinished(runs)}
        return {name: path.stat().st_mtime_ns for name, path in results.items() if path.exists()}

    def code_of(self, spec: RunSpec) -> str | None:
        """Return the checksum of the code that last trained a run; None where it isn't known."""
        return self._last_start(spec).get("source_sha256")

    def host_of(self, spec: RunSpec) -> str | None:
        """Return the host that last trained a run; None where it isn't known."""
        return self._last_start(spec).get("host")

    def _last_start(self, spec: RunSpec) -> Environment:
        starts = read_environments(self.runs / spec.name)
        return {} if starts is None or isinstance(starts, Damaged) else starts[-1]

    def result(self, spec: RunSpec) -> Result | None:
        """Return what a run came to; None where it hasn't ended, or its result is damaged."""
        result = read_result(self.runs / spec.name)
        return None if isinstance(result, Damaged) else result


def _differences(before: Study, after: Study) -> list[str]:
    """Return a text such as ``training.epochs: 3 → 2`` for each key that differs, the last one for all others."""
    raw = [study.model_dump(mode="json", exclude=IGNORED) for study in (before, after)]
    found = [f"{key}: {_text(old)} → {_text(new)}" for key, old, new in _differing("", *raw)]
    more = len(found) - MOST_SHOWN
    return found if more <= 0 else [*found[:MOST_SHOWN], f"{more} more"]


def _differing(key: str, before: Any, after: Any) -> Iterator[tuple[str, Any, Any]]:
    if isinstance(before, list) and isinstance(after, list) and len(before) == len(after):
        before, after = dict(enumerate(before)), dict(enumerate(after))
    if not (isinstance(before, dict) and isinstance(after, dict)):
        if before != after:
            yield key, before, after
        return
    for name in dict.fromkeys((*before, *after)):
        inside = f"{key}.{name}" if key else str(name)
        yield from _differing(inside, before.get(name, _ABSENT), after.get(name, _ABSENT))


def _text(value: Any) -> str:
    return "nothing" if value is _ABSENT or value is None else shown(value)
