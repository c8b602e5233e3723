"""Read a study's folder: what was planned, what ran, and what each run left. Formats: docs/architecture.md."""

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from clr_hpc.spec.pathologies import PATHOLOGIES
from clr_hpc.spec.run import RunSpec
from clr_hpc.spec.study import Study, StudyError, load_study

Status = Literal["done", "failed", "unfinished", "missing"]
"""``unfinished``: has a folder and no result (running, interrupted or killed). ``missing``: has no folder."""


class ReportError(Exception):
    """A study's folder can't be reported on; the message names the file and the remedy."""


@dataclass(frozen=True, slots=True)
class Predictions:
    """Scores of one run on the images of the validation split."""

    patients: NDArray[np.int32]
    """(N,) positions in ``StudyRecord.patients``."""
    labels: NDArray[np.bool_]
    """(N,)"""
    scores: NDArray[np.float64]
    """(N,) probabilities."""


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
    predictions: Predictions | None = None


@dataclass(frozen=True, slots=True)
class StudyRecord:
    """A study's folder, read."""

    name: str
    study: Study
    study_yaml: str
    pack: dict[str, Any]
    """The pack's manifest."""
    runs: tuple[RunRecord, ...]
    """All that study.yaml asks for, in its order, the pathologies in the project's."""
    strangers: tuple[str, ...]
    """Names in ``runs/`` that study.yaml does not ask for: left by an earlier version of the study."""
    patients: int
    """Number of different patients over all predictions."""


def read_study(folder: Path) -> StudyRecord:
    """Read the folder of one study.

    Raises:
        ReportError: ``study.yaml`` or ``pack.json`` is absent or damaged. Damage inside one run's folder makes
            that run alone unreadable.
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
    specs = sorted(study.runs(checksum), key=lambda spec: PATHOLOGIES.index(spec.pathology))
    positions: dict[str, int] = {}
    runs = tuple(_read_run(folder / "runs" / spec.name, spec, positions) for spec in specs)
    planned = {spec.name for spec in specs}
    found = sorted(path.name for path in (folder / "runs").glob("*") if path.is_dir())
    strangers = tuple(name for name in found if name not in planned)
    return StudyRecord(study.name, study, study_file.read_text(), pack, runs, strangers, len(positions))


def _read_run(folder: Path, spec: RunSpec, positions: dict[str, int]) -> RunRecord:
    if not folder.is_dir():
        return RunRecord(spec, "missing", "no folder: it has not started")
    try:
        return _read_started_run(folder, spec, positions)
    except (OSError, ValueError, KeyError, TypeError) as error:
        # pyarrow's errors are ValueErrors; whatever is damaged, the other runs are still reported
        return RunRecord(spec, "failed", f"its folder can't be read: {type(error).__name__}: {error}")


def _read_started_run(folder: Path, spec: RunSpec, positions: dict[str, int]) -> RunRecord:
    lines = list(_read_lines(folder / "metrics.jsonl"))
    steps = [line for line in lines if line["kind"] == "step"]
    speeds = [line["images_per_second"] for line in steps if line.get("images_per_second")]
    result_file, predictions_file = folder / "result.json", folder / "predictions.parquet"
    result = json.loads(result_file.read_text()) if result_file.is_file() else {}
    status: Status = result["status"] if result else "unfinished"
    predictions = None
    if status == "done" and predictions_file.is_file():
        predictions = _read_predictions(predictions_file, positions)
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
        predictions=predictions,
    )


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


def _read_predictions(file: Path, positions: dict[str, int]) -> Predictions:
    from pyarrow import compute, parquet

    table = parquet.read_table(file, columns=["patient", "split", "label", "score"])
    table = table.filter(compute.equal(table["split"], "validation"))
    scores = table["score"].to_numpy().astype(np.float64)
    if not np.isfinite(scores).all():
        raise ValueError(f"{file.name} holds {int((~np.isfinite(scores)).sum())} scores that are no numbers")
    patients = [positions.setdefault(name, len(positions)) for name in table["patient"].to_pylist()]
    return Predictions(np.array(patients, dtype=np.int32), table["label"].to_numpy() == 1, scores)
