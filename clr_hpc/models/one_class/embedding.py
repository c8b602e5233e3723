"""Classical detectors of scikit-learn on the features of a network that is trained already."""

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from clr_hpc.config.task import EmbeddingMethod, IsolationForest, NearestNeighbours, OneClassSvm
from clr_hpc.models.one_class.base import OneClassModel, learn_batch_statistics

if TYPE_CHECKING:
    from sklearn.pipeline import Pipeline

COMPONENTS = 64
"""Principal components that are kept, at most; of few images, a quarter of their number."""
FOLDS = 5
LARGEST_KERNEL_FIT = 10_000
"""Images that a one-class SVM is fitted to, at most: its cost grows with their square."""
_MODEL_BUFFERS = ("embeddings", "cross_fitted")


def without_last_layer(network: nn.Module) -> nn.Module:
    """Replace the last linear layer, so that the network gives its penultimate features ``(B, D)``."""
    name = [name for name, module in network.named_modules() if isinstance(module, nn.Linear)][-1]
    network.set_submodule(name, nn.Identity())
    return network


class EmbeddingDetector(OneClassModel):
    """Scores an image by how far its features lie from those of the training images.

    The state is the network, frozen, and the training images' features; the detector is fitted to them again when
    a state was loaded, which gives the same scores and needs no pickle.
    """

    takes_steps: ClassVar[bool] = False
    embeddings: Tensor
    cross_fitted: Tensor

    def __init__(self, backbone: nn.Module, method: EmbeddingMethod, seed: int, is_trained: bool) -> None:
        """Take a backbone, whose last layer is dropped and whose weights are kept as they are.

        Args:
            backbone: with a linear last layer.
            method: of detection.
            seed: of the trees, the images that a large fit is reduced to, and the components.
            is_trained: False: the weights are random, and batch norm has yet to learn the scale of its inputs.
        """
        super().__init__()
        self.backbone = without_last_layer(backbone).requires_grad_(False)
        self._method, self._seed, self._is_trained = method, seed, is_trained
        self._detector: Pipeline | None = None
        self.register_buffer("embeddings", torch.empty(0, 0))
        self.register_buffer("cross_fitted", torch.empty(0))
        self.eval()

    def train(self, mode: bool = True) -> "EmbeddingDetector":  # noqa: ARG002
        """Stay in evaluation mode: nothing here may change with a batch."""
        super().train(False)
        return self

    def forward(self, images: Tensor) -> Tensor:
        """Map images ``(B, 1, H, W)`` to features ``(B, D)`` in float32."""
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
        scores = _score(self._detector, outputs.cpu().numpy())
        return torch.from_numpy(scores).to(outputs.device)

    def start_from(self, weights: dict[str, Tensor]) -> None:
        """Take the backbone of a trained model, such as a binary classifier; its last layer has no part here."""
        own = self.backbone.state_dict()
        self.backbone.load_state_dict({name: weights[f"backbone.{name}"] for name in own})
        self._is_trained = True

    @torch.no_grad()
    def prepare(self, batches: Iterable[Tensor], patients: NDArray[np.int64]) -> None:
        """Fit the detector to the training images, and score each of them by one fitted to other patients.

        Raises:
            ValueError: the images are of fewer than five patients.
        """
        if not self._is_trained:
            learn_batch_statistics(self.backbone, batches)
            self.eval()
        self.embeddings = torch.cat([self(images) for images in batches])
        scores = self._cross_fitted_scores(self.embeddings.cpu().numpy(), patients)
        self.cross_fitted = torch.from_numpy(scores).to(self.embeddings.device)
        self._detector = None

    @property
    def held_out_training_scores(self) -> Tensor | None:
        """Scores ``(N,)`` by detectors fitted to other patients' images; None before ``prepare``."""
        return self.cross_fitted if len(self.cross_fitted) else None

    def _fit(self, features: NDArray[np.float32]) -> "Pipeline":
        """Fit to features ``(N, D)``: each to variance 1, then their principal components, again to variance 1."""
        from sklearn.decomposition import PCA
        from sklearn.pipeline import make_pipeline
        from sklearn.preprocessing import StandardScaler

        # of all images, so that the detectors of a cross-fit measure distances in equally many dimensions
        wanted = min(COMPONENTS, max(1, len(self.embeddings) // 4))
        components = min(wanted, len(features) - 1, features.shape[1])
        if isinstance(self._method, OneClassSvm) and len(features) > LARGEST_KERNEL_FIT:
            chosen = np.random.default_rng(self._seed).choice(len(features), LARGEST_KERNEL_FIT, replace=False)
            features = features[np.sort(chosen)]
        pipeline = make_pipeline(
            StandardScaler(),
            PCA(components, whiten=True, svd_solver="randomized", random_state=self._seed),
            _estimator(self._method, len(features), self._seed),
        )
        pipeline.fit(features)
        return pipeline

    def _cross_fitted_scores(
        self, features: NDArray[np.float32], patients: NDArray[np.int64]
    ) -> NDArray[np.float32]:
        """Score features ``(N, D)``, each by a detector that saw no image of its patient.

        A detector's scores of its own training images are too low (a nearest neighbour is the image itself), and
        so would be a threshold made of them.
        """
        from sklearn.model_selection import GroupKFold

        distinct = len(np.unique(patients))
        if distinct < FOLDS:
            raise ValueError(
                f"{len(patients)} training images of {distinct} patients: {self._method.name} needs images of "
                f"{FOLDS} patients or more; pack more images or leave this class out"
            )
        scores = np.empty(len(features), np.float32)
        for others, held_out in GroupKFold(FOLDS).split(features, groups=patients):
            scores[held_out] = _score(self._fit(features[others]), features[held_out])
        return scores

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *args: Any) -> None:
        """Make room for as many features as the state has, and forget the old fit."""
        self._detector = None
        for name in _MODEL_BUFFERS:
            if prefix + name in state_dict:
                setattr(self, name, torch.empty_like(state_dict[prefix + name], device=getattr(self, name).device))
        super()._load_from_state_dict(state_dict, prefix, *args)


def _estimator(method: EmbeddingMethod, images: int, seed: int) -> Any:
    from sklearn import ensemble, neighbors, svm

    match method:
        case OneClassSvm():
            return svm.OneClassSVM(nu=method.nu, gamma=method.gamma)
        case IsolationForest():
            return ensemble.IsolationForest(n_estimators=method.trees, random_state=seed)
        case NearestNeighbours():
            return neighbors.NearestNeighbors(n_neighbors=min(method.neighbours, images))


def _score(pipeline: "Pipeline", features: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return anomaly scores ``(B,)`` of features ``(B, D)``."""
    reduced, estimator = pipeline[:-1].transform(features), pipeline[-1]
    if hasattr(estimator, "kneighbors"):
        return np.asarray(estimator.kneighbors(reduced)[0].mean(axis=1), dtype=np.float32)
    outlyingness: NDArray[np.float64] = -estimator.score_samples(reduced)
    if hasattr(estimator, "dual_coef_"):
        # the weights add up to nu · N; a mean kernel value can be compared between fits to more and fewer images
        outlyingness /= estimator.dual_coef_.sum()
    return outlyingness.astype(np.float32)
