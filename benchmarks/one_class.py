"""How well each one-class method tells films without findings from films with some, on the phantom.

    python benchmarks/one_class.py

About five minutes on one thread: draw 4,000 films of 64 × 64, train a binary classifier of effusion whose features
the detectors use, and fit every method to the training films without findings. Intervals are 95 %, of 1,000
bootstrap draws of test patients. The threshold is the 0.95 quantile of training scores, so films without findings
should lie above it in 5 %; sensitivity is the share of the others that do.
"""

import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table
from sklearn.metrics import roc_auc_score
from torch import Tensor

from clr_hpc.config import task
from clr_hpc.config.pathologies import PATHOLOGIES
from clr_hpc.config.run import Augmentation, Initialisation, Normalisation
from clr_hpc.data.augment import draw_transforms, prepare
from clr_hpc.data.pack import Pack
from clr_hpc.models.backbones import build_backbone
from clr_hpc.models.one_class.base import threshold
from clr_hpc.models.one_class.build import build_one_class
from clr_hpc.models.task_model import BinaryClassifier, TaskModel
from parts.command import parser
from parts.studies import phantom_pack

SIZE, BATCH, QUANTILE, DRAWS = 64, 32, 0.95, 1000
ARCHITECTURE = "mobilenet_v1"
CONTESTANTS: list[tuple[str, task.OneClassMethod, int, float]] = [
    # title, method, epochs, highest rate
    ("Deep SVDD, hard", task.DeepSvdd(), 4, 3e-4),
    ("Deep SVDD, soft", task.DeepSvdd(boundary="soft"), 4, 3e-4),
    ("Deep SVDD, hard, pretrained", task.DeepSvdd(pretraining_epochs=4), 4, 3e-4),
    ("autoencoder", task.Autoencoder(), 12, 2e-3),
    ("one-class SVM", task.OneClassSvm(), 0, 0),
    ("isolation forest", task.IsolationForest(), 0, 0),
    ("nearest neighbours", task.NearestNeighbours(), 0, 0),
]


class Films:
    """The phantom's films without findings and with, and the network's input."""

    def __init__(self, pack: Pack) -> None:
        self.pack = pack
        self.anomalous = np.any([pack.labels(pathology) == 1 for pathology in PATHOLOGIES], axis=0)
        self.patients = np.unique(pack.index["patient"].to_numpy(), return_inverse=True)[1].astype(np.int64)
        self.train, self.test = pack.rows_of("train"), pack.rows_of("test")
        self.train_normal = self.train[~self.anomalous[self.train]]

    def load(self, rows: NDArray[np.int64], transforms: NDArray[np.float32] | None = None) -> Tensor:
        """Return the input ``(B, 1, SIZE, SIZE)`` of these rows."""
        images = prepare(torch.from_numpy(self.pack.gather(rows)), SIZE, Normalisation(), transforms)
        return images.contiguous(memory_format=torch.channels_last)

    def __iter__(self) -> Iterator[Tensor]:
        """Yield the training films without findings in batches, as often as asked."""
        for first in range(0, len(self.train_normal), 256):
            yield self.load(self.train_normal[first : first + 256])


@torch.no_grad()
def score(model: TaskModel, films: Films, rows: NDArray[np.int64]) -> NDArray[np.float32]:
    """Return the scores ``(N,)`` of these rows."""
    model.eval()
    batches = [films.load(rows[first : first + 256]) for first in range(0, len(rows), 256)]
    return torch.cat([model.scores(model(images), images) for images in batches]).numpy()


def fit(
    model: TaskModel, films: Films, rows: NDArray[np.int64], labels: NDArray[np.float32], epochs: int, lr: float
) -> None:
    """Train by Adam with a cosine decay, as ``clr_hpc.training`` calls a model."""
    random = np.random.default_rng(0)
    optimizer = torch.optim.Adam(
        [weight for weight in model.parameters() if weight.requires_grad] or [Tensor()], lr
    )
    decay = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, max(1, epochs))
    for _ in range(epochs):
        model.train()
        order = random.permutation(len(rows))
        for first in range(0, len(rows) - BATCH + 1, BATCH):
            chosen = order[first : first + BATCH]
            images = films.load(rows[chosen], draw_transforms(Augmentation(), BATCH, random))
            loss = model.losses(model(images), images, torch.from_numpy(labels[chosen])).mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        decay.step()
        model.end_epoch(torch.from_numpy(score(model, films, rows)))


def measure(model: TaskModel, films: Films) -> list[str]:
    """Return AUROC, its interval, false-positive rate, its interval, and sensitivity of a fitted model."""
    scores, anomalous = score(model, films, films.test), films.anomalous[films.test]
    held_out = model.held_out_training_scores
    training = score(model, films, films.train_normal) if held_out is None else held_out.numpy()
    above = scores >= threshold(training, QUANTILE)
    patients = films.patients[films.test]
    images_of = [np.flatnonzero(patients == one) for one in np.unique(patients)]
    random = np.random.default_rng(0)
    aurocs, rates = [], []
    for _ in range(DRAWS):
        drawn = np.concatenate([images_of[one] for one in random.integers(len(images_of), size=len(images_of))])
        aurocs.append(float(roc_auc_score(anomalous[drawn], scores[drawn])))
        rates.append(float(above[drawn][~anomalous[drawn]].mean()))
    cells = []
    for value, draws in ((roc_auc_score(anomalous, scores), aurocs), (above[~anomalous].mean(), rates)):
        low, high = np.quantile(draws, [0.025, 0.975])
        cells += [f"{value:.3f}", f"{low:.3f} to {high:.3f}"]
    return [*cells, f"{above[anomalous].mean():.3f}"]


def run(films: Films) -> Table:
    """Train the classifier, fit every method and return the table."""
    binary = BinaryClassifier(build_backbone(ARCHITECTURE, 1, Initialisation(), seed=0), positive_weight=3)
    effusion = films.pack.labels("effusion").astype(np.float32)
    fit(binary, films, films.train, effusion[films.train], epochs=10, lr=2e-3)
    quality = roc_auc_score(effusion[films.test], score(binary, films, films.test))
    normal = len(films.train_normal)
    title = f"{normal} training films without findings; features of a classifier of AUROC {quality:.3f}"
    heads = ("method", "AUROC", "interval", "false positives", "interval", "sensitivity", "seconds")
    table = Table(*heads, title=title)
    for name, method, epochs, lr in CONTESTANTS:
        start = time.perf_counter()
        model = build_one_class(task.OneClassTask(method=method), ARCHITECTURE, Initialisation(), seed=0)
        if not model.takes_steps:
            model.start_from(binary.state_dict())
        model.prepare(films, films.patients[films.train_normal])
        fit(model, films, films.train_normal, np.zeros(normal, np.float32), epochs, lr)
        table.add_row(name, *measure(model, films), f"{time.perf_counter() - start:.0f}")
    return table


def main() -> None:
    """Measure and print."""
    parser(__doc__).parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        films = Films(phantom_pack(Path(folder) / "pack", 4000, SIZE, validation=0.1, test=0.3))
        Console(width=140).print(run(films))


if __name__ == "__main__":
    main()
