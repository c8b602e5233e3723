"""PaDiM: a normal distribution of features at each place (Defard et al. 2021, arXiv:2011.08785)."""

from collections.abc import Iterable
from typing import ClassVar

import torch
from torch import Tensor, nn

from clr_hpc.config.task import Padim
from clr_hpc.models.one_class.fitted import FOLDS
from clr_hpc.models.one_class.patches import PatchDetector

REGULARISATION = 0.01
"""Of the mean variance, added to each variance. The authors add 0.01 itself, which suits one scale of features."""


class PadimModel(PatchDetector):
    """Mahalanobis distance of each place's features from those of the training images at the same place.

    Means and covariances are sums over images, kept for each fold, so that memory does not grow with images:
    6 · grid² · dimensions² numbers in float64.
    """

    fitted_buffers: ClassVar[tuple[str, ...]] = (*PatchDetector.fitted_buffers, "mean", "whitening")
    channels: Tensor
    mean: Tensor
    """``(places, D)``"""
    whitening: Tensor
    """``(places, D, D)``: the inverse of the covariance's Cholesky factor."""

    def __init__(self, backbone: nn.Module, method: Padim, seed: int, is_trained: bool) -> None:
        """Take a backbone, and draw the channels that are looked at."""
        super().__init__(backbone, method, seed, is_trained)
        drawn = torch.randperm(self.channels_of_maps, generator=torch.Generator().manual_seed(seed))
        self.register_buffer("channels", drawn[: method.dimensions].sort().values)
        self._without: list[tuple[Tensor, Tensor]] = []

    def distances(self, features: Tensor, fold: int | None = None) -> Tensor:
        """Return Mahalanobis distances ``(B, grid, grid)`` of features ``(B, C, grid, grid)``."""
        mean, whitening = (self.mean, self.whitening) if fold is None else self._without[fold]
        apart = self._by_place(features) - mean[:, None]
        lengths: Tensor = torch.linalg.vector_norm(apart @ whitening.mT, dim=2)
        return lengths.T.reshape(-1, self._grid, self._grid)

    def fit(self, features: Iterable[tuple[Tensor, Tensor]], images: int) -> None:  # noqa: ARG002
        """Sum up features and their products at each place and fold."""
        sums = products = counts = torch.zeros(0)
        for batch, folds in features:
            rows = self._by_place(batch).double()  # (places, B, D)
            if not len(sums):
                places, dimensions = rows.shape[0], rows.shape[2]
                sums = rows.new_zeros(FOLDS, places, dimensions)
                products = rows.new_zeros(FOLDS, places, dimensions, dimensions)
                counts = rows.new_zeros(FOLDS)
            for fold in set(folds.tolist()):
                of_fold = rows[:, folds == fold]
                counts[fold] += of_fold.shape[1]
                sums[fold] += of_fold.sum(dim=1)
                products[fold] += of_fold.mT @ of_fold
        all_of_it = counts.sum(), sums.sum(dim=0), products.sum(dim=0)
        self.mean, self.whitening = _normal(*all_of_it)
        self._without = [
            _normal(*(total - part for total, part in zip(all_of_it, of_fold, strict=True)))
            for of_fold in zip(counts, sums, products, strict=True)
        ]

    def end_fit(self) -> None:
        """Forget what was fitted without each fold."""
        self._without = []

    def _by_place(self, features: Tensor) -> Tensor:
        """Return the drawn channels as ``(places, B, D)``."""
        return features[:, self.channels].flatten(2).permute(2, 0, 1)


def _normal(count: Tensor, sums: Tensor, products: Tensor) -> tuple[Tensor, Tensor]:
    """Return the means ``(places, D)`` and the whitening ``(places, D, D)`` of sums over ``count`` images."""
    mean = sums / count
    covariance = (products - count * mean[:, :, None] * mean[:, None, :]) / (count - 1)
    diagonal = covariance.diagonal(dim1=1, dim2=2)
    diagonal += REGULARISATION * diagonal.mean().clamp_min(torch.finfo(torch.float32).tiny)
    factor = torch.linalg.cholesky(covariance)
    unit = torch.eye(factor.shape[-1], dtype=factor.dtype, device=factor.device).expand_as(factor)
    return mean.float(), torch.linalg.solve_triangular(factor, unit, upper=False).float().contiguous()
