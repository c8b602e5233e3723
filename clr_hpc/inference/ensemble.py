"""The models of one setting over its seeds: their mean score, how far they differ, and what it means."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np
from numpy.typing import NDArray

from clr_hpc.config.base import UserError
from clr_hpc.inference.calibration import Calibration
from clr_hpc.inference.model import TrainedModel

if TYPE_CHECKING:
    import pandas as pd


class NoScoresError(UserError):
    """What runs have recorded can't be read, so that nothing can be chosen by it."""


class Basis(Protocol):
    """What decisions of an ensemble rest on: scores that its runs have recorded, or numbers taken from them."""

    @property
    def threshold(self) -> float:
        """As ``Ensemble.threshold``."""
        ...

    @property
    def calibration(self) -> Calibration | None:
        """As ``Ensemble.calibration``."""
        ...

    @property
    def class_scores(self) -> NDArray[np.float64]:
        """Scores ``(N,)`` of the training images of the one class, ascending; empty of a classifier."""
        ...

    def known_rows(self, split: str) -> "pd.DataFrame":
        """As ``Ensemble.known_rows``."""
        ...


@dataclass(frozen=True)
class Ensemble:
    """Models that differ in their seeds alone. A single one is an ensemble too, without a spread."""

    models: tuple[TrainedModel, ...]
    basis: Basis

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
        others = len(self.models) - 1
        return f"{first} and {others} other seed{'s' if others > 1 else ''}" if others else first

    def member_scores(self, pixels: NDArray[np.uint8], device: str = "cpu") -> NDArray[np.float32]:
        """Return the score of each model and image ``(models, N)`` for pixels ``(N, S, S)`` of the pack's size."""
        return np.stack([model.scores(pixels, device) for model in self.models])

    @property
    def calibration(self) -> Calibration | None:
        """Fitted to the validation images; None for one-class models, and where one of the labels is absent."""
        return self.basis.calibration

    @property
    def threshold(self) -> float:
        """Score from which an image is called positive, or anomalous; NaN where validation can't give one.

        Of a classifier: where sensitivity plus specificity is highest on the validation images (Youden 1950). Of
        one-class models: the mean of their thresholds, each a quantile of the scores of its training images.
        """
        return self.basis.threshold

    def training_quantiles(self, scores: NDArray[np.float32]) -> NDArray[np.float64]:
        """Return which share of the training images of the one class scored lower than each score ``(N,)``."""
        known = self.basis.class_scores
        return np.searchsorted(known, scores) / max(len(known), 1)

    def known_scores(self, split: str) -> tuple[NDArray[np.float64], NDArray[np.bool_], NDArray[np.str_]]:
        """Return mean scores, labels and patients ``(N,)`` of the split's images, as the runs have recorded them.

        Raises:
            NoScoresError: as ``known_rows``.
        """
        rows = self.known_rows(split)
        return rows["score"].to_numpy(), rows["label"].to_numpy() == 1, rows["patient"].to_numpy(dtype=str)

    def known_rows(self, split: str) -> "pd.DataFrame":
        """Return the rows of ``predictions.parquet`` of a split, by image, with the mean ``score`` of the models.

        Raises:
            NoScoresError: predictions are missing or damaged, or it is of a bundle, which has none.
        """
        return self.basis.known_rows(split)
