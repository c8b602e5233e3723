"""Weights & Biases: a run for each run that has ended, and one for the report."""

import hashlib
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field, TypeAdapter
from typing_extensions import TypedDict

from clr_hpc.monitoring.status import State
from clr_hpc.monitoring.trackers.base import Mark, Tracker
from clr_hpc.monitoring.trackers.read import TrackedRun
from clr_hpc.store.atomic import write_json
from clr_hpc.store.records import Damaged, read_record, record

if TYPE_CHECKING:
    import wandb

REPORT = "report"
LEDGER = "wandb.json"
SETTINGS = {
    "console": "off",
    "disable_git": True,
    "save_code": False,
    "silent": True,
    "x_disable_meta": True,
    "x_disable_stats": True,
    "x_save_requirements": False,
}
"""They keep the client from sending what nobody asked for: of this machine, and what commands print."""


@record
class _Written(TypedDict):
    """A run that was written, or the report, whose state is its digest."""

    samples: Annotated[int, Field(ge=-1, le=2**53)]
    state: str


@record
class _Ledger(TypedDict):
    """What was written: by target, and there by the key of the run."""

    format_version: Literal[1]
    targets: dict[str, dict[str, _Written]]


_LEDGER: TypeAdapter[_Ledger] = TypeAdapter(_Ledger)


class WandB(Tracker):
    """The project of the study's name, or of ``WANDB_PROJECT``; with ``WANDB_MODE=offline`` a folder.

    A client that is offline can't be asked what it has, so a file next to its folder says what was written.
    """

    name = "wandb"
    needs = "wandb"
    only_ended = True

    def __init__(self) -> None:
        """Take folder and names from ``open``."""
        self._folder = self._ledger = Path()
        self._project = self._study = self._study_id = ""
        self._written: dict[str, _Written] = {}

    def open(self, study: str, study_id: str, folder: Path) -> dict[str, Mark]:
        """Return what was written to the same project, in the same mode."""
        self._study, self._study_id, self._folder = study, study_id, folder / "wandb"
        self._ledger = folder / LEDGER
        self._project = os.environ.get("WANDB_PROJECT", study)
        self._written = self._read()["targets"].get(self._target, {})
        return {key: Mark(one["samples"], one["state"]) for key, one in self._written.items() if key != REPORT}

    def write(self, run: TrackedRun) -> None:
        """Write a run that has ended."""
        self._drop_offline(run.key)
        begun = self._begin(run.key, name=run.name, config=dict(run.params), job_type="run")
        begun.define_metric("epoch")
        begun.define_metric("*", step_metric="epoch")
        for point in run.points:
            begun.log(dict(point.values), step=point.samples)
        begun.summary.update({**run.final, "state": str(run.state), "reason": run.reason or ""})
        begun.finish(exit_code=int(run.state == State.FAILED))
        self._note(run.key, {"samples": run.samples, "state": run.state})

    def write_report(self, files: Mapping[str, Path], digest: str) -> None:
        """Write the report's files as an artefact of a run of their own."""
        if REPORT in self._written and self._written[REPORT]["state"] == digest:
            return
        import wandb

        self._drop_offline(REPORT)
        artefact = wandb.Artifact(f"report-{self._study}", type="report")
        for name, path in files.items():
            artefact.add_file(str(path), name=name)
        begun = self._begin(REPORT, name=f"report of {self._study}", job_type=REPORT)
        begun.log_artifact(artefact)
        begun.finish()
        self._note(REPORT, {"samples": 0, "state": digest})

    @property
    def address(self) -> str:
        """The folder to sync, where the client is offline."""
        return f"send it: wandb sync {self._folder}/wandb/offline-run-*" if self._is_offline else ""

    @property
    def _is_offline(self) -> bool:
        return os.environ.get("WANDB_MODE") in ("offline", "dryrun")

    @property
    def _target(self) -> str:
        mode, entity = ("offline" if self._is_offline else "online"), os.environ.get("WANDB_ENTITY", "")
        return f"{mode} {entity}/{self._project}"

    def _begin(self, key: str, **described: Any) -> "wandb.Run":
        import wandb

        self._folder.mkdir(exist_ok=True)
        # files of artefacts wait there until they are sent; else below the home folder
        os.environ.setdefault("WANDB_DATA_DIR", str(self._folder.absolute()))
        os.environ.setdefault("WANDB_ERROR_REPORTING", "false")
        return wandb.init(
            project=self._project,
            group=self._study,
            id=self._id(key),
            dir=str(self._folder),
            resume=None if self._is_offline else "allow",
            reinit="finish_previous",
            settings=wandb.Settings(**SETTINGS),
            **described,
        )

    def _id(self, key: str) -> str:
        return hashlib.sha256(f"{self._study_id}/{key}".encode()).hexdigest()[:16]

    def _drop_offline(self, key: str) -> None:
        """Remove what was written of the run before: a start that was killed, or a try that failed."""
        if self._is_offline:
            for path in (self._folder / "wandb").glob(f"offline-run-*-{self._id(key)}"):
                shutil.rmtree(path)

    def _read(self) -> _Ledger:
        found = read_record(self._ledger, _LEDGER, "remove it; all runs are written again")
        if isinstance(found, Damaged):
            raise OSError(str(found))
        return found or {"format_version": 1, "targets": {}}

    def _note(self, key: str, written: _Written) -> None:
        self._written[key] = written
        ledger = self._read()
        ledger["targets"][self._target] = self._written
        write_json(self._ledger, ledger)
