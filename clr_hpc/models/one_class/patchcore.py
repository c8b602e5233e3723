"""A bank of patch features, after PatchCore (Roth et al. 2022, arXiv:2106.08265).

Otherwise than there, channels are brought to variance 1, and a score is the distance alone, without their weight
of the neighbourhood (equation 7).
"""

from collections.abc import Iterable
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d

from clr_hpc.config.task import Patchcore
from clr_hpc.models.one_class.fitted import FOLDS
from clr_hpc.models.one_class.patches import PatchDetector

CANDIDATES = 20_000
"""Patches that a bank is chosen from, about; drawn from all images alike."""
PROJECTED = 64
"""Dimensions in which the coreset is chosen, by random projection as the authors do (Johnson & Lindenstrauss)."""
LARGEST_BLOCK = 16_000_000
"""Distances that are held at a time."""


class PatchcoreModel(PatchDetector):
    """Distance of each place's features from the nearest patch of a bank, wherever in an image that lay."""

    fitted_buffers: ClassVar[tuple[str, ...]] = (*PatchDetector.fitted_buffers, "centre", "scale", "bank")
    centre: Tensor
    scale: Tensor
    """``(C,)`` mean and standard deviation of the candidates' channels."""
    bank: Tensor
    """``(patches, C)``, standardised."""

    def __init__(self, backbone: nn.Module, method: Patchcore, seed: int, is_trained: bool) -> None:
        """Take a backbone and a method; see ``FittedModel``."""
        super().__init__(backbone, method, seed, is_trained)
        self._largest = method.bank
        self._without: list[Tensor] = []

    def maps(self, images: Tensor) -> list[Tensor]:
        """Return the feature maps, each place as the mean of its 3 × 3 neighbourhood."""
        return [avg_pool2d(each, 3, 1, 1, count_include_pad=False) for each in super().maps(images)]

    def distances(self, features: Tensor, fold: int | None = None) -> Tensor:
        """Return distances ``(B, grid, grid)`` from the nearest patch, of features ``(B, C, grid, grid)``."""
        bank = self.bank if fold is None else self._without[fold]
        patches = (_as_patches(features) - self.centre) / self.scale
        rows = max(1, LARGEST_BLOCK // len(bank))
        nearest = [torch.cdist(part, bank).amin(dim=1) for part in torch.split(patches, rows)]
        return torch.cat(nearest).reshape(-1, self._grid, self._grid)

    def fit(self, features: Iterable[tuple[Tensor, Tensor]], images: int) -> None:
        """Draw candidates from each image, and choose a bank from all of them and from those without each fold."""
        generator = torch.Generator().manual_seed(self._seed)
        places = self._grid**2
        each = min(places, -(-CANDIDATES // images))
        # one block from the start: kept parts of each batch would hold the memory of all batches between them
        found, of_fold, seen = torch.empty(0), torch.empty(0), 0
        for batch, fold_of in features:
            if not seen:
                found = batch.new_empty(images * each, batch.shape[1])
                of_fold = fold_of.new_empty(images * each)
            drawn = torch.rand(len(batch), places, generator=generator).argsort(dim=1)[:, :each].to(batch.device)
            rows = batch.flatten(2).mT
            added = slice(seen, seen := seen + len(batch) * each)
            found[added] = rows.gather(1, drawn[:, :, None].expand(-1, -1, rows.shape[2])).flatten(0, 1)
            of_fold[added] = fold_of.repeat_interleave(each)
        self.scale, self.centre = torch.std_mean(found, dim=0)
        self.scale = self.scale.clamp_min(1e-6 * float(self.scale.max()) + torch.finfo(torch.float32).tiny)
        found = (found - self.centre) / self.scale
        self.bank = self._coreset(found)
        self._without = [self._coreset(found[of_fold != fold]) for fold in range(FOLDS)]

    def end_fit(self) -> None:
        """Forget what was fitted without each fold."""
        self._without = []

    def _coreset(self, patches: Tensor) -> Tensor:
        """Return at most ``bank`` of patches ``(N, C)``: greedily, each time the one that is farthest from all.

        That is within a factor of two of the smallest possible largest distance (Gonzalez 1985,
        doi:10.1016/0304-3975(85)90224-5), but for the projection.
        """
        if len(patches) <= self._largest:
            return patches
        generator = torch.Generator().manual_seed(self._seed)
        matrix = torch.randn(patches.shape[1], min(PROJECTED, patches.shape[1]), generator=generator)
        projected = patches @ matrix.to(patches.device)
        chosen = torch.empty(self._largest, dtype=torch.int64, device=patches.device)
        farthest = torch.zeros((), dtype=torch.int64, device=patches.device)
        squares = projected.square().sum(dim=1)
        nearest = projected.new_full((len(patches),), torch.inf)
        for number in range(self._largest):
            chosen[number] = farthest
            # less |x|², which is added once: a product is several times faster than differences
            nearest = torch.minimum(nearest, squares[farthest] - 2 * (projected @ projected[farthest]))
            farthest = (nearest + squares).argmax()
        return patches[chosen]


def _as_patches(features: Tensor) -> Tensor:
    """Return features ``(B, C, grid, grid)`` as ``(B · places, C)``."""
    return features.flatten(2).mT.flatten(0, 1)
