"""A model of a run as it was trained, which scores images."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from clr_hpc.config.base import UserError
from clr_hpc.config.run import Initialisation, RunSpec
from clr_hpc.config.task import BinaryTask
from clr_hpc.data.augment import prepare
from clr_hpc.models.build import build_model
from clr_hpc.models.task_model import TaskModel
from clr_hpc.store.results import ModelMetrics
from clr_hpc.training.trainer import EVALUATION_BATCH, EVALUATION_BATCH_ON_GPU


class NoWeightsError(UserError):
    """The weights of a run that is done can't be used; the message names the file."""


class Weights(Protocol):
    """Where a model's weights lie: in a run's folder, or in a bundle."""

    def states(self) -> Iterator[dict[str, Tensor]]:
        """Yield the ``state_dict`` of each network of the model, their checksums compared.

        Raises:
            NoWeightsError: they are missing or damaged.
        """
        ...


@dataclass(frozen=True)
class TrainedModel:
    """One model of a run that is done. Its weights are read, and their checksums compared, when they are used."""

    spec: RunSpec
    run: str
    """Name of its run."""
    folder: Path
    """Of the run, or the bundle that it is in."""
    name: str
    """``last``: the weights of the last step; ``swa``: the averaged ones; ``snapshots``: the ensemble of those at
    the ends of cycles."""
    metrics: ModelMetrics
    """What its run measured of it, by split."""
    weights: Weights

    @property
    def finding(self) -> str:
        """What it scores: a finding, or a class and how it was learned, such as ``no_finding-deep_svdd``."""
        return self.spec.task.name

    @property
    def is_binary(self) -> bool:
        """Whether its scores are probabilities; those of one-class models are not."""
        return isinstance(self.spec.task, BinaryTask)

    @property
    def validation_auroc(self) -> float:
        """AUROC on the validation split; NaN where it isn't defined."""
        value = self.metrics["validation"]["auroc"]
        return float("nan") if value is None else value

    @property
    def title(self) -> str:
        """Name of its run and, where that has several models, its own."""
        return title_of(self.run, self.name)

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
        members = [self._scores_of(model, pixels, torch.device(device)) for model in self.members]
        mean: NDArray[np.float32] = np.stack(members).mean(axis=0)
        return mean

    @cached_property
    def members(self) -> list[TaskModel]:
        """Its networks in evaluation mode: several of ``snapshots``, else one. Their mean score is the model's.

        Raises:
            NoWeightsError: the weights are missing or damaged.
        """
        return [_built(self.spec, state) for state in self.weights.states()]

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


def title_of(run: str, name: str) -> str:
    """Return what people read of a model: the name of its run and, where that has several models, its own."""
    return run if name == "last" else f"{run} ({name})"


def _built(spec: RunSpec, weights: dict[str, Tensor]) -> TaskModel:
    """Return the model of a run with these weights, in evaluation mode."""
    # whatever the run began with is overwritten
    model = build_model(spec.task, spec.architecture, Initialisation(), spec.seed)
    model.load_state_dict(weights)
    return model.to(memory_format=torch.channels_last).eval()
