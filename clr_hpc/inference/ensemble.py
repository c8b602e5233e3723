"""The models of one setting over its seeds: their mean score, how far they differ, and what it means."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from clr_hpc.config.base import UserError
from clr_hpc.inference.calibration import Calibration, fit, youden_threshold
from clr_hpc.inference.model import TrainedModel
from clr_hpc.store import layout
from clr_hpc.store.predictions import read_predictions
from clr_hpc.store.records import Damaged


class NoScoresError(UserError):
    """A run's predictions can't be read, so that nothing can be chosen by them."""


@dataclass(frozen=True)
class Ensemble:
    """Models that differ in their seeds alone. A single one is an ensemble too, without a spread."""

    models: tuple[TrainedModel, ...]

    @property
    def finding(self) -> str:
        """What they score."""
        return self.models[0].finding

    @property
    def is_binary(self) -> bool:
        """Whether their scores are probabilities."""
        return self.models[0].is_binary

    @property
    def validation_auroc(self) -> float:
        """Mean over the seeds; NaN where one has none."""
        return float(np.mean([model.validation_auroc for model in self.models]))

    @property
    def title(self) -> str:
        """The first model's name, and how many seeds stand behind it."""
        first = self.models[0].title
        return first if len(self.models) == 1 else f"{first} and {len(self.models) - 1} other seeds"

    def member_scores(self, pixels: NDArray[np.uint8], device: str = "cpu") -> NDArray[np.float32]:
        """Return the score of each model and image ``(models, N)`` for pixels ``(N, S, S)`` of the pack's size."""
        return np.stack([model.scores(pixels, device) for model in self.models])

    @cached_property
    def calibration(self) -> Calibration | None:
        """Fitted to the validation images; None for one-class models, and where one of the labels is absent."""
        return fit(*self._validation) if self.is_binary else None

    @cached_property
    def threshold(self) -> float:
        """Score from which an image is called positive, or anomalous; NaN where validation can't give one.

        Of a classifier: where sensitivity plus specificity is highest on the validation images (Youden 1950). Of
        one-class models: the mean of their thresholds, each a quantile of the scores of its training images.
        """
        if self.is_binary:
            scores, labels, _ = self._validation
            return youden_threshold(scores, labels)
        own = [model.metrics.get("threshold") for model in self.models]
        return float(np.mean([np.nan if value is None else value for value in own]))

    def training_quantiles(self, scores: NDArray[np.float32]) -> NDArray[np.float64]:
        """Return which share of the training images of the one class scored lower than each score ``(N,)``."""
        return np.searchsorted(self._scores_of_class, scores) / max(len(self._scores_of_class), 1)

    @cached_property
    def _scores_of_class(self) -> NDArray[np.float64]:
        """Scores of the training images of the one class, ascending."""
        known, labels, _ = self.known_scores("train")
        return np.sort(known[~labels])

    @cached_property
    def _validation(self) -> tuple[NDArray[np.float64], NDArray[np.bool_], NDArray[np.str_]]:
        return self.known_scores("validation")

    def known_scores(self, split: str) -> tuple[NDArray[np.float64], NDArray[np.bool_], NDArray[np.str_]]:
        """Return mean scores, labels and patients ``(N,)`` of the split's images, as the runs have recorded them.

        Raises:
            NoScoresError: predictions are missing or damaged.
        """
        tables = [_recorded(model, split) for model in self.models]
        scores = np.mean([table[0] for table in tables], axis=0)
        return scores, tables[0][1], tables[0][2]


def _recorded(model: TrainedModel, split: str) -> tuple[NDArray[np.float64], NDArray[np.bool_], NDArray[np.str_]]:
    table = read_predictions(model.folder, model.result.get("files", {}).get(layout.PREDICTIONS))
    if table is None or isinstance(table, Damaged):
        reason = f"{model.folder / layout.PREDICTIONS} does not exist" if table is None else str(table)
        raise NoScoresError(f"{reason}; without it neither threshold nor calibration of {model.title} is known")
    rows = table.to_pandas()
    rows = rows[(rows["split"] == split) & (rows["model"] == model.name)].sort_values("image")
    return (
        rows["score"].to_numpy(np.float64),
        rows["label"].to_numpy() == 1,
        rows["patient"].to_numpy(dtype=str),
    )


def ensembles(models: Sequence[TrainedModel]) -> list[Ensemble]:
    """Return one ensemble for the models that differ in their seeds alone, in the order of the first of each."""
    by_setting: dict[tuple[str, str], list[TrainedModel]] = {}
    for model in models:
        by_setting.setdefault((_without_seed(model), model.name), []).append(model)
    return [Ensemble(tuple(group)) for group in by_setting.values()]


def _without_seed(model: TrainedModel) -> str:
    spec = model.spec.model_copy(update={"seed": 0})
    if spec.start is not None:
        baseline = spec.start.baseline.model_copy(update={"seed": 0})
        spec = spec.model_copy(update={"start": spec.start.model_copy(update={"baseline": baseline})})
    return spec.run_id
