"""Batch norm's running statistics for weights that no training step has been taken with."""

from collections.abc import Iterable

from torch import Tensor, nn
from torch.optim.swa_utils import update_bn


def learn_batch_statistics(network: nn.Module, batches: Iterable[Tensor]) -> None:
    """Set them to those of images ``(B, 1, H, W)``; a batch of one, which batch norm can't take, is left out."""
    update_bn((images for images in batches if len(images) > 1), network)
