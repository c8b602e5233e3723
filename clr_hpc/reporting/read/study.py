"""Read a study's folder: what was planned, what ran, what each run left (docs/reference/formats.md)."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from clr_hpc.config.base import UserError
from clr_hpc.config.expand import expand
from clr_hpc.config.load import StudyError, load_study
from clr_hpc.config.pathologies import NO_FINDING, PATHOLOGIES
from clr_hpc.config.run import RunSpec
from clr_hpc.config.study import Study
from clr_hpc.config.task import BinaryTask
from clr_hpc.reporting.read.predictions import Numbering, SplitScores, TestImages, read_predictions

PLAN_FORMAT_VERSION = 1
Status = Literal["done", "failed", "unfinished", "missing"]
"""``unfinished``: has a folder and no result (running, interrupted or killed). ``missing``: has no folder."""


class ReportError(UserError):
    """A study's folder can't be reported on; the message names the file and the remedy."""


@dataclass(frozen=True, slots=True)
class RunRecord:
    """One run of the study and what it left on disk; of a missing run only the spec."""

    spec: RunSpec
    status: Status
    reason: str | None = None
    """Why it failed, or what of it can't be read."""
    result: dict[str, Any] = field(default_factory=dict)
    environments: tuple[dict[str, Any], ...] = ()
    epochs: tuple[dict[str, Any], ...] = ()
    """The ``epoch`` lines of metrics.jsonl."""
    progress: NDArray[np.float64] = field(default_factory=lambda: np.empty(0))
    """(S,) epochs, of the ``step`` lines."""
    learning_rate: NDArray[np.float64] = field(default_factory=lambda: np.empty(0))
    """(S,)"""
    images_per_second: float | None = None
    """Median over the ``step`` lines."""
    predictions: Mapping[str, SplitScores] = field(default_factory=dict)
    """By split; empty where the run has left none."""
    layers: dict[str, Any] = field(default_factory=dict)
    """architecture.json: what the network is made of; empty where the run has left none."""


@dataclass(frozen=True, slots=True)
class StudyRecord:
    """A study's folder, read."""

    name: str
    study: Study
    study_yaml: str
    pack: dict[str, Any]
    """The pack's manifest."""
    runs: tuple[RunRecord, ...]
    """All that study.yaml asks for, in its order; binary tasks first, the pathologies in the project's order."""
    strangers: tuple[str, ...]
    """Names in ``runs/`` that study.yaml does not ask for: left by an earlier version of the study."""
    test: TestImages
    """All images of the test split that any run has scored."""
    plan: dict[str, Any] = field(default_factory=dict)
    """plan.json; empty where nothing was planned."""


def read_study(folder: Path) -> StudyRecord:
    """Read the folder of one study.

    Raises:
        ReportError: ``study.yaml`` or ``pack.json`` is absent or damaged, or ``plan.json`` is damaged. Damage
            inside one run's folder makes that run alone unreadable.
    """
    study_file, pack_file = folder / "study.yaml", folder / "pack.json"
    for file in (study_file, pack_file):
        if not file.is_file():
            raise ReportError(f"{file} does not exist; 'clr-hpc run' makes a study's folder, give its path")
    try:
        pack = json.loads(pack_file.read_text())
        checksum = pack["checksum"]
    except (ValueError, KeyError, TypeError) as error:
        raise ReportError(
            f"{pack_file} is not a pack's manifest ({error!r}); copy manifest.json of the pack there"
        ) from error
    try:
        study = load_study(study_file)
    except StudyError as error:
        raise ReportError(f"{error}; 'clr-hpc run' writes this file anew") from error
    if study.stages.range_test:
        raise ReportError(f"{folder} holds range tests; 'clr-hpc range-test' makes their page, range_tests.html")
    specs = sorted(expand(study, checksum), key=_place_of_task)
    numbering = Numbering()
    runs = tuple(_read_run(folder / "runs" / spec.name, spec, numbering) for spec in specs)
    planned = {spec.name for spec in specs}
    found = sorted(path.name for path in (folder / "runs").glob("*") if path.is_dir())
    strangers = tuple(name for name in found if name not in planned)
    return StudyRecord(
        study.name,
        study,
        study_file.read_text(),
        pack,
        runs,
        strangers,
        numbering.test_images(),
        _read_plan(folder / "plan.json"),
    )


def _read_plan(file: Path) -> dict[str, Any]:
    try:
        plan = _read_object(file)
        if plan and plan["format_version"] != PLAN_FORMAT_VERSION:
            raise ValueError(f"format_version {plan['format_version']}, known is {PLAN_FORMAT_VERSION}")
    except (ValueError, KeyError, TypeError) as error:
        raise ReportError(f"{file} is not a plan ({error!r}); delete it, the report does without") from error
    return plan


def _place_of_task(spec: RunSpec) -> tuple[int, int]:
    if isinstance(spec.task, BinaryTask):
        return 0, PATHOLOGIES.index(spec.task.pathology)
    return 1, (NO_FINDING, *PATHOLOGIES).index(spec.task.normal)


def _read_run(folder: Path, spec: RunSpec, numbering: Numbering) -> RunRecord:
    if not folder.is_dir():
        return RunRecord(spec, "missing", "no folder: it has not started")
    try:
        return _read_started_run(folder, spec, numbering)
    except (OSError, ValueError, KeyError, TypeError) as error:
        # pyarrow's errors are ValueErrors; whatever is damaged, the other runs are still reported
        return RunRecord(spec, "failed", f"its folder can't be read: {type(error).__name__}: {error}")


def _read_started_run(folder: Path, spec: RunSpec, numbering: Numbering) -> RunRecord:
    lines = list(_read_lines(folder / "metrics.jsonl"))
    steps = [line for line in lines if line["kind"] == "step"]
    speeds = [line["images_per_second"] for line in steps if line.get("images_per_second")]
    predictions_file = folder / "predictions.parquet"
    result = _read_object(folder / "result.json")
    status: Status = result["status"] if result else "unfinished"
    has_scores = status == "done" and predictions_file.is_file()
    return RunRecord(
        spec=spec,
        status=status,
        reason=result.get("reason") if result else "no result.json: running or interrupted",
        result=result,
        environments=_read_environments(folder / "environment.json"),
        epochs=tuple(line for line in lines if line["kind"] == "epoch"),
        progress=np.array([line["progress"] for line in steps], dtype=np.float64),
        learning_rate=np.array([line["lr"] for line in steps], dtype=np.float64),
        images_per_second=float(np.median(speeds)) if speeds else None,
        predictions=read_predictions(predictions_file, numbering) if has_scores else {},
        layers=_read_object(folder / "architecture.json"),
    )


def _read_object(file: Path) -> dict[str, Any]:
    return json.loads(file.read_text()) if file.is_file() else {}


def _read_lines(file: Path) -> Iterator[dict[str, Any]]:
    """Yield the file's objects; a run that is writing, or was killed, may leave a last line half written."""
    if not file.is_file():
        return
    *whole, _ = file.read_text().split("\n")
    for line in whole:
        yield json.loads(line)


def _read_environments(file: Path) -> tuple[dict[str, Any], ...]:
    if not file.is_file():
        return ()
    starts = json.loads(file.read_text())
    return tuple(starts) if isinstance(starts, list) else (starts,)
