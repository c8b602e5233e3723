"""Where classifiers look: Grad-CAM (Selvaraju et al. 2017, arXiv:1610.02391) of their last feature map, by captum.

The map weighs each channel by the mean of the logit's gradient over its places, and keeps what speaks for the
finding. Each map is divided by its maximum before the mean over seeds and snapshots, so that they count alike.
"""

from collections.abc import Sequence
from functools import cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn.functional import interpolate

from clr_hpc.config.base import UserError
from clr_hpc.config.plugins import require
from clr_hpc.config.run import Initialisation, RunSpec
from clr_hpc.data.augment import prepare
from clr_hpc.inference.ensemble import Ensemble
from clr_hpc.models.backbones import build_backbone
from clr_hpc.models.feature_map import NoFeatureMapError, last_feature_map
from clr_hpc.models.task_model import BinaryClassifier
from clr_hpc.training.trainer import EVALUATION_BATCH

Floats = NDArray[np.float32]


def check_installed() -> None:
    """See that captum is there.

    Raises:
        MissingExtraError: it isn't.
    """
    require("captum", "explain", "clr-hpc explain")


def trained_networks(ensemble: Ensemble) -> list[BinaryClassifier]:
    """Return the networks of an ensemble, of all seeds and snapshots.

    Raises:
        UserError: they are one-class models, whose scores come from distances and not from a layer's logit.
    """
    networks = [network for model in ensemble.models for network in model.members]
    classifiers = [network for network in networks if isinstance(network, BinaryClassifier)]
    if len(classifiers) < len(networks):
        raise UserError(
            f"{ensemble.finding}: Grad-CAM explains the logit of a classifier, and this is a one-class model; "
            "name a finding that the study's classifiers score"
        )
    return classifiers


def random_networks(ensemble: Ensemble, draw: int) -> list[BinaryClassifier]:
    """Return as many networks of the same kind with all weights drawn anew, as training would begin.

    All layers are randomised at once, which is where the cascading randomisation of Adebayo et al. (2018,
    arXiv:1810.03292) ends.

    Args:
        ensemble: whose networks are imitated.
        draw: number of the draw; each gives other weights.
    """
    count = len(trained_networks(ensemble))
    architecture = ensemble.models[0].spec.architecture
    seeds = [1_000_000 * (draw + 1) + number for number in range(count)]  # no study's seeds
    return [BinaryClassifier(build_backbone(architecture, 1, Initialisation(), seed)).eval() for seed in seeds]


@cache
def refusal(architecture: str, image_size: int) -> str | None:
    """Return why a network has no heat map of images of ``image_size`` pixels a side; None where it has one."""
    try:
        with last_feature_map(
            build_backbone(architecture, 1, Initialisation(), 0).eval(), architecture, image_size
        ):
            return None
    except NoFeatureMapError as error:
        return str(error)


def heat_maps(
    networks: Sequence[BinaryClassifier], spec: RunSpec, pixels: NDArray[np.uint8], device: str = "cpu"
) -> Floats:
    """Return the mean Grad-CAM of networks, ``(N, rows, columns)`` of their last feature map, in [0, 1].

    A map is 0 everywhere where nothing speaks for the finding.

    Args:
        networks: with the architecture and the images of ``spec``.
        spec: of one of their runs.
        pixels: ``(N, S, S)`` of the size of the study's pack, at least one.
        device: ``cpu``, ``cuda``, ``cuda:1`` ...

    Raises:
        NoFeatureMapError: the last feature map has no rows and columns.
    """
    mean: Floats = np.mean([_maps(network, spec, pixels, torch.device(device)) for network in networks], axis=0)
    return mean


def enlarge(maps: Floats, size: int) -> Floats:
    """Return maps ``(N, rows, columns)`` as ``(N, size, size)``, bilinear between the places' centres."""
    larger = interpolate(torch.from_numpy(maps)[:, None], (size, size), mode="bilinear", align_corners=False)
    return larger[:, 0].numpy()


def _maps(network: BinaryClassifier, spec: RunSpec, pixels: NDArray[np.uint8], device: torch.device) -> Floats:
    from captum.attr import LayerGradCam

    training = spec.training
    # the gradient begins at the feature map, so nothing before it is kept
    network.to(device).eval().requires_grad_(False)
    parts: list[Floats] = []
    with last_feature_map(network.backbone, spec.architecture, training.image_size) as layer:
        gradcam = LayerGradCam(network, layer)
        for first in range(0, len(pixels), EVALUATION_BATCH):
            chosen = torch.from_numpy(pixels[first : first + EVALUATION_BATCH]).to(device)
            images = prepare(chosen, training.image_size, training.normalisation)
            # captum's hook hands on a copy, so that a network may change its feature map in place
            heat = gradcam.attribute(images, relu_attributions=True)[:, 0].detach()
            highest = heat.amax(dim=(1, 2), keepdim=True)
            parts.append((heat / highest.clamp_min(torch.finfo(heat.dtype).tiny)).float().cpu().numpy())
    return np.concatenate(parts)
