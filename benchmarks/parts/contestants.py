"""One-class methods as the benchmark compares them: their settings, their fits, their measures."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from clr_hpc.config import task
from clr_hpc.models.one_class.base import threshold
from clr_hpc.models.one_class.embedding import EmbeddingDetector
from clr_hpc.models.one_class.fitted import FittedModel
from clr_hpc.models.one_class.padim import PadimModel
from clr_hpc.models.one_class.patchcore import PatchcoreModel
from clr_hpc.models.one_class.patches import PatchDetector
from clr_hpc.reporting.read.predictions import Scores
from clr_hpc.reporting.stats.bootstrap import Sampled, patient_draws
from clr_hpc.reporting.stats.floors import difference
from clr_hpc.reporting.stats.run.parts import sampled_auroc
from parts.remembered import Remembered, numbers_as_images

STRIDES = (4, 8, 16)
DRAWS, QUANTILE, BATCH = 1000, 0.95, 256
FITTED: dict[str, task.OneClassMethod] = {
    "one-class SVM, last layer": task.OneClassSvm(),
    "isolation forest, last layer": task.IsolationForest(),
    "nearest neighbours, last layer": task.NearestNeighbours(),
    "one-class SVM, maps": task.OneClassSvm(strides=STRIDES),
    "isolation forest, maps": task.IsolationForest(strides=STRIDES),
    "nearest neighbours, maps": task.NearestNeighbours(strides=STRIDES),
    "Mahalanobis, maps": task.Mahalanobis(strides=STRIDES),
    "pyod/ECOD, maps": task.PyodDetector(detector="ECOD", strides=STRIDES),
    "PaDiM": task.Padim(),
    "PaDiM, strides 4 and 8": task.Padim(strides=(4, 8)),
    "PatchCore": task.Patchcore(),
}


@dataclass(frozen=True)
class Films:
    """What is known of films, by number."""

    anomalous: NDArray[np.bool_]
    patients: NDArray[np.int64]
    findings: dict[str, NDArray[np.bool_]]


@dataclass(frozen=True)
class Answer:
    """What a fitted method says of some films."""

    scores: NDArray[np.float32]
    """Of all films, NaN where they were not scored."""
    threshold: float
    relative: NDArray[np.float64]
    """Scores in standard deviations of the training films' held-out scores, so that folds can be put together."""


def fitted(
    method: task.OneClassMethod,
    network: Remembered,
    films: Films,
    normal: NDArray[np.int64],
    scored: NDArray[np.int64],
    seed: int,
) -> dict[str, Answer]:
    """Fit a method to the films ``normal``, and score the films ``scored``; the others have a score of NaN.

    Returns:
        By what is added to the method's name: of methods with maps the largest and the mean distance, which share
        one fit; of others one answer.
    """
    model: FittedModel
    network = Remembered(network.known, network.inputs)  # a model takes its last layer away
    names = [""]
    match method:
        case task.Padim():
            model = PadimModel(network, method, seed, is_trained=True)
        case task.Patchcore():
            model = PatchcoreModel(network, method, seed, is_trained=True)
        case _:
            model = EmbeddingDetector(network, method, seed, is_trained=True)
    if isinstance(model, PatchDetector):
        names = [", max", ", mean"]
        model._pooled = _max_and_mean  # type: ignore[method-assign]
    model.prepare(_Numbers(normal), films.patients[normal])
    with torch.no_grad():
        parts = [model.scores(model(images), images) for images in _Numbers(scored)]
    held_out = model.held_out_training_scores
    assert held_out is not None
    scores = np.full((len(films.anomalous), len(names)), np.nan, np.float32)
    scores[scored] = torch.cat(parts).reshape(-1, len(names)).numpy()
    of_training = held_out.reshape(-1, len(names)).numpy()
    return {name: answer(scores[:, place], of_training[:, place]) for place, name in enumerate(names)}


def _max_and_mean(distances: Tensor) -> Tensor:
    flat = distances.flatten(1)
    return torch.stack([flat.amax(dim=1), flat.mean(dim=1)], dim=1)


def answer(scores: NDArray[np.float32], training: NDArray[np.float32]) -> Answer:
    """Put scores and those of the training films together."""
    return Answer(scores, threshold(training, QUANTILE), (scores - training.mean()) / training.std())


@dataclass(frozen=True)
class _Numbers:
    rows: NDArray[np.int64]

    def __iter__(self) -> Iterator[Tensor]:
        for first in range(0, len(self.rows), BATCH):
            yield numbers_as_images(torch.from_numpy(self.rows[first : first + BATCH]))


class Judge:
    """Measures scores on some films, all on the same draws of patients."""

    def __init__(self, films: Films, rows: NDArray[np.int64]) -> None:
        self.films, self.rows = films, rows
        self.patients = np.unique(films.patients[rows], return_inverse=True)[1].astype(np.int32)
        self.draws = patient_draws(int(self.patients.max()) + 1, DRAWS, np.random.default_rng(0))

    def auroc(self, by_seed: list[NDArray[np.floating]], finding: str | None = None) -> Sampled:
        """Return the mean AUROC over seeds, of scores of all films; of one finding against none, where given."""
        anomalous = self.films.anomalous[self.rows]
        kept = (
            np.ones(len(self.rows), bool)
            if finding is None
            else ~anomalous | self.films.findings[finding][self.rows]
        )
        numbers = np.arange(len(self.rows), dtype=np.int32)
        return Sampled.over_seeds(
            [
                sampled_auroc(
                    Scores(numbers, self.patients, anomalous, scores[self.rows].astype(np.float64)).among(kept),
                    self.draws,
                )
                for scores in by_seed
            ]
        )

    def false_positives(self, answers: list[Answer]) -> float:
        """Return the mean share of films of the class that lie above the threshold."""
        normal = self.rows[~self.films.anomalous[self.rows]]
        return float(np.mean([(each.scores[normal] >= each.threshold).mean() for each in answers]))


def against(found: Sampled, floors: list[Sampled]) -> str:
    """Say whether a method lies above all floors: ``yes``, or the smallest difference."""
    lows = [difference(found, floor).low for floor in floors]
    return "yes" if min(lows) > 0 else "no"


def bounded(found: Sampled) -> str:
    """Write an AUROC and its interval."""
    interval = found.interval
    return f"{found.value:.3f}" + ("" if interval is None else f" ({interval.low:.3f} to {interval.high:.3f})")
