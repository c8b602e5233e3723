"""Methods that say of each place of an image how anomalous it is, and so give a heat map."""

from abc import abstractmethod
from collections.abc import Iterable, Iterator
from typing import ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.functional import adaptive_avg_pool2d, interpolate

from clr_hpc.config.task import MapMethod
from clr_hpc.models.one_class.fitted import FittedModel, folds_of


class PatchDetector(FittedModel):
    """Scores an image by the distances of its patches' features from those of training images.

    Two passes over the training images: one fits, for all images and without each fold of patients; one scores
    each image without its own fold. Features of images are not kept.
    """

    fitted_buffers: ClassVar[tuple[str, ...]] = ("typical", "cross_fitted")
    typical: Tensor

    def __init__(self, backbone: nn.Module, method: MapMethod, seed: int, is_trained: bool) -> None:
        """Take a backbone and a method; see ``FittedModel``."""
        super().__init__(backbone, method.strides, seed, is_trained)
        self._grid, self._pooling, self._name = method.grid, method.pooling, method.label

    def forward(self, images: Tensor) -> Tensor:
        """Map images ``(B, 1, H, W)`` to features ``(B, C, grid, grid)`` in float32."""
        return torch.cat([_on_grid(each, self._grid) for each in self.maps(images)], dim=1)

    @abstractmethod
    def distances(self, features: Tensor, fold: int | None = None) -> Tensor:
        """Return how far the features ``(B, C, grid, grid)`` of each place lie from the class.

        Args:
            features: of ``forward``.
            fold: without the patients of this fold, while ``prepare`` runs; None: with all.

        Returns:
            ``(B, grid, grid)``.
        """

    @abstractmethod
    def fit(self, features: Iterable[tuple[Tensor, Tensor]], images: int) -> None:
        """Learn from the features ``(B, C, grid, grid)`` and folds ``(B,)`` of batches of training images."""

    def end_fit(self) -> None:
        """Forget what was fitted without each fold."""

    def scores(self, outputs: Tensor, images: Tensor) -> Tensor:  # noqa: ARG002
        """Return anomaly scores ``(B,)``.

        Raises:
            RuntimeError: there is nothing fitted.
        """
        if len(self.cross_fitted) == 0:
            raise RuntimeError("this detector is not fitted yet; call prepare or load a state")
        return self._pooled(self.distances(outputs))

    def heat(self, images: Tensor) -> Tensor:
        """Return by how much each place ``(B, grid, grid)`` is more anomalous than it is in training images."""
        return (self.distances(self(images)) - self.typical).clamp_min(0)

    @torch.no_grad()
    def prepare(self, batches: Iterable[Tensor], patients: NDArray[np.int64]) -> None:
        """Fit to the training images, and score each of them by what was fitted to other patients.

        Raises:
            ValueError: the images are of fewer than five patients.
        """
        folds = torch.from_numpy(folds_of(patients, self._name))
        self._learn_batch_statistics(batches)
        self.fit(self._features(batches, folds), len(folds))
        scores, total = [], torch.zeros(())
        for features, fold_of in self._features(batches, folds):
            found = features.new_empty(len(features), self._grid, self._grid)
            for fold in set(fold_of.tolist()):
                found[fold_of == fold] = self.distances(features[fold_of == fold], fold)
            scores.append(self._pooled(found))
            total = total.to(found.device, torch.float64) + found.sum(dim=0, dtype=torch.float64)
        self.cross_fitted, self.typical = torch.cat(scores), (total / len(folds)).float()
        self.end_fit()

    def _features(self, batches: Iterable[Tensor], folds: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
        seen = 0
        for images in batches:
            features = self(images)
            yield features, folds[seen : seen + len(images)].to(features.device)
            seen += len(images)

    def _pooled(self, distances: Tensor) -> Tensor:
        flat = distances.flatten(1)
        return flat.amax(dim=1) if self._pooling == "max" else flat.mean(dim=1)


def _on_grid(features: Tensor, grid: int) -> Tensor:
    """Bring a map ``(B, C, H, W)`` to ``(B, C, grid, grid)``: means of larger ones, smaller ones interpolated."""
    if features.shape[-1] >= grid:
        return adaptive_avg_pool2d(features, grid)
    return interpolate(features, size=(grid, grid), mode="bilinear", align_corners=False)
