"""Detectors on one row of features per image, of a network that is trained already."""

from collections.abc import Iterable
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from clr_hpc.config.task import EmbeddingMethod
from clr_hpc.models.one_class import detectors
from clr_hpc.models.one_class.fitted import FOLDS, FittedModel, folds_of


class EmbeddingDetector(FittedModel):
    """Scores an image by how far its features lie from those of the training images.

    The state is the network, frozen, and the training images' features; the detector is fitted to them again when
    a state was loaded, which gives the same scores and needs no pickle.
    """

    fitted_buffers: ClassVar[tuple[str, ...]] = ("embeddings", "cross_fitted")
    embeddings: Tensor

    def __init__(self, backbone: nn.Module, method: EmbeddingMethod, seed: int, is_trained: bool) -> None:
        """Take a backbone and a method of detection; see ``FittedModel``."""
        super().__init__(backbone, method.strides, seed, is_trained)
        self._method = method
        self._detector: Any = None

    def forward(self, images: Tensor) -> Tensor:
        """Map images ``(B, 1, H, W)`` to features ``(B, D)`` in float32."""
        if self._layers is not None:
            return torch.cat([each.mean(dim=(2, 3)) for each in self.maps(images)], dim=1)
        features: Tensor = self.backbone(images)
        return features.float()

    def scores(self, outputs: Tensor, images: Tensor) -> Tensor:  # noqa: ARG002
        """Return anomaly scores ``(B,)``.

        Raises:
            RuntimeError: there is nothing fitted.
        """
        if self._detector is None:
            if len(self.embeddings) == 0:
                raise RuntimeError("this detector has no training features yet; call prepare or load a state")
            self._detector = self._fit(self.embeddings.cpu().numpy())
        scores = detectors.score(self._detector, outputs.cpu().numpy())
        return torch.from_numpy(scores).to(outputs.device)

    @torch.no_grad()
    def prepare(self, batches: Iterable[Tensor], patients: NDArray[np.int64]) -> None:
        """Fit the detector to the training images, and score each of them by one fitted to other patients.

        Raises:
            ValueError: the images are of fewer than five patients.
        """
        folds = folds_of(patients, self._method.label)
        self._learn_batch_statistics(batches)
        self.embeddings = torch.cat([self(images) for images in batches])
        features = self.embeddings.cpu().numpy()
        scores = np.empty(len(features), np.float32)
        for fold in range(FOLDS):
            held_out = folds == fold
            scores[held_out] = detectors.score(self._fit(features[~held_out]), features[held_out])
        self.cross_fitted = torch.from_numpy(scores).to(self.embeddings.device)
        self._detector = None

    def _fit(self, features: NDArray[np.float32]) -> Any:
        return detectors.fit(self._method, features, len(self.embeddings), self._seed)

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *args: Any) -> None:
        """Forget the old fit, too."""
        self._detector = None
        super()._load_from_state_dict(state_dict, prefix, *args)
