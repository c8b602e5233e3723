"""A model of a run as it was trained, which scores images."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from clr_hpc.config.base import UserError
from clr_hpc.config.run import Initialisation, RunSpec
from clr_hpc.config.task import BinaryTask
from clr_hpc.data.augment import prepare
from clr_hpc.models.backbones import build_backbone
from clr_hpc.models.one_class.build import build_one_class
from clr_hpc.models.task_model import BinaryClassifier, TaskModel
from clr_hpc.store import layout
from clr_hpc.store.checkpoints import tensor_files
from clr_hpc.store.results import DoneResult, ModelMetrics
from clr_hpc.training.checkpoint import DamagedCheckpointError, Snapshots, load_tensors, model_weights
from clr_hpc.training.trainer import EVALUATION_BATCH, EVALUATION_BATCH_ON_GPU


class NoWeightsError(UserError):
    """The weights of a run that is done can't be used; the message names the file."""


@dataclass(frozen=True)
class TrainedModel:
    """One model of a run that is done. Its weights are read, and their checksums compared, when they are used."""

    spec: RunSpec
    folder: Path
    name: str
    """``last``: the weights of the last step; ``swa``: the averaged ones; ``snapshots``: the ensemble of those at
    the ends of cycles."""
    result: DoneResult

    @property
    def finding(self) -> str:
        """What it scores: a finding, or a class and how it was learned, such as ``no_finding-deep_svdd``."""
        return self.spec.task.name

    @property
    def is_binary(self) -> bool:
        """Whether its scores are probabilities; those of one-class models are not."""
        return isinstance(self.spec.task, BinaryTask)

    @property
    def metrics(self) -> ModelMetrics:
        """What its run measured of it, by split."""
        return self.result["models"][self.name]

    @property
    def validation_auroc(self) -> float:
        """AUROC on the validation split; NaN where it isn't defined."""
        value = self.metrics["validation"]["auroc"]
        return float("nan") if value is None else value

    @property
    def title(self) -> str:
        """Name of its run and, where that has several models, its own."""
        return self.spec.name if self.name == "last" else f"{self.spec.name} ({self.name})"

    def scores(self, pixels: NDArray[np.uint8], device: str = "cpu") -> NDArray[np.float32]:
        """Score images, as the run did for ``predictions.parquet``.

        Args:
            pixels: ``(N, S, S)`` of the size of the study's pack.
            device: ``cpu``, ``cuda``, ``cuda:1`` ...

        Returns:
            ``(N,)``; higher speaks for the finding, or for an image outside the one class.

        Raises:
            NoWeightsError: they are missing or damaged.
        """
        members = [self._scores_of(model, pixels, torch.device(device)) for model in self._members]
        mean: NDArray[np.float32] = np.stack(members).mean(axis=0)
        return mean

    @cached_property
    def _members(self) -> list[TaskModel]:
        return [_built(self.spec, weights) for weights in self._weights()]

    def _weights(self) -> Iterator[dict[str, Tensor]]:
        if self.name == "snapshots":
            try:
                yield from Snapshots(self.folder / layout.SNAPSHOTS).weights().values()
            except DamagedCheckpointError as error:
                raise NoWeightsError(f"{self.title}: {error}") from error
            return
        if self.name == "swa":
            file, expected = self.folder / layout.SWA, _checksum(self.result, layout.SWA)
        else:
            file, expected = _last_checkpoint(self.folder, self.result), self.result.get("checkpoint_sha256")
        yield model_weights(_tensors(file, expected))

    @torch.inference_mode()
    def _scores_of(self, model: TaskModel, pixels: NDArray[np.uint8], device: torch.device) -> NDArray[np.float32]:
        training = self.spec.training
        model.to(device).eval()
        autocast = partial(torch.autocast, device.type, dtype=torch.bfloat16)
        batch = EVALUATION_BATCH if device.type == "cpu" else EVALUATION_BATCH_ON_GPU
        scored: list[Tensor] = []
        with autocast(enabled=training.precision == "bfloat16"):
            for first in range(0, len(pixels), batch):
                chosen = torch.from_numpy(pixels[first : first + batch]).to(device)
                images = prepare(chosen, training.image_size, training.normalisation)
                images = images.contiguous(memory_format=torch.channels_last)
                scored.append(model.scores(model(images), images).float().cpu())
        return torch.cat(scored).numpy() if scored else np.empty(0, np.float32)


def _tensors(file: Path, expected: str | None) -> dict[str, Tensor]:
    try:
        return load_tensors(file, expected)[0]
    except DamagedCheckpointError as error:
        raise NoWeightsError(str(error)) from error


def _built(spec: RunSpec, weights: dict[str, Tensor]) -> TaskModel:
    """Return the model of a run with these weights, in evaluation mode."""
    own_weights = Initialisation()  # whatever the run began with is overwritten
    model: TaskModel
    if isinstance(spec.task, BinaryTask):
        model = BinaryClassifier(build_backbone(spec.architecture, 1, own_weights, spec.seed))
    else:
        model = build_one_class(spec.task, spec.architecture, own_weights, spec.seed)
    model.load_state_dict(weights)
    return model.to(memory_format=torch.channels_last).eval()


def _last_checkpoint(folder: Path, result: DoneResult) -> Path:
    """Return the file of the weights after the last step, of which a run that is done keeps no other."""
    named = folder / layout.CHECKPOINTS / layout.tensors_name(result["samples"])
    files = tensor_files(folder / layout.CHECKPOINTS)
    return named if named.exists() or not files else files[-1]


def _checksum(result: DoneResult, name: str) -> str | None:
    state = result.get("files", {}).get(name)
    return None if state is None else state["sha256"]
