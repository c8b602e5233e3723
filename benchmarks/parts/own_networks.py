"""Networks that the benchmark of one-class methods trains: a classifier, Deep SVDD, autoencoders."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from clr_hpc.config import task
from clr_hpc.config.run import Augmentation, Initialisation, Normalisation
from clr_hpc.data.augment import draw_transforms, prepare
from clr_hpc.data.pack import Pack
from clr_hpc.models.backbones import build_backbone
from clr_hpc.models.one_class.build import build_one_class
from clr_hpc.models.task_model import BinaryClassifier, TaskModel
from parts.contestants import Answer, Films, answer

ARCHITECTURE, BATCH = "mobilenet_v1", 32
OWN: dict[str, tuple[task.OneClassMethod, int, float]] = {
    # method, epochs, highest rate
    "Deep SVDD, hard, pretrained": (task.DeepSvdd(pretraining_epochs=4), 4, 3e-4),
    "Deep SVDD, soft": (task.DeepSvdd(boundary="soft"), 4, 3e-4),
    "autoencoder": (task.Autoencoder(), 12, 2e-3),
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
    method: task.OneClassMethod,
    pack: Pack,
    films: Films,
    normal: NDArray[np.int64],
    side: int,
    epochs: int,
    rate: float,
    seed: int,
) -> Answer:
    """Train a method with a network of its own on the films ``normal``, and score all."""
    model = build_one_class(task.OneClassTask(method=method), ARCHITECTURE, Initialisation(), seed)
    batches = [_load(pack, normal[first : first + 256], side) for first in range(0, len(normal), 256)]
    model.prepare(batches, films.patients[normal])
    _train(model, pack, normal, np.zeros(len(normal), np.float32), side, epochs, rate, seed)
    scores = _scores(model, pack, np.arange(len(films.anomalous)), side)
    return answer(scores, scores[normal])


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
