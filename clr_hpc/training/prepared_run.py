"""One run made ready: its model, optimizer and data, and the few things that the loop asks of them."""

from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.utils import clip_grad_norm_

from clr_hpc.data.packed import Pack
from clr_hpc.data.preparation import draw_changes, prepare
from clr_hpc.data.splits import SplitName
from clr_hpc.durable import written_whole
from clr_hpc.models.backbones import build_backbone
from clr_hpc.models.binary import BinaryClassifier
from clr_hpc.spec.pathologies import UNKNOWN
from clr_hpc.spec.run import RunSpec
from clr_hpc.training.checkpoint import Progress
from clr_hpc.training.metrics import Evaluation, evaluate
from clr_hpc.training.optimizers import build_optimizer
from clr_hpc.training.randomness import Stream, generator, seed_dropout
from clr_hpc.training.sampling import LabelledRows, make_sampler

SPLITS: tuple[SplitName, ...] = ("train", "validation")
PREDICTION_COLUMNS = ("image", "patient", "split", "view", "age_years", "sex")


class PreparedRun:
    """A run before its first step."""

    def __init__(self, spec: RunSpec, pack: Pack, device: torch.device) -> None:
        """Build the model on the device and find the run's images in the pack.

        Raises:
            ValueError: the pack's images are smaller than the model's input.
            EmptyTaskError: the training split lacks one of the two classes.
            InitialisationError: the weights to start from can't be had.
        """
        if pack.manifest.size < spec.training.image_size:
            raise ValueError(
                f"image_size={spec.training.image_size} is larger than the pack's {pack.manifest.size} pixels; "
                "lower image_size or pack the source again with a larger --size"
            )
        self.spec, self.device = spec, device
        self._pack = pack
        self._splits = {split: _labelled_rows(pack, spec.pathology, split) for split in SPLITS}
        self._sampler = make_sampler(spec, self._splits["train"])
        self.samples_per_epoch, self.batch_size = self._sampler.samples_per_epoch, self._sampler.batch_size
        self.model = _build_model(spec, self._splits["train"]).to(device)
        self.model.to(memory_format=torch.channels_last)
        self.optimizer = build_optimizer(spec.optimizer, self.model.parameters())
        self._has_dropout = any(isinstance(module, nn.Dropout) and module.p > 0 for module in self.model.modules())
        self._autocast = partial(
            torch.autocast, device.type, dtype=torch.bfloat16, enabled=spec.training.precision == "bfloat16"
        )

    def epochs(self, samples: int) -> float:
        """Return the progress that ``samples`` samples seen make, in epochs."""
        return samples / self.samples_per_epoch

    def is_finished(self, progress: Progress) -> bool:
        """Say whether all epochs are done or early stopping holds."""
        patience = self.spec.training.early_stop_epochs
        stopped_early = patience is not None and progress.epochs_without_improvement >= patience
        return stopped_early or progress.samples >= self.spec.training.epochs * self.samples_per_epoch

    def step(self, samples_seen: int) -> tuple[Tensor, int]:
        """Train on the batch after ``samples_seen``; return its mean loss, still on the device, and its size."""
        rows, labels = self._sampler.batch(samples_seen)
        changes = draw_changes(
            self.spec.training.augmentation,
            len(rows),
            generator(self.spec.seed, Stream.AUGMENTATION, samples_seen),
        )
        images = self._load(rows, changes)
        if self._has_dropout:
            seed_dropout(self.spec.seed, samples_seen)
        with self._autocast():
            outputs = self.model(images)
        loss: Tensor = self.model.losses(outputs, torch.from_numpy(labels).to(self.device)).mean()
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        if self.spec.training.gradient_clip_norm:
            clip_grad_norm_(self.model.parameters(), self.spec.training.gradient_clip_norm)
        self.optimizer.step()
        return loss.detach(), len(rows)

    def evaluate(self) -> dict[str, Evaluation]:
        """Evaluate on the training and validation split, in evaluation mode and without augmentation."""
        with self._autocast():
            return {split: evaluate(self.model, rows, self._load) for split, rows in self._splits.items()}

    def write_predictions(self, path: Path, evaluations: dict[str, Evaluation]) -> None:
        """Write label and score of every validation image as Parquet."""
        split = self._splits["validation"]
        table: pd.DataFrame = self._pack.index.loc[split.rows, list(PREDICTION_COLUMNS)].reset_index(drop=True)
        table["label"] = split.labels.astype(np.int8)
        table["score"] = evaluations["validation"].scores
        with written_whole(path) as aside:
            table.to_parquet(aside, index=False)

    def _load(self, rows: NDArray[np.int64], changes: NDArray[np.float32] | None = None) -> Tensor:
        pixels = torch.from_numpy(self._pack.gather(rows)).to(self.device, non_blocking=True)
        training = self.spec.training
        images = prepare(pixels, training.image_size, training.normalisation, changes)
        return images.contiguous(memory_format=torch.channels_last)


def _labelled_rows(pack: Pack, pathology: str, split: SplitName) -> LabelledRows:
    rows = pack.rows_of(split)
    labels = pack.labels(pathology)[rows]
    known = labels != UNKNOWN
    return LabelledRows(rows[known], labels[known].astype(np.float32))


def _build_model(spec: RunSpec, training: LabelledRows) -> BinaryClassifier:
    weighted = spec.training.class_imbalance == "pos_weight"
    weight = (len(training) - training.positives) / training.positives if weighted else 1.0
    backbone = build_backbone(spec.architecture, 1, spec.training.initialisation, spec.seed)
    return BinaryClassifier(backbone, weight)
