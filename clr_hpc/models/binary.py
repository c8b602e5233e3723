"""A binary classifier: one logit, its loss and its score."""

import math

import torch
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits

from clr_hpc.models.task_model import TaskModel


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

    def constant_answer_loss(self, labels: Tensor) -> float | None:
        """Return the mean loss over labels ``(N,)`` of the best answer that is the same for all images."""
        weight, share = float(self.positive_weight), float(labels.mean())
        if share in (0.0, 1.0):
            return 0.0
        odds = weight * share / (1 - share)
        return weight * share * math.log1p(1 / odds) + (1 - share) * math.log1p(odds)

    def scores(self, outputs: Tensor, images: Tensor) -> Tensor:  # noqa: ARG002
        """Return probabilities of the finding ``(B,)``."""
        return outputs.sigmoid()
