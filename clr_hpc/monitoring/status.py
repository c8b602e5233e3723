"""What has become of a study's runs, read from their folders alone, also while they are written."""

import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, fields
from enum import StrEnum
from pathlib import Path
from typing import Any

from clr_hpc.config.run import RunSpec
from clr_hpc.store.checkpoints import newest_checkpoint
from clr_hpc.store.lease import LeaseTiming, SeenLease, read_lease
from clr_hpc.store.metrics import newest, recent_metrics
from clr_hpc.store.records import Damaged
from clr_hpc.store.results import check_result
from clr_hpc.store.run_files import read_spec
from clr_hpc.store.study_folder import NothingThereError, StudyFolder


class State(StrEnum):
    """Where a run is on its way."""

    RUNNING = "running"
    WAITING = "waiting"
    STOPPED = "stopped"
    """It was begun, and no process trains it now; it resumes from its last checkpoint."""
    FAILED = "failed"
    DONE = "done"


@dataclass(frozen=True)
class RunStatus:
    """One run, as its folder shows it. What isn't known, or has no meaning in the run's state, is None."""

    spec: RunSpec
    state: State
    reason: str | None = None
    """Of a failed run, in one line; of others, what they wait for or how they stopped."""
    place: str | None = None
    host: str | None = None
    epoch: float | None = None
    """Progress: of a stopped run that of its last checkpoint."""
    lr: float | None = None
    loss: float | None = None
    images_per_second: float | None = None
    seconds_left: float | None = None
    """Predicted from the run's own speed, evaluations included."""
    validation_auroc: float | None = None
    seconds: float | None = None
    """That it took, over all its starts."""

    def as_dict(self) -> dict[str, Any]:
        """Return JSON-able values, with the choices that tell runs apart in place of the whole spec."""
        values = {field.name: getattr(self, field.name) for field in fields(self) if field.name != "spec"}
        spec = self.spec
        choices = {
            "name": spec.name,
            "run_id": spec.run_id,
            "task": spec.task.name,
            "architecture": spec.architecture,
            "optimizer": spec.optimizer.name,
            "stage": spec.stage,
            "policy": spec.policy.name,
            "seed": spec.seed,
            "epochs": spec.training.epochs,
        }
        return choices | values


class StudyStatus:
    """A study's runs; asking again reads only what can have changed."""

    def __init__(self, folder: StudyFolder) -> None:
        """Expand the study as it was started.

        Raises:
            NothingThereError: it was never started.
            StudyError: a file of it is damaged.
        """
        self._follow(folder, folder.started().runs)

    @classmethod
    def of(cls, folder: StudyFolder, runs: Sequence[RunSpec]) -> "StudyStatus":
        """Follow these runs, also in a folder that is still to be made."""
        status = cls.__new__(cls)
        status._follow(folder, runs)
        return status

    def _follow(self, folder: StudyFolder, runs: Sequence[RunSpec]) -> None:
        self.folder = folder
        self._specs = {spec.name: spec for spec in runs}
        self._baselines = {
            name: spec.start.baseline.name for name, spec in self._specs.items() if spec.start is not None
        }
        self._done: dict[str, RunStatus] = {}
        self._others = 0

    @property
    def folders_of_others(self) -> int:
        """How many run folders there were, when last read, that this study as it was started has no run for."""
        return self._others

    def read(self) -> list[RunStatus]:
        """Return every run's status, in the order of the study."""
        begun = self.folder.begun()
        self._others = len(begun - self._specs.keys())
        found: dict[str, RunStatus] = {}
        for name, spec in self._specs.items():
            status = self._done.get(name)
            if status is None and name in begun:
                status = _read_run(spec, self.folder.runs / name)
            if status is None:
                status = RunStatus(
                    spec, State.WAITING, _what_it_waits_for(found.get(self._baselines.get(name, "")))
                )
            if status.state == State.DONE:
                self._done[name] = status
            found[name] = status
        return list(found.values())


def find_runs(
    folder: StudyFolder, runs: Sequence[RunSpec], words: Sequence[str], only_one: bool = False
) -> list[RunSpec]:
    """Return the runs whose names contain one of these words.

    Raises:
        NothingThereError: a word is in no name, or in several although only one may be meant.
    """
    found: dict[str, RunSpec] = {}
    for word in words:
        named = [spec for spec in runs if word in spec.name]
        if not named:
            raise NothingThereError(f"no run of {folder.path} has {word!r} in its name; see its runs/")
        if only_one and len(named) > 1:
            some = "; ".join(spec.name for spec in named[:5])
            raise NothingThereError(f"{word!r} is in the names of {len(named)} runs: {some}; give more of one")
        found |= {spec.name: spec for spec in named}
    return list(found.values())


def count(statuses: list[RunStatus]) -> dict[State, int]:
    """Return how many runs are in each state."""
    counted = Counter(status.state for status in statuses)
    return {state: counted[state] for state in State}


def _read_run(spec: RunSpec, folder: Path) -> RunStatus | None:
    lease = read_lease(folder)
    if lease is not None and _is_live(lease):
        return _running(spec, folder, lease)
    result = check_result(folder, verify=False)
    if isinstance(result, Damaged):
        return RunStatus(spec, State.FAILED, reason=_one_line(str(result)))
    if result is not None and result["status"] == "done":
        validation = result["validation"]  # None: a range test measures none
        return RunStatus(
            spec,
            State.DONE,
            epoch=result["epochs"],
            loss=validation and validation["loss"],
            validation_auroc=validation and validation["auroc"],
            seconds=result["seconds"],
        )
    if result is not None:
        return RunStatus(spec, State.FAILED, reason=_one_line(result["reason"]), seconds=result.get("seconds"))
    begun = read_spec(folder, spec)
    if isinstance(begun, Damaged):
        return RunStatus(spec, State.STOPPED, reason=_one_line(str(begun)))
    return None if begun is None else _stopped(spec, folder, lease)


def _is_live(lease: SeenLease) -> bool:
    """Tell by this machine's clock, which is enough to look at; who takes a run over is more careful."""
    return time.time() - lease.renewed < LeaseTiming().stale_seconds and not lease.by.is_known_dead


def _running(spec: RunSpec, folder: Path, lease: SeenLease) -> RunStatus:
    recorded = recent_metrics(folder)
    latest = newest(recorded)
    step = latest.get("step", {})
    return RunStatus(
        spec,
        State.RUNNING,
        reason=None if step else "starting",
        place=lease.by.place,
        host=lease.by.host,
        epoch=step.get("progress"),
        lr=step.get("lr"),
        loss=step.get("loss"),
        images_per_second=step.get("images_per_second"),
        seconds_left=_seconds_left(spec, recorded),
        validation_auroc=latest.get("validation", {}).get("auroc"),
        seconds=recorded[-1]["elapsed_seconds"] if recorded else None,
    )


def _seconds_left(spec: RunSpec, recorded: list[dict[str, Any]]) -> float | None:
    """Take the pace since the oldest line that was read: some epochs back, or the run's start."""
    if not recorded:
        return None
    first, last = recorded[0], recorded[-1]
    epochs = last["progress"] - first["progress"]
    seconds = last["elapsed_seconds"] - first["elapsed_seconds"]
    if epochs <= 0:
        epochs, seconds = last["progress"], last["elapsed_seconds"]
    return max(0.0, spec.training.epochs - last["progress"]) * seconds / epochs if epochs > 0 else None


def _stopped(spec: RunSpec, folder: Path, lease: SeenLease | None) -> RunStatus:
    """Describe a run that was begun and that no process trains; it resumes from its last checkpoint."""
    recorded = recent_metrics(folder)
    steps = [entry for entry in recorded if entry["kind"] == "step" and entry["samples"]]
    saved = max(0, newest_checkpoint(folder))
    epoch = saved * steps[-1]["progress"] / steps[-1]["samples"] if steps else 0.0
    how = "" if lease is None else f"; {lease.by.place} on {lease.by.host} ended without a word"
    at = f"at epoch {epoch:.1f}" if saved and steps else "before its first checkpoint"
    return RunStatus(
        spec,
        State.STOPPED,
        reason=at + how,
        epoch=epoch,
        seconds=recorded[-1]["elapsed_seconds"] if recorded else None,
    )


def _what_it_waits_for(baseline: RunStatus | None) -> str | None:
    if baseline is None or baseline.state == State.DONE:
        return None
    return "its baseline failed" if baseline.state == State.FAILED else "waits for its baseline"


def _one_line(text: str) -> str:
    return " ".join(text.split())
