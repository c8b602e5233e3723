"""Read a study's folder: what was planned, what ran, what each run left (docs/reference/formats.md)."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast

import numpy as np
from numpy.typing import NDArray

from clr_hpc.config.base import UserError
from clr_hpc.config.given_file import mistake_of
from clr_hpc.config.load import StudyError
from clr_hpc.config.pathologies import NO_FINDING, PATHOLOGIES
from clr_hpc.config.resources import usable_cores
from clr_hpc.config.run import RunSpec
from clr_hpc.config.study import Study
from clr_hpc.config.task import OneClassTask
from clr_hpc.reporting.read.known import KnownPredictions, Listed
from clr_hpc.reporting.read.predictions import Numbering, Predictions, SplitScores, TestImages, split_scores
from clr_hpc.store import layout
from clr_hpc.store.metrics import check_metrics
from clr_hpc.store.pack_record import PackRecord, labels_of
from clr_hpc.store.predictions import read_predictions
from clr_hpc.store.records import Damaged, DamagedError, required, sha256_of
from clr_hpc.store.results import REMEDY, DoneResult, check_result
from clr_hpc.store.run_files import read_architecture, read_environments, read_spec
from clr_hpc.store.study_files import read_plan
from clr_hpc.store.study_folder import NothingThereError, StartedStudy, StudyFolder

if TYPE_CHECKING:
    import pyarrow as pa

READ_AHEAD = 32
"""Runs whose predictions are in memory with all their columns at once."""
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
    """By split, ``Predictions`` that may be read later; empty where the run has left none."""
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
    """All that study.yaml asks for but pretrainings, which score nothing. In its order: binary tasks first, the
    pathologies in the project's order."""
    strangers: tuple[str, ...]
    """Names in ``runs/`` that study.yaml does not ask for: left by an earlier version of the study."""
    test: TestImages
    """All images of the test split that any run has scored."""
    plan: dict[str, Any] = field(default_factory=dict)
    """plan.json; empty where nothing was planned."""

    @property
    def labels(self) -> tuple[str, ...]:
        """What the pack's images are labelled with, in the order of tables."""
        return labels_of(cast(PackRecord, self.pack))


def read_study(
    folder: Path, numbering: Numbering | None = None, known: KnownPredictions | None = None, hold: bool = True
) -> StudyRecord:
    """Read the folder of one study.

    Args:
        folder: of the study.
        numbering: shared by studies on one pack, so that their images have the same numbers; None: its own.
        known: predictions that were read before.
        hold: keep scores in memory that have to be read for their images; else they are read again when needed.

    Raises:
        ReportError: ``study.yaml`` or ``pack.json`` is absent or damaged, or ``plan.json`` is damaged. Damage
            inside one run's folder makes that run alone unreadable.
    """
    started = _started(StudyFolder(folder))
    if started.study.stages.range_test:
        raise ReportError(f"{folder} holds range tests; 'clr-hpc range-test' makes their page, range_tests.html")
    if "counts" not in started.pack:
        raise ReportError(f"{folder / layout.PACK} has no counts; copy manifest.json of the pack there")
    numbering = numbering or Numbering()
    specs = sorted((spec for spec in started.runs if spec.stage != "pretrain"), key=_place_of_task)
    runs = tuple(_read_runs(folder / layout.RUNS, specs, numbering, known, hold))
    planned = {spec.name for spec in started.runs}
    found = sorted(path.name for path in (folder / layout.RUNS).glob("*") if path.is_dir())
    plan = read_plan(folder)
    if isinstance(plan, Damaged):
        raise ReportError(str(plan))
    return StudyRecord(
        started.study.name,
        started.study,
        (folder / layout.STUDY).read_text(encoding="utf-8"),
        dict(started.pack),
        runs,
        tuple(name for name in found if name not in planned),
        numbering.test_images(),
        dict(plan or {}),
    )


def _started(folder: StudyFolder) -> StartedStudy:
    try:
        started = folder.started()
    except NothingThereError:
        files = (folder.path / layout.STUDY, folder.path / layout.PACK)
        missing = next((file for file in files if not file.exists()), files[0])
        raise ReportError(
            f"{missing} does not exist; 'clr-hpc run' makes a study's folder, give its path"
        ) from None
    except StudyError as error:
        raise ReportError(str(error)) from error
    return started


def _place_of_task(spec: RunSpec) -> tuple[bool, int, str]:
    label = spec.task.label
    known = (NO_FINDING, *PATHOLOGIES)
    return spec.task.kind != "binary", known.index(label) if label in known else len(known), label


def _read_runs(
    folder: Path, specs: Sequence[RunSpec], numbering: Numbering, known: KnownPredictions | None, hold: bool
) -> Iterator[RunRecord]:
    """Yield each run; some are read ahead by threads, and numbered in the study's order, whoever reads first."""
    with ThreadPoolExecutor(usable_cores()) as pool:
        for first in range(0, len(specs), READ_AHEAD):
            part = specs[first : first + READ_AHEAD]
            for record, file in pool.map(lambda spec: _read_run(folder / spec.name, spec, known), part):
                if file is None:
                    yield record
                else:
                    yield replace(record, predictions=_predictions(file, numbering, known, hold))


@dataclass(frozen=True, slots=True)
class _File:
    """Predictions of a run: their rows, or what an earlier report knew of them."""

    read: "Callable[[], pa.Table]"
    checksum: str
    """Empty where nothing is kept."""
    listed: Listed | None
    table: "pa.Table | None"


def _predictions(file: _File, numbering: Numbering, known: KnownPredictions | None, hold: bool) -> Predictions:
    reread = file.read  # not the file, whose table would stay in memory

    def read() -> dict[str, SplitScores]:
        return split_scores(reread(), numbering)

    if known is not None and file.listed is not None:
        known.number(file.listed, numbering)
        return Predictions(file.listed.models, read, None, file.checksum)
    assert file.table is not None, "what is not known was read"
    scores = split_scores(file.table, numbering)
    if known is not None:
        known.note(file.checksum, scores, numbering)
    models = {split: tuple(of_split.by_model) for split, of_split in scores.items()}
    return Predictions(models, read, scores if hold else None, file.checksum)


def _read_run(folder: Path, spec: RunSpec, known: KnownPredictions | None) -> tuple[RunRecord, _File | None]:
    if not folder.exists():
        return RunRecord(spec, "missing", "no folder: it has not started"), None
    try:
        return _read_started_run(folder, spec, known)
    except DamagedError as error:  # the other runs are still reported
        return RunRecord(spec, "failed", f"its folder can't be read: {error}"), None


def _read_started_run(
    folder: Path, spec: RunSpec, known: KnownPredictions | None
) -> tuple[RunRecord, _File | None]:
    result = required(check_result(folder))
    required(read_spec(folder, spec))
    metrics = check_metrics(folder)
    if metrics.damaged and not metrics.lines:
        raise DamagedError(str(metrics.damaged[0]))
    steps = [line for line in metrics.lines if line["kind"] == "step"]
    speeds = [line["images_per_second"] for line in steps if line["images_per_second"]]
    status: Status = result["status"] if result else "unfinished"
    reason = result.get("reason") if result else f"no {layout.RESULT}: running or interrupted"
    if metrics.damaged:
        count = "1 damaged line is" if len(metrics.damaged) == 1 else f"{len(metrics.damaged)} damaged lines are"
        reason = "; ".join(filter(None, (reason, f"{count} left out: {metrics.damaged[0]}")))
    file = _read_file(folder, spec, result, known) if result and result["status"] == "done" else None
    record = RunRecord(
        spec=spec,
        status=status,
        reason=reason,
        result=dict(result or {}),
        environments=tuple(dict(start) for start in required(read_environments(folder)) or ()),
        epochs=tuple(line for line in metrics.lines if line["kind"] == "epoch"),
        progress=np.array([line["progress"] for line in steps], dtype=np.float64),
        learning_rate=np.array([line["lr"] for line in steps], dtype=np.float64),
        images_per_second=float(np.median(speeds)) if speeds else None,
        layers=dict(required(read_architecture(folder)) or {}),
    )
    return record, file


def _read_file(folder: Path, spec: RunSpec, result: DoneResult, known: KnownPredictions | None) -> _File | None:
    """Return the predictions of a run that is done, None where it has left none.

    Raises:
        DamagedError: they are not those of the result.
    """
    path, state = folder / layout.PREDICTIONS, result.get("files", {}).get(layout.PREDICTIONS)
    if not path.exists():
        return None
    checksum = "" if known is None else state["sha256"] if state else _checksum(path)
    listed = known.get(checksum) if known else None

    def read() -> "pa.Table":
        table = required(read_predictions(folder, state))
        if table is None:
            raise DamagedError(f"{path}: it was removed while it was read; {REMEDY}")
        return table

    table = None if listed else read()
    models = listed.models if listed else {"": table["model"].unique().to_pylist()} if table is not None else {}
    told = {model for of_split in models.values() for model in of_split}
    if not result["models"].keys() >= told:
        raise DamagedError(f"{path}: it has models that {layout.RESULT} lacks: {told}")
    if isinstance(spec.task, OneClassTask) and any(
        model.get("threshold") is None for model in result["models"].values()
    ):
        raise DamagedError(f"{folder / layout.RESULT}: a one-class model has no threshold; {REMEDY}")
    return _File(read, checksum, listed, table)


def _checksum(file: Path) -> str:
    try:
        return sha256_of(file)
    except OSError as error:
        raise DamagedError(f"{file}: it can't be read: {mistake_of(error).rule}; {REMEDY}") from error
