"""A study's folder as training makes it, without the training: real run folders with invented numbers."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from made_records import done_result, metrics

from clr_hpc.config.expand import expand
from clr_hpc.config.load import load_study
from clr_hpc.config.run import RunSpec
from clr_hpc.config.study import Study
from clr_hpc.store.run_folder import RunFolder
from clr_hpc.store.study_folder import StudyFolder

CHECKSUM = "c0ffee" + "0" * 58
SAMPLES_PER_EPOCH, BATCH, SECONDS_PER_EPOCH = 160, 32, 4.0


class InventedStudy:
    """A study that was started, and what becomes of its runs."""

    def __init__(self, folder: Path, **changes: Any) -> None:
        self.file = folder / "invented.yaml"
        self.of_sample: dict[str, int] = {}
        """What lines of the training split have besides where they are of a sample."""
        values: dict[str, Any] = {
            "name": "invented",
            "pack": str(folder / "pack"),
            "pathologies": ["effusion", "edema"],
            "optimizers": ["sgd"],
            "rates": {"sgd": {"lr_min": 0.001, "lr_max": 0.01}},
            "stages": {
                "baseline": {"policies": ["cosine"]},
                "retrain": {"policies": [{"name": "triangular", "half_cycle_epochs": 1}]},
            },
            "training": {"epochs": 4, "image_size": 32, "batch_size": BATCH},
        }
        self.file.write_text(yaml.safe_dump(values | changes))
        (folder / "pack").mkdir()
        (folder / "pack" / "manifest.json").write_text(json.dumps({"checksum": CHECKSUM}))
        self.study: Study = load_study(self.file)
        self.results = folder / "results"
        self.folder = StudyFolder(self.results / "invented")
        self.folder.prepare(self.study, folder / "pack")
        self.runs: tuple[RunSpec, ...] = expand(self.study, CHECKSUM)

    def path(self, spec: RunSpec) -> Path:
        """Return a run's folder."""
        return self.folder.runs / spec.name

    def begin(self, spec: RunSpec, epochs: float, at: int = 0) -> RunFolder:
        """Train a run to some progress from ``at`` samples, and leave it open."""
        folder = RunFolder(self.path(spec)).open(spec, {"host": "here"}, "lane 2")
        folder.resume_at(at)
        if at == 0:
            folder.record_inputs(np.full((4, 8, 8), 0.5, np.float32), 0)
        for samples in range(at + BATCH, round(epochs * SAMPLES_PER_EPOCH) + 1, BATCH):
            progress = samples / SAMPLES_PER_EPOCH
            seconds = progress * SECONDS_PER_EPOCH
            folder.record_step(
                samples,
                progress=progress,
                loss=1 / progress,
                lr=0.01,
                momentum=0.9,
                gradient_norm=2.0,
                images_per_second=50.0,
                elapsed_seconds=seconds,
            )
            if samples % SAMPLES_PER_EPOCH == 0:
                for split in ("train", "validation"):
                    measured = metrics(0.5 + progress / 10) | (self.of_sample if split == "train" else {})
                    folder.record_epoch(samples, progress, split, measured, seconds)
                labels = np.array([0, 1, 0, 1], np.float32)
                folder.record_answers(samples, "validation", labels, np.array([0.1, 0.9, 0.6, 0.4], np.float32))
        return folder

    def finish(self, spec: RunSpec, at: int = 0) -> None:
        """Train a run from ``at`` samples to its end."""
        with self.begin(spec, spec.training.epochs, at) as folder:
            end = 0.5 + spec.training.epochs / 10
            folder.finish(
                done_result(
                    samples=spec.training.epochs * SAMPLES_PER_EPOCH,
                    epochs=float(spec.training.epochs),
                    train=metrics(end),
                    validation=metrics(end),
                    seconds=spec.training.epochs * SECONDS_PER_EPOCH,
                )
            )

    def fail(self, spec: RunSpec, reason: str) -> None:
        """Let a run fail in its second epoch."""
        with self.begin(spec, 1.2) as folder:
            folder.finish({"status": "failed", "reason": reason, "traceback": "...", "seconds": 5.0})

    def stop(self, spec: RunSpec, epochs: float, saved_at: float | None) -> None:
        """Stop a run, with a checkpoint of an earlier moment or none."""
        with self.begin(spec, epochs):
            checkpoints = self.path(spec) / "checkpoints"
            checkpoints.mkdir()
            if saved_at is not None:
                (checkpoints / f"{round(saved_at * SAMPLES_PER_EPOCH):012d}.safetensors").touch()
