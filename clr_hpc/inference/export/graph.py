"""The models of one setting as one network, from pixels of any size to probabilities."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from clr_hpc.config.base import UserError
from clr_hpc.inference.calibration import MOST_SURE, Calibration
from clr_hpc.inference.ensemble import Ensemble
from clr_hpc.inference.export.square import FitSquare, Prepare
from clr_hpc.models.task_model import TaskModel

INPUT, SCORE, CALIBRATED = "pixels", "score", "calibrated"
"""Names in the files."""


class PortableEnsemble(nn.Module):
    """Maps uint8 ``(N, H, W)`` to scores ``(N,)`` float32 and, where the setting is calibrated, probabilities.

    Both are NaN for images that ``fit_square`` rejects as too small. All is computed in float32, also by models
    that were trained in bfloat16.
    """

    def __init__(self, ensemble: Ensemble, size: int) -> None:
        """Put the networks of an ensemble behind the preprocessing of a pack of ``size`` pixels a side.

        Raises:
            UserError: it is of one-class models, whose scores are no probabilities.
            NoWeightsError: weights are missing or damaged.
        """
        super().__init__()
        if not ensemble.is_binary:
            raise UserError(
                f"{ensemble.finding} is a one-class task, and ONNX and torch files hold classifiers; "
                "name a finding with --finding"
            )
        training = ensemble.models[0].spec.training
        self.square = FitSquare(size)
        self.prepare = Prepare(size, training.image_size, training.normalisation)
        self.models = nn.ModuleList(nn.ModuleList(model.members) for model in ensemble.models)
        calibration = ensemble.calibration
        self.calibrate = None if calibration is None else Calibrate(calibration)
        self.eval()

    @property
    def networks(self) -> int:
        """Number of networks, snapshots counted."""
        return sum(len(members) for members in self._members())

    @property
    def outputs(self) -> tuple[str, ...]:
        """Names of what ``forward`` returns."""
        return (SCORE,) if self.calibrate is None else (SCORE, CALIBRATED)

    def forward(self, pixels: Tensor) -> tuple[Tensor, ...]:
        """Return ``outputs``, each ``(N,)``."""
        squares, is_large_enough = self.square(pixels)
        images = self.prepare(squares)
        scores = _mean([_mean([_scores(one, images) for one in members]) for members in self._members()])
        results = [scores] if self.calibrate is None else [scores, self.calibrate(scores)]
        return tuple(torch.where(is_large_enough, each, torch.nan) for each in results)

    def _members(self) -> list[list[TaskModel]]:
        return [list(members) for members in self.models]  # type: ignore[call-overload]


class Calibrate(nn.Module):
    """A ``Calibration`` as tensors, in float64 as that is."""

    at: Tensor
    values: Tensor

    def __init__(self, calibration: Calibration) -> None:
        """Take its numbers."""
        super().__init__()
        self.method = calibration.method
        self.register_buffer("at", torch.as_tensor(calibration.at, dtype=torch.float64))
        # none rather than an empty one, which torch.export does not write without a warning
        values = torch.as_tensor(calibration.values, dtype=torch.float64)
        self.register_buffer("values", values if len(values) else None)

    def forward(self, scores: Tensor) -> Tensor:
        """Return the probability ``(N,)`` of each score ``(N,)``."""
        inside = scores.double().clamp(MOST_SURE, 1 - MOST_SURE)
        logits = torch.log(inside) - torch.log1p(-inside)
        if self.method == "logistic":
            return torch.sigmoid(self.at[0] * logits + self.at[1]).float()
        # each step counts by the share of it that lies below the logit: what np.interp computes, without a search
        passed = ((logits[:, None] - self.at[:-1]) / (self.at[1:] - self.at[:-1])).clamp(0, 1)
        return (self.values[0] + (passed * (self.values[1:] - self.values[:-1])).sum(dim=1)).float()


def _scores(model: TaskModel, images: Tensor) -> Tensor:
    return model.scores(model(images), images)


def _mean(scores: Sequence[Tensor]) -> Tensor:
    return scores[0] if len(scores) == 1 else torch.stack(list(scores)).mean(dim=0)
