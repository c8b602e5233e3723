"""The article's grid as if it had been trained: run folders with scores drawn from a stated model.

The truth is known, so the report's answers can be compared with it. Labels of a patient's images hang together.
Half of a score's variance is the image's difficulty, which a task's runs share; the other half is a run's own.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.special import expit, ndtri
from sklearn.metrics import average_precision_score, roc_auc_score

from clr_hpc.config.pathologies import NEGATIVE, PATHOLOGIES, POSITIVE
from clr_hpc.config.run import RunSpec
from clr_hpc.config.task import BinaryTask
from clr_hpc.data.build import build_pack
from clr_hpc.data.pack import Pack
from clr_hpc.data.source import ImageRecord, ImageSource, SourceTable
from clr_hpc.data.splits import SeededSplit
from clr_hpc.store import layout
from clr_hpc.store.atomic import atomic_write
from clr_hpc.store.run_folder import RunFolder

SHARES = dict(
    zip(
        PATHOLOGIES,
        (0.103, 0.025, 0.042, 0.119, 0.021, 0.022, 0.015, 0.002, 0.177, 0.052, 0.056, 0.013, 0.047, 0.030),
        strict=True,
    )
)
"""Of NIH ChestX-ray14's 112,120 images (Wang et al. 2017, doi:10.1109/CVPR.2017.369; counts of its table)."""
IMAGES, PATIENTS = 112_120, 30_805
TRAINING_NOISE = 0.004
"""Standard deviation of a run's true AUROC."""
POLICY_EFFECTS = {"triangular": 0.02, "triangular2": 0.0, "triangular2_modified": 0.0, "constant": -0.02}
"""True difference in AUROC of retraining from the control."""
NETWORK_EFFECTS = {"mobilenet_v1": 0.0, "alexnet": -0.03, "densenet121": 0.02}
OPTIMIZER_EFFECTS = {"sgd": 0.01, "adam": 0.0, "rmsprop": -0.01, "adagrad": -0.02}
SCRATCH = -0.03
OWN = np.sqrt(0.5)
STEPS_RECORDED = 25
"""Lines of each epoch; training writes up to 50."""


@dataclass(frozen=True)
class DrawnCollection(ImageSource):
    """Images of noise with findings as frequent as in NIH's collection."""

    images: int = IMAGES
    patients: int = PATIENTS

    @cached_property
    def owners(self) -> NDArray[np.int64]:
        """``(images,)`` patient of each: a few have many."""
        shares = np.random.default_rng(1).exponential(size=self.patients)
        return np.sort(np.random.default_rng(2).choice(self.patients, self.images, p=shares / shares.sum()))

    @cached_property
    def labels(self) -> NDArray[np.bool_]:
        """``(images, 14)``; those of a patient hang together."""
        generator = np.random.default_rng(3)
        of_patient = generator.normal(size=(self.patients, len(SHARES)))[self.owners]
        latent = 0.7 * of_patient + np.sqrt(1 - 0.49) * generator.normal(size=of_patient.shape)
        found: NDArray[np.bool_] = latent > ndtri(1 - np.array(list(SHARES.values())))
        return found

    def table(self) -> SourceTable:
        """Return the images' names and labels."""
        views, sexes = ("PA", "AP"), ("F", "M")
        records = (
            ImageRecord(
                image=f"{number:08d}.png",
                patient=f"{owner:05d}",
                labels=tuple(POSITIVE if each else NEGATIVE for each in row),
                view=views[number % 5 == 0],
                sex=sexes[owner % 2],
                age_years=float(20 + owner % 60),
            )
            for number, (owner, row) in enumerate(zip(self.owners.tolist(), self.labels.tolist(), strict=True))
        )
        return SourceTable(tuple(records), provenance={"kind": "drawn", "images": self.images})

    def read(self, record: ImageRecord, size: int) -> tuple[NDArray[np.uint8], str]:
        """Return pixels ``(size, size)`` of noise."""
        pixels = np.random.default_rng(int(record.image[:8])).integers(0, 256, (size, size), np.uint8)
        return pixels, f"{int(record.image[:8]):064x}"


def drawn_pack(folder: Path, collection: DrawnCollection) -> Pack:
    """Pack it, with as many test images as NIH's list has, where it isn't there."""
    if not folder.exists():
        build_pack(collection, folder, 16, SeededSplit(validation_fraction=0.08, test_fraction=0.228), 1)
    return Pack.open(folder)


@dataclass
class DrawnGrid:
    """Writes run folders of a study on a drawn pack, by the store's own writers."""

    pack: Pack
    runs: Path
    seconds_per_epoch: float = 60.0
    _tasks: dict[str, pd.DataFrame] = field(default_factory=dict)

    def write(self, spec: RunSpec) -> None:
        """Write the folder of a run that is done."""
        generator = np.random.default_rng([spec.seed, *spec.name.encode()])
        tables = dict(self._models(spec, generator))
        epochs = spec.training.epochs
        counts = self.pack.manifest.counts.splits
        steps = counts["train"].images // spec.training.batch_size
        with RunFolder(self.runs / spec.name).open(spec, {"host": "drawn"}, "drawn") as folder:
            folder.resume_at(0)
            measures = {name: _measures(table) for name, table in tables.items()}
            for epoch in range(0 if spec.stage == "fit" else epochs):
                self._record_epoch(folder, epoch, steps, spec, measures["last"])
            last = measures["last"]
            with atomic_write(folder.path / layout.PREDICTIONS) as temporary:
                pd.concat(list(tables.values()), ignore_index=True).to_parquet(temporary, index=False)
            folder.finish(_result(spec, measures, epochs * steps, epochs * self.seconds_per_epoch, last))

    def _record_epoch(
        self, folder: RunFolder, epoch: int, steps: int, spec: RunSpec, last: dict[str, Any]
    ) -> None:
        share = (epoch + 1) / spec.training.epochs
        batch = spec.training.batch_size
        for number in range(1, STEPS_RECORDED + 1):
            step = epoch * steps + number * steps // STEPS_RECORDED
            progress = step / steps
            folder.record_step(
                step * batch, progress=progress, loss=0.5 + 0.5 / (1 + progress), lr=0.001, momentum=0.9,
                gradient_norm=1.0, images_per_second=500.0, elapsed_seconds=progress * self.seconds_per_epoch,
            )  # fmt: skip
        samples, seconds = (epoch + 1) * steps * batch, (epoch + 1) * self.seconds_per_epoch
        for split in ("train", "validation"):
            of_split = last[split] | {"loss": 0.6 - 0.1 * share, "auroc": last[split]["auroc"] - 0.1 * (1 - share)}
            folder.record_epoch(samples, epoch + 1.0, split, of_split, seconds)

    def _models(self, spec: RunSpec, generator: np.random.Generator) -> Iterator[tuple[str, pd.DataFrame]]:
        truth = true_auroc(spec) + generator.normal(0, TRAINING_NOISE)
        yield "last", self._scored(spec, "last", truth, generator)
        if spec.policy.name.startswith("triangular"):
            yield "snapshots", self._scored(spec, "snapshots", truth + 0.003, generator)
            yield "swa", self._scored(spec, "swa", truth + 0.002, generator)

    def _scored(self, spec: RunSpec, model: str, truth: float, generator: np.random.Generator) -> pd.DataFrame:
        rows = self._rows(spec)
        labels = rows["label"].to_numpy() == 1
        distance = np.sqrt(2) * ndtri(np.clip(truth, 0.05, 0.99))
        latent = labels * distance + OWN * (rows["difficulty"].to_numpy() + generator.normal(size=len(rows)))
        # odds of a positive from the normal densities of the classes, times the weight of positives in training,
        # which makes them those of two classes of equal size
        scores = expit(latent * distance - distance**2 / 2).astype(np.float32)
        return rows.drop(columns="difficulty").assign(model=model, score=scores)

    def _rows(self, spec: RunSpec) -> pd.DataFrame:
        name = spec.task.name
        if name not in self._tasks:
            label = spec.task.label
            index = self.pack.index
            positive = self.pack.labels(label) == 1
            binary = isinstance(spec.task, BinaryTask)
            rows = index[["image", "patient", "split", "view", "age_years", "sex"]].copy()
            rows["label"] = (positive if binary else ~positive).astype(np.int8)
            own = np.random.default_rng([7, *name.encode()])
            rows["difficulty"] = own.normal(size=len(rows))
            trained = (rows["split"] == "train") & (not binary) & (rows["label"] == 0)
            self._tasks[name] = rows[(rows["split"] != "train") | trained].reset_index(drop=True)
        return self._tasks[name]


def true_auroc(spec: RunSpec) -> float:
    """Return the AUROC that a run has but for its training noise."""
    place = list(SHARES).index(spec.task.label) if spec.task.label in SHARES else 3
    base = 0.72 + 0.012 * place
    effects = NETWORK_EFFECTS[spec.architecture] + OPTIMIZER_EFFECTS[spec.optimizer.name]
    policy = {"retrain": POLICY_EFFECTS.get(spec.policy.name, 0.0), "scratch": SCRATCH}.get(spec.stage, 0.0)
    return base + effects + policy


def _measures(table: pd.DataFrame) -> dict[str, Any]:
    by_split: dict[str, Any] = {}
    for split in ("train", "validation", "test"):
        rows = table[table["split"] == split]
        labels, scores = rows["label"].to_numpy(), rows["score"].to_numpy()
        both = 0 < labels.sum() < len(labels)
        by_split[split] = {
            "loss": 0.5,
            "accuracy": float(((scores >= 0.5) == labels).mean()) if len(labels) else 0.8,
            "auroc": float(roc_auc_score(labels, scores)) if both else 0.8,
            "average_precision": float(average_precision_score(labels, scores)) if both else 0.3,
            "images": len(labels) or 80_000,
            "positives": int(labels.sum()) if len(labels) else 8000,
            "seconds": 10.0,
        }
    return by_split


def _result(
    spec: RunSpec, measures: dict[str, Any], steps: int, seconds: float, last: dict[str, Any]
) -> dict[str, Any]:
    threshold = None if isinstance(spec.task, BinaryTask) else 0.5
    return {
        "status": "done",
        "reason": None,
        "samples": steps * spec.training.batch_size,
        "epochs": float(spec.training.epochs),
        "stopped_early": False,
        "train": last["train"],
        "validation": last["validation"],
        "best": {"progress": float(spec.training.epochs), "validation_loss": 0.5},
        "models": {name: of_model | {"threshold": threshold} for name, of_model in measures.items()},
        "threshold": threshold,
        "cost": {"steps": steps, "images": steps * spec.training.batch_size, "seconds": seconds, "cpu_hours": 0.0,
                 "gpu_hours": seconds / 3600},
        "target": None,
        "on_grid": None,
        "seconds": seconds,
        "checkpoint_sha256": "0" * 64,
    }  # fmt: skip
