"""What all one-class models share: only images of the one class have a loss."""

import math
from collections.abc import Iterable
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.optim.swa_utils import update_bn

from clr_hpc.models.task_model import TaskModel


class OneClassModel(TaskModel):
    """Labels are 0 for the one class and 1 for the rest."""

    fitted_buffers: ClassVar[tuple[str, ...]] = ()
    """Empty before they are learned; a loaded state decides their shapes."""

    def has_loss(self, labels: Tensor) -> Tensor:
        """Leave anomalies out: a model that fits them better is no better."""
        return labels == 0

    def losses(self, outputs: Tensor, images: Tensor, labels: Tensor) -> Tensor:  # noqa: ARG002
        """Return the scores ``(B,)``: to learn the class is to make its images little anomalous."""
        return self.scores(outputs, images)

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *args: Any) -> None:
        """Make room for as much as the state has."""
        for name in self.fitted_buffers:
            if prefix + name in state_dict:
                setattr(self, name, torch.empty_like(state_dict[prefix + name], device=getattr(self, name).device))
        super()._load_from_state_dict(state_dict, prefix, *args)


def learn_batch_statistics(network: nn.Module, batches: Iterable[Tensor]) -> None:
    """Set them to those of images ``(B, 1, H, W)``; a batch of one, which batch norm can't take, is left out."""
    update_bn((images for images in batches if len(images) > 1), network)


def threshold(training_scores: NDArray[np.floating], quantile: float) -> float:
    """Return the score that an image of the one class reaches with probability ``1 - quantile`` or less.

    That is the float32 next above the ⌈quantile · (N + 1)⌉-th smallest of the N training scores: where a new
    image's score is exchangeable with them, it lies above that with a probability of at most ``1 - quantile``
    (Vovk et al. 2005; Angelopoulos & Bates 2021, arXiv:2107.07511, theorem 1). With too few scores for the
    quantile it is next above the largest.

    Args:
        training_scores: ``(N,)`` of images of the one class.
        quantile: strictly between 0 and 1.

    Raises:
        ValueError: there is no score, or the quantile is out of range.
    """
    count = len(training_scores)
    if count == 0:
        raise ValueError("a threshold needs the score of at least one training image")
    if not 0 < quantile < 1:
        raise ValueError(
            f"quantile={quantile:g} must be between 0 and 1; 0.95 calls about 5 % of the class anomalous"
        )
    # rounded, since 0.95 * 20 is a hair above 19 in floating point
    rank = min(count, math.ceil(round(quantile * (count + 1), 9)))
    last_normal = np.float32(np.partition(training_scores, rank - 1)[rank - 1])
    return float(np.nextafter(last_normal, np.float32(np.inf)))
