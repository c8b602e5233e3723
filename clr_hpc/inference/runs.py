"""The models of a study's folder: their weights, and the recorded scores that decisions rest on."""

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from torch import Tensor

from clr_hpc.config.base import UserError, counted
from clr_hpc.config.run import RunSpec
from clr_hpc.inference.calibration import Calibration, fit, youden_threshold
from clr_hpc.inference.ensemble import Ensemble, NoScoresError
from clr_hpc.inference.images import Reading
from clr_hpc.inference.model import NoWeightsError, TrainedModel, title_of
from clr_hpc.store import layout
from clr_hpc.store.predictions import read_predictions, to_frame
from clr_hpc.store.records import Damaged
from clr_hpc.store.results import DoneResult, check_result, freed_weights
from clr_hpc.store.study_folder import StudyFolder
from clr_hpc.training.checkpoint import DamagedCheckpointError, Snapshots, load_tensors, model_weights
from clr_hpc.training.upkeep.clean import load_last

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class RunFiles:
    """What a run has left of one of its models."""

    folder: Path
    model: str
    """``last``, ``snapshots`` or ``swa``."""
    result: DoneResult

    @property
    def title(self) -> str:
        """What errors call the model."""
        return title_of(self.folder.name, self.model)

    def states(self) -> Iterator[dict[str, Tensor]]:
        """Yield the ``state_dict`` of each network of the model.

        Raises:
            NoWeightsError: they are missing or damaged.
        """
        try:
            if self.model == "snapshots":
                yield from self._snapshots()
            elif self.model == "swa":
                yield _state(self.folder / layout.SWA, self._checksum(layout.SWA))
            else:
                yield model_weights(load_last(self.folder, self.result))
        except DamagedCheckpointError as error:
            raise NoWeightsError(f"{self.title}: {error}") from error

    def _snapshots(self) -> Iterator[dict[str, Tensor]]:
        kept = Snapshots(self.folder / layout.SNAPSHOTS).weights()
        if not kept:  # freed since the study was loaded, or deleted by hand
            raise NoWeightsError(
                f"{self.title}: {self.folder / layout.SNAPSHOTS} has no snapshots, perhaps since 'clr-hpc clean' "
                "has freed them; load the study again for its other models"
            )
        yield from kept.values()

    def recorded(self, split: str) -> pd.DataFrame:
        """Return the rows of ``predictions.parquet`` of this model and split, by the names of the images.

        Raises:
            NoScoresError: it is missing or damaged.
        """
        state = self.result.get("files", {}).get(layout.PREDICTIONS)
        table = read_predictions(self.folder, state)
        if table is None or isinstance(table, Damaged):
            reason = f"{self.folder / layout.PREDICTIONS} does not exist" if table is None else str(table)
            raise NoScoresError(f"{reason}; without it neither threshold nor calibration of {self.title} is known")
        rows = to_frame(table)
        return rows[(rows["split"] == split) & (rows["model"] == self.model)].sort_values("image")

    def _checksum(self, name: str) -> str | None:
        state = self.result.get("files", {}).get(name)
        return None if state is None else state["sha256"]


@dataclass(frozen=True)
class RunBasis:
    """What runs of one setting have recorded; the ``Basis`` of an ensemble."""

    runs: tuple[RunFiles, ...]
    is_binary: bool

    @cached_property
    def calibration(self) -> Calibration | None:
        """Fitted to the validation images; None for one-class models, and where one of the labels is absent."""
        if not self.is_binary:
            return None
        rows = self._validation
        return fit(rows["score"].to_numpy(), _is_positive(rows), rows["patient"].to_numpy(dtype=str))

    @cached_property
    def threshold(self) -> float:
        """By the scores of the validation images, or those that the one-class models have; NaN without any."""
        if self.is_binary:
            return youden_threshold(self._validation["score"].to_numpy(), _is_positive(self._validation))
        own = [run.result["models"][run.model].get("threshold") for run in self.runs]
        return float(np.mean([np.nan if value is None else value for value in own]))

    @cached_property
    def class_scores(self) -> NDArray[np.float64]:
        """Scores of the training images of the one class, ascending; empty of a classifier."""
        if self.is_binary:
            return np.empty(0)
        rows = self.known_rows("train")
        return np.sort(rows["score"].to_numpy()[~_is_positive(rows)])

    @cached_property
    def _validation(self) -> pd.DataFrame:
        return self.known_rows("validation")

    def known_rows(self, split: str) -> pd.DataFrame:
        """Return the rows of a split, by image, with the mean ``score`` of the models.

        Raises:
            NoScoresError: predictions are missing or damaged.
        """
        tables = [run.recorded(split) for run in self.runs]
        return tables[0].assign(score=np.mean([rows["score"].to_numpy(np.float64) for rows in tables], axis=0))


def _is_positive(rows: pd.DataFrame) -> NDArray[np.bool_]:
    positive: NDArray[np.bool_] = rows["label"].to_numpy() == 1
    return positive


def settings_of_runs(folder: Path) -> tuple[Reading, tuple[Ensemble, ...]]:
    """Return how a study's images are read, and its models by setting, of the runs that are done so far.

    Raises:
        NothingThereError: no study was started there.
        UserError: none of its runs is done.
    """
    started = StudyFolder(folder).started()
    runs = StudyFolder(folder).runs
    found: list[tuple[RunSpec, RunFiles]] = []
    freed: list[tuple[RunSpec, RunFiles]] = []
    for spec in started.runs:
        if spec.stage == "pretrain":  # it scores nothing
            continue
        result = check_result(runs / spec.name, verify=False)
        if isinstance(result, dict) and result["status"] == "done":
            without = freed_weights(result)
            for name in result["models"]:
                (freed if name in without else found).append((spec, RunFiles(runs / spec.name, name, result)))
    if freed and not found:
        raise UserError(
            f"{folder}: no run has weights, as keep: {{last: false}} says; delete its folder runs/ and train "
            "again with keep: {last: true} in the study file"
        )
    if not found:
        raise UserError(f"{folder}: none of its {len(started.runs)} runs is done; train it with 'clr-hpc run'")
    tasks = dict.fromkeys(spec.task.name for spec in started.runs if spec.stage != "pretrain")
    if missing := [name for name in tasks if name not in {spec.task.name for spec, _ in (*found, *freed)}]:
        log.warning(
            "%s: %d of %s have no model yet: %s",
            folder,
            len(missing),
            counted(len(tasks), "task"),
            ", ".join(missing),
        )
    settings = _settings(found)
    for line in _better_without_weights(settings, _settings(freed)):
        log.warning("%s: %s", folder, line)
    return Reading.of(dict(started.pack)), settings


def _better_without_weights(kept: tuple[Ensemble, ...], freed: tuple[Ensemble, ...]) -> Iterator[str]:
    """Yield a line for each finding whose best setting on validation has no weights any more."""
    for finding in dict.fromkeys(setting.finding for setting in freed):
        best, other = (
            max((each.validation_auroc for each in group if each.finding == finding), default=float("nan"))
            for group in (freed, kept)
        )
        if best > other:
            name = next(each.title for each in freed if each.finding == finding and each.validation_auroc == best)
            yield (
                f"{finding}: {name} is better on validation (AUROC {best:.3f}) than the best with weights "
                f"({other:.3f}); its weights were freed, as the study's keep: says"
            )


def _settings(found: list[tuple[RunSpec, RunFiles]]) -> tuple[Ensemble, ...]:
    """Return one ensemble for the models that differ in their seeds alone, in the order of the first of each."""
    by_setting: dict[tuple[str, str], list[tuple[TrainedModel, RunFiles]]] = {}
    for spec, files in found:
        metrics = files.result["models"][files.model]
        model = TrainedModel(spec, spec.name, files.folder, files.model, metrics, files)
        by_setting.setdefault((spec.setting, files.model), []).append((model, files))
    return tuple(
        Ensemble(tuple(model for model, _ in group), RunBasis(tuple(of for _, of in group), group[0][0].is_binary))
        for group in by_setting.values()
    )


def _state(file: Path, expected: str | None) -> dict[str, Tensor]:
    return model_weights(load_tensors(file, expected)[0])
