"""Networks that the benchmark of one-class methods trains: a classifier, Deep SVDD, autoencoders."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from clr_hpc.config import task
from clr_hpc.config.run import Augmentation, Initialisation, Normalisation
from clr_hpc.data.augment import draw_transforms, prepare
from clr_hpc.data.pack import Pack
from clr_hpc.models.backbones import build_backbone
from clr_hpc.models.one_class.base import OneClassModel
from clr_hpc.models.one_class.build import build_one_class
from clr_hpc.models.one_class.deep_svdd import DeepSvddModel
from clr_hpc.models.task_model import BinaryClassifier, TaskModel
from parts.contestants import Films

ARCHITECTURE, BATCH, LENET_SIDE = "mobilenet_v1", 32, 32
FIXED = task.DeepSvdd(batch_norm_scale="fixed")


@dataclass(frozen=True)
class Own:
    """A method that trains a network of its own."""

    method: task.OneClassMethod
    epochs: int
    rate: float
    """The highest."""
    backbone: Callable[[int], nn.Module] | None = None
    """From a seed; None: MobileNetV1, or the autoencoder's."""
    has_shifts: bool = False
    """Whether biases, and offsets of batch norm, are trained too, which the package never does."""

    def build(self, seed: int) -> OneClassModel:
        """Return the model before ``prepare``."""
        if self.backbone is None:
            model = build_one_class(task.OneClassTask(method=self.method), ARCHITECTURE, Initialisation(), seed)
        else:
            assert isinstance(self.method, task.DeepSvdd)
            model = DeepSvddModel(self.backbone(seed), self.method, seed)
        if self.has_shifts:
            for name, parameter in model.named_parameters():
                if name.endswith("bias"):
                    parameter.requires_grad_(True)
        return model


def lenet(seed: int) -> nn.Module:
    """Return the authors' network for CIFAR-10, of 32 outputs."""
    return build_backbone("lenet", 32, Initialisation(), seed)


def bare_lenet(seed: int) -> nn.Module:
    """Return it without batch norm, with the same weights."""
    network = lenet(seed)
    for name, module in list(network.named_modules()):
        if isinstance(module, nn.BatchNorm2d):
            network.set_submodule(name, nn.Identity())
    return network


OWN = {
    "autoencoder, squared error": Own(task.Autoencoder(normalised=True), 30, 2e-3),
    "autoencoder, SSIM": Own(task.Autoencoder(normalised=True, residual="ssim"), 30, 2e-3),
    "Deep SVDD, MobileNetV1, shifts trained": Own(task.DeepSvdd(), 12, 3e-4, has_shifts=True),
    "Deep SVDD, MobileNetV1": Own(task.DeepSvdd(), 12, 3e-4),
    "Deep SVDD, MobileNetV1, scale fixed": Own(FIXED, 12, 3e-4),
    "Deep SVDD, LeNet, shifts trained": Own(FIXED, 24, 3e-4, lenet, has_shifts=True),
    "Deep SVDD, LeNet": Own(FIXED, 24, 3e-4, lenet),
    "Deep SVDD, LeNet without batch norm, shifts trained": Own(FIXED, 24, 3e-4, bare_lenet, has_shifts=True),
    "Deep SVDD, LeNet without batch norm": Own(FIXED, 24, 3e-4, bare_lenet),
}


def effusion_classifier(
    pack: Pack, films: Films, rows: NDArray[np.int64], side: int, seed: int
) -> BinaryClassifier:
    """Train a binary classifier of effusion for ten epochs."""
    model = BinaryClassifier(build_backbone(ARCHITECTURE, 1, Initialisation(), seed), positive_weight=3)
    labels = films.findings["effusion"].astype(np.float32)
    _train(model, pack, rows, labels[rows], side, epochs=10, rate=2e-3, seed=seed)
    model.eval()
    return model


def trained(
    own: Own,
    pack: Pack,
    films: Films,
    normal: NDArray[np.int64],
    judged: NDArray[np.int64],
    side: int,
    seed: int,
) -> tuple[dict[str, NDArray[np.float32]], float]:
    """Train a network on the films ``normal``, and score these and the films ``judged``.

    Returns:
        Scores of all films, NaN of others, by what is added to the name: an autoencoder's residuals as they are,
        and normalised, come from one training. And how far outputs for ``judged`` lie from their mean, in units
        of its length: 0 is a collapse.
    """
    side = side if own.backbone is None else LENET_SIDE
    model = own.build(seed)
    batches = [_load(pack, normal[first : first + 256], side) for first in range(0, len(normal), 256)]
    model.prepare(batches, films.patients[normal])
    _train(model, pack, normal, np.zeros(len(normal), np.float32), side, own.epochs, own.rate, seed)
    model.eval()
    rows = np.concatenate([normal, judged])

    def scored() -> NDArray[np.float32]:
        of_all = np.full(len(films.anomalous), np.nan, np.float32)
        of_all[rows] = _scores(model, pack, rows, side)
        return of_all

    found = {"": scored()}
    if model.fits_scores:  # until here scores are not divided
        model.fit_scores(batches)
        found[", normalised"] = scored()
    with torch.no_grad():
        codes = torch.cat([model(_load(pack, part, side)).flatten(1) for part in np.array_split(judged, 10)])
    mean = codes.mean(dim=0)
    return found, float((codes - mean).norm(dim=1).mean() / mean.norm())


def _load(pack: Pack, rows: NDArray[np.int64], side: int, transforms: NDArray[np.float32] | None = None) -> Tensor:
    images = prepare(torch.from_numpy(pack.gather(rows)), side, Normalisation(), transforms)
    return images.contiguous(memory_format=torch.channels_last)


@torch.no_grad()
def _scores(model: TaskModel, pack: Pack, rows: NDArray[np.int64], side: int) -> NDArray[np.float32]:
    model.eval()
    batches = [_load(pack, rows[first : first + 64], side) for first in range(0, len(rows), 64)]
    return torch.cat([model.scores(model(images), images) for images in batches]).numpy()


def _train(
    model: TaskModel,
    pack: Pack,
    rows: NDArray[np.int64],
    labels: NDArray[np.float32],
    side: int,
    epochs: int,
    rate: float,
    seed: int,
) -> None:
    """Train by Adam with a cosine decay, as ``clr_hpc.training`` calls a model."""
    random = np.random.default_rng(seed)
    optimizer = torch.optim.Adam([weight for weight in model.parameters() if weight.requires_grad], rate)
    decay = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, max(1, epochs))
    for _ in range(epochs):
        model.train()
        order = random.permutation(len(rows))
        for first in range(0, len(rows) - BATCH + 1, BATCH):
            chosen = order[first : first + BATCH]
            images = _load(pack, rows[chosen], side, draw_transforms(Augmentation(), BATCH, random))
            loss = model.losses(model(images), images, torch.from_numpy(labels[chosen])).mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        decay.step()
        if model.learns_from_epochs:
            model.end_epoch(torch.from_numpy(_scores(model, pack, rows, side)))
