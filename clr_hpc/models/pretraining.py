"""Features without labels, by SimSiam (Chen & He 2021, CVPR, arXiv:2011.10566)."""

import torch
from torch import Tensor, nn
from torch.nn.functional import cosine_similarity, interpolate

from clr_hpc.config.task import PretrainingTask
from clr_hpc.models.backbones import last_layer, without_last_layer
from clr_hpc.models.task_model import TaskModel

WIDTH = 512
"""Of the projection; the predictor's middle layer is a quarter as wide, as the authors have it."""
CUT_AWAY = 10
"""In evaluation, the second view is an image without this part of its side at each border, enlarged."""


class SimSiam(TaskModel):
    """Predicts from one view of an image the projection of another, through which no gradient flows.

    The loss of an image depends on others in the batch through batch norm's statistics alone, so batches may be
    small, and shared by processes. The projection has two layers, as the authors' for small images. Their second
    batch norm has no scale and offset; here it has, as all batch norms of this package.
    """

    def __init__(self, backbone: nn.Module, seed: int) -> None:
        """Take a backbone, whose last layer is dropped, and draw the rest from ``seed``."""
        super().__init__()
        layer = backbone.get_submodule(last_layer(backbone))
        features = layer.in_features if isinstance(layer, nn.Linear) else layer.in_channels
        assert isinstance(features, int)
        self.backbone = without_last_layer(backbone)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.projector = nn.Sequential(
                *_hidden(features, WIDTH), nn.Linear(WIDTH, WIDTH, bias=False), nn.BatchNorm1d(WIDTH)
            )
            self.predictor = nn.Sequential(*_hidden(WIDTH, WIDTH // 4), nn.Linear(WIDTH // 4, WIDTH))

    def forward(self, images: Tensor) -> Tensor:
        """Map images ``(B, 1, H, W)`` to ``(B, 2, D)``: what is predicted, and a projection.

        That projection is the image's own in training, and that of its enlarged middle in evaluation, where an
        image comes alone.
        """
        own: Tensor = self.projector(self.backbone(images).flatten(1))
        other = own if self.training else self.projector(self.backbone(_middle(images)).flatten(1))
        return torch.stack([self.predictor(own), other], dim=1).float()

    def losses(self, outputs: Tensor, images: Tensor, labels: Tensor) -> Tensor:  # noqa: ARG002
        """Return 1 − cos ``(B,)`` between what is predicted and the projection of the other view.

        In training, a view's other one is its neighbour: 1 of 0, 0 of 1, 3 of 2 and so on.
        """
        predicted, projected = outputs.unbind(dim=1)
        if self.training:
            projected = projected.reshape(-1, PretrainingTask.views, WIDTH).flip(1).reshape(-1, WIDTH)
        return 1 - cosine_similarity(predicted, projected.detach(), dim=1)

    def scores(self, outputs: Tensor, images: Tensor) -> Tensor:
        """Return the losses: there is no label that a score could speak for."""
        return self.losses(outputs, images, images)


def _hidden(inputs: int, outputs: int) -> tuple[nn.Module, ...]:
    return nn.Linear(inputs, outputs, bias=False), nn.BatchNorm1d(outputs), nn.ReLU()


def _middle(images: Tensor) -> Tensor:
    size = images.shape[-2:]
    rows, columns = (slice(side // CUT_AWAY, side - side // CUT_AWAY) for side in size)
    return interpolate(images[..., rows, columns], size=size, mode="bilinear", align_corners=False)
