"""Deep SVDD: a network that maps the one class close to a point (Ruff et al. 2018, ICML, PMLR 80:4393-4402)."""

from collections.abc import Iterable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from clr_hpc.config.base import UserError
from clr_hpc.config.task import DeepSvdd
from clr_hpc.models.one_class.autoencoder import pretrain_as_encoder
from clr_hpc.models.one_class.base import OneClassModel, learn_batch_statistics

SMALLEST_COORDINATE = 0.1
"""Smallest distance of the centre's coordinates from 0, as in the authors' code: zero weights give the origin."""


class DeepSvddModel(OneClassModel):
    """Scores an image by the squared distance of the network's output from the centre.

    The loss of an image at squared distance d² is d² with a hard boundary (their equation 4), and
    R² + max(0, d² − R²) / nu with a soft one (their equation 3). Weight decay is the optimizer's.
    """

    center: Tensor
    squared_radius: Tensor
    is_prepared: Tensor

    def __init__(self, backbone: nn.Module, method: DeepSvdd, seed: int) -> None:
        """Wrap a backbone that gives ``(B, outputs)``; its biases are set to zero for good.

        Args:
            backbone: its ReLU6 become ReLU.
            method: the space in which distances are taken, and how the network is trained.
            seed: of the pretraining.
        """
        super().__init__()
        self.backbone = _unable_to_be_constant(backbone)
        if method.batch_norm_scale == "fixed":
            _fix_scales(self.backbone)
        self.boundary, self.nu = method.boundary, method.nu
        self._pretraining_epochs, self._seed = method.pretraining_epochs, seed
        self.register_buffer("center", torch.zeros(method.outputs))
        self.register_buffer("squared_radius", torch.zeros(()))
        self.register_buffer("is_prepared", torch.zeros((), dtype=torch.bool))

    def forward(self, images: Tensor) -> Tensor:
        """Map images ``(B, 1, H, W)`` to points ``(B, outputs)`` in float32."""
        points: Tensor = self.backbone(images)
        return points.float()

    def scores(self, outputs: Tensor, images: Tensor) -> Tensor:  # noqa: ARG002
        """Return squared distances ``(B,)`` from the centre."""
        return (outputs - self.center).square().sum(dim=1)

    def losses(self, outputs: Tensor, images: Tensor, labels: Tensor) -> Tensor:  # noqa: ARG002
        """Return each image's share ``(B,)`` of the objective."""
        distances = self.scores(outputs, images)
        if self.boundary == "hard":
            return distances
        return self.squared_radius + (distances - self.squared_radius).relu() / self.nu

    @torch.no_grad()
    def prepare(self, batches: Iterable[Tensor], patients: NDArray[np.int64]) -> None:  # noqa: ARG002
        """Pretrain if configured, and put the centre where the training images are on average.

        A model that starts from a trained one keeps its centre, so that their losses can be compared.

        Raises:
            UserError: the network can be constant all the same.
        """
        if self.is_prepared:
            return
        self._check_origin(next(iter(batches)))
        if self._pretraining_epochs:
            pretrain_as_encoder(self.backbone, len(self.center), batches, self._pretraining_epochs, self._seed)
        # at their initial values, the centre would lie where no image is once batch norm has learned them
        learn_batch_statistics(self.backbone, batches)
        self.eval()
        total, count = torch.zeros_like(self.center, dtype=torch.float64), 0
        for images in batches:
            outputs = self(images)
            total += outputs.sum(dim=0, dtype=torch.float64)
            count += len(outputs)
        mean = (total / count).float()
        away_from_zero = torch.where(mean < 0, -SMALLEST_COORDINATE, SMALLEST_COORDINATE)
        self.center.copy_(torch.where(mean.abs() < SMALLEST_COORDINATE, away_from_zero, mean))
        self.is_prepared.fill_(True)
        self.train()

    def _check_origin(self, images: Tensor) -> None:
        """Reject a network that maps blank images elsewhere: something in it acts as a bias.

        In training mode, since the running means of batch norm, of pretrained weights say, are an offset too.
        """
        self.train()
        with torch.random.fork_rng():  # dropout draws
            output = self.backbone(torch.zeros_like(images[:1]).expand(2, -1, -1, -1))
        if output.any():
            raise UserError(
                "this network does not map a blank image to the origin although its biases are zero: it has a "
                "learned constant, such as the position embedding of a transformer, or an activation that is not "
                "0 at 0, by which Deep SVDD can map all images to one point (Ruff et al. 2018, proposition 2); "
                "choose a convolutional network, such as mobilenet_v1"
            )

    @property
    def learns_from_epochs(self) -> bool:
        """Whether the boundary is one that moves."""
        return self.boundary == "soft"

    def end_epoch(self, training_scores: Tensor) -> None:
        """Move the soft boundary to the (1 − nu) quantile of distances, which is the objective's best radius.

        In the first epoch the radius is zero: every image is drawn to the centre, as in the authors' warm-up.
        """
        # by hand: torch.quantile takes no more than 16 million values, and not on every device
        rank = min(len(training_scores) - 1, int((1 - self.nu) * len(training_scores)))
        self.squared_radius.copy_(training_scores.sort().values[rank])


def _unable_to_be_constant(backbone: nn.Module) -> nn.Module:
    """Take from a network what lets it map every image to one point, the trivial solution of Deep SVDD.

    Any bias does (their proposition 2), also the offset of a batch norm; its scale does not, since a scale of zero
    leads to the origin, where the centre is not. A bounded activation does too (proposition 3).
    """
    for module in backbone.modules():
        for name, child in module.named_children():
            if isinstance(child, nn.ReLU6):
                setattr(module, name, nn.ReLU(inplace=child.inplace))
        bias = getattr(module, "bias", None)
        if isinstance(bias, nn.Parameter):
            nn.init.zeros_(bias)
            bias.requires_grad_(False)
    return backbone


def _fix_scales(backbone: nn.Module) -> None:
    """Set the scales of batch norm to one for good, as the authors' ``affine=False``."""
    for module in backbone.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm) and module.affine:
            nn.init.ones_(module.weight)
            module.weight.requires_grad_(False)
