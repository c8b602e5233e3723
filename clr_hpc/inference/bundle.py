"""Trained models of a bundle, which needs no study: ``clr_hpc.store.bundle`` is its format."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.torch import load
from torch import Tensor

from clr_hpc.config.base import UserError
from clr_hpc.inference.calibration import Calibration
from clr_hpc.inference.ensemble import Ensemble, NoScoresError
from clr_hpc.inference.images import Reading
from clr_hpc.inference.model import NoWeightsError, TrainedModel
from clr_hpc.store import layout
from clr_hpc.store.bundle import BundledModel, BundledSetting, BundleFiles, read_bundle
from clr_hpc.store.records import Damaged, required
from clr_hpc.store.results import FileState

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class BundledWeights:
    """A model's weights in a bundle."""

    bundle: BundleFiles
    files: Mapping[str, FileState]
    """By name, in the order of the networks."""

    def states(self) -> Iterator[dict[str, Tensor]]:
        """Yield the ``state_dict`` of each network of the model.

        Raises:
            NoWeightsError: they are missing or damaged.
        """
        for name, state in self.files.items():
            yield _tensors(self.bundle, name, state)


@dataclass(frozen=True)
class BundledBasis:
    """What a bundle has of the scores that a study has recorded; the ``Basis`` of an ensemble."""

    bundle: BundleFiles
    setting: BundledSetting
    files: Mapping[str, FileState]

    @property
    def threshold(self) -> float:
        """As the study had it; NaN without one."""
        found = self.setting["threshold"]
        return float("nan") if found is None else found

    @cached_property
    def calibration(self) -> Calibration | None:
        """As the study had it."""
        found = self.setting["calibration"]
        if found is None:
            return None
        return Calibration(found["method"], np.array(found["at"]), np.array(found["values"]))

    @cached_property
    def class_scores(self) -> NDArray[np.float64]:
        """Scores of the training images of the one class, ascending; empty of a classifier."""
        name = self.setting["class_scores"]
        if name is None:
            return np.empty(0)
        scores: NDArray[np.float64] = _tensors(self.bundle, name, self.files[name])["scores"].double().numpy()
        return scores

    def known_rows(self, split: str) -> "pd.DataFrame":
        """Raise a ``NoScoresError``: rows are in the study's folder alone."""
        raise NoScoresError(
            f"{self.bundle.path} is a bundle, which has no scores of {split} images; name the study's folder"
        )


def settings_of_bundle(path: Path) -> tuple[Reading, tuple[Ensemble, ...]]:
    """Return how a bundle's images are read, and its models.

    Raises:
        UserError: there is no bundle.
        DamagedError: its manifest is damaged.
    """
    record = required(read_bundle(path))
    if record is None:
        reason = f"it has no {layout.BUNDLE}" if path.exists() else "there is no such file"
        raise UserError(f"{path}: no bundle, {reason}; 'clr-hpc export --format bundle' makes one")
    bundle, reading = BundleFiles(path), record["reading"]
    settings = [
        Ensemble(
            tuple(_model(model, bundle, record["files"]) for model in setting["models"]),
            BundledBasis(bundle, setting, record["files"]),
        )
        for setting in record["settings"]
    ]
    return Reading(reading["size"], reading["bits"], reading["window"]), tuple(settings)


def _model(record: BundledModel, bundle: BundleFiles, files: Mapping[str, FileState]) -> TrainedModel:
    weights = BundledWeights(bundle, {name: files[name] for name in record["weights"]})
    return TrainedModel(record["spec"], record["run"], bundle.path, record["name"], record["metrics"], weights)


def _tensors(bundle: BundleFiles, name: str, state: FileState) -> dict[str, Tensor]:
    data = bundle.read(name, state)
    if data is None or isinstance(data, Damaged):
        raise NoWeightsError(
            f"{bundle.path / name} is missing; copy the bundle again" if data is None else str(data)
        )
    try:
        return load(data)
    except SafetensorError as error:
        raise NoWeightsError(f"{bundle.path / name}: it is not a file of tensors: {error}") from error
