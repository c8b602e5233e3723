"""What the training loop knows of a model, whatever its task."""

import math
from abc import ABC, abstractmethod
from collections.abc import Iterable
from typing import ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits


class TaskModel(nn.Module, ABC):
    """A network with the loss and the score of its task. All that it learns is in its ``state_dict``."""

    takes_steps: ClassVar[bool] = True
    """False: ``prepare`` alone trains it, and the loop takes no step."""
    fits_scores: bool = False
    """Whether ``fit_scores`` has to be called with new weights before it is evaluated or kept."""

    @abstractmethod
    def forward(self, images: Tensor) -> Tensor:
        """Map images ``(B, 1, H, W)`` to outputs ``(B, ...)``, float32 also under autocast."""

    @abstractmethod
    def losses(self, outputs: Tensor, images: Tensor, labels: Tensor) -> Tensor:
        """Return each image's loss ``(B,)`` for labels ``(B,)`` 0 or 1."""

    @abstractmethod
    def scores(self, outputs: Tensor, images: Tensor) -> Tensor:
        """Return each image's score ``(B,)``; a higher one speaks for label 1."""

    def has_loss(self, labels: Tensor) -> Tensor:
        """Return ``(B,)`` bool: whose loss belongs into a mean over these labels ``(B,)``."""
        return labels >= 0

    def start_from(self, weights: dict[str, Tensor]) -> None:
        """Take the weights of a trained model's ``state_dict``."""
        self.load_state_dict(weights)

    def prepare(self, batches: Iterable[Tensor], patients: NDArray[np.int64]) -> None:
        """Learn what has to be known before the first step; called once, with the weights the run starts from.

        Args:
            batches: all training images ``(B, 1, H, W)`` in order, without augmentation; can be iterated again.
            patients: ``(N,)`` a number for the patient of each of these images.
        """

    def constant_prediction_loss(self, labels: Tensor) -> float | None:  # noqa: ARG002
        """Return the mean loss over labels ``(N,)`` of the best constant prediction.

        None where the task has none.
        """
        return None

    @property
    def learns_from_epochs(self) -> bool:
        """Whether ``end_epoch`` has to be called after each epoch."""
        return False

    def end_epoch(self, training_scores: Tensor) -> None:
        """Update what is learned once per epoch, from the scores ``(N,)`` of all training images."""

    def fit_scores(self, batches: Iterable[Tensor]) -> None:
        """Learn what scores need and losses do not, in evaluation mode and with the weights as they are.

        ``batches`` are those of ``prepare``.
        """

    @property
    def held_out_training_scores(self) -> Tensor | None:
        """Scores ``(N,)`` of ``prepare``'s images, in order, by models that saw no image of the same patient.

        None where the model has none: then the scores of the trained model itself are all there is.
        """
        return None


class BinaryClassifier(TaskModel):
    """Says how probable a finding is."""

    positive_weight: Tensor

    def __init__(self, backbone: nn.Module, positive_weight: float = 1.0) -> None:
        """Wrap a backbone that gives ``(B, 1)``; a positive image's loss is multiplied by ``positive_weight``."""
        super().__init__()
        self.backbone = backbone
        self.register_buffer("positive_weight", torch.tensor(positive_weight), persistent=False)

    def forward(self, images: Tensor) -> Tensor:
        """Map images ``(B, 1, H, W)`` to logits ``(B,)`` in float32."""
        logits: Tensor = self.backbone(images)
        return logits.squeeze(1).float()

    def losses(self, outputs: Tensor, images: Tensor, labels: Tensor) -> Tensor:  # noqa: ARG002
        """Return each image's weighted cross-entropy ``(B,)`` for labels ``(B,)`` 0 or 1."""
        return binary_cross_entropy_with_logits(outputs, labels, pos_weight=self.positive_weight, reduction="none")

    def constant_prediction_loss(self, labels: Tensor) -> float | None:
        """Return the mean loss over labels ``(N,)`` of the best constant prediction."""
        weight, share = float(self.positive_weight), float(labels.mean())
        if share in (0.0, 1.0):
            return 0.0
        odds = weight * share / (1 - share)
        return weight * share * math.log1p(1 / odds) + (1 - share) * math.log1p(odds)

    def scores(self, outputs: Tensor, images: Tensor) -> Tensor:  # noqa: ARG002
        """Return probabilities of the finding ``(B,)``."""
        return outputs.sigmoid()
