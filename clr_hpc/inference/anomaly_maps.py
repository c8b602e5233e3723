"""Where one-class models see something unusual: what each place adds to the score, less what is usual there."""

import numpy as np
import torch
from numpy.typing import NDArray

from clr_hpc.data.augment import prepare
from clr_hpc.inference.ensemble import Ensemble
from clr_hpc.models.one_class.autoencoder import AutoencoderModel
from clr_hpc.models.one_class.patches import PatchDetector
from clr_hpc.training.trainer import EVALUATION_BATCH

Floats = NDArray[np.float32]
Mapped = PatchDetector | AutoencoderModel
"""Models with a map of their own."""


def mapped_models(ensemble: Ensemble) -> list[Mapped]:
    """Return the models of an ensemble, of all seeds; empty where they have no map of their own."""
    networks = [network for model in ensemble.models for network in model.members]
    detectors = [network for network in networks if isinstance(network, Mapped)]
    return detectors if len(detectors) == len(networks) else []


@torch.no_grad()
def anomaly_maps(
    detectors: list[Mapped], ensemble: Ensemble, pixels: NDArray[np.uint8], device: str = "cpu"
) -> Floats:
    """Return the mean heat ``(N, rows, columns)`` in [0, 1] of models; each map is divided by its maximum first.

    A map is 0 everywhere where no place is more unusual than it is in the training images on average. That of an
    autoencoder whose residuals are not normalised knows nothing of these: it is the residuals.

    Args:
        detectors: of ``ensemble``, at least one.
        ensemble: says how pixels become inputs.
        pixels: ``(N, S, S)`` of the size of the study's pack, at least one.
        device: ``cpu``, ``cuda``, ``cuda:1`` ...
    """
    training = ensemble.models[0].spec.training
    of_each: list[Floats] = []
    for detector in detectors:
        detector.to(device)
        parts = []
        for first in range(0, len(pixels), EVALUATION_BATCH):
            chosen = torch.from_numpy(pixels[first : first + EVALUATION_BATCH]).to(device)
            heat = detector.heat(prepare(chosen, training.image_size, training.normalisation))
            highest = heat.amax(dim=(1, 2), keepdim=True)
            parts.append((heat / highest.clamp_min(torch.finfo(heat.dtype).tiny)).cpu().numpy())
        of_each.append(np.concatenate(parts))
    mean: Floats = np.mean(of_each, axis=0)
    return mean
