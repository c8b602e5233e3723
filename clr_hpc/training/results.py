"""The result of a run: its models, their scores on the test and validation images, its cost."""

from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from clr_hpc.config.grid import points_per_epoch
from clr_hpc.config.pathologies import PATHOLOGIES
from clr_hpc.config.task import BinaryTask, OneClassTask
from clr_hpc.data.splits import SplitName
from clr_hpc.models.one_class.base import threshold
from clr_hpc.models.one_class.floors import floor_scores, statistics
from clr_hpc.store import layout
from clr_hpc.store.atomic import atomic_write
from clr_hpc.store.checkpoints import Progress
from clr_hpc.store.predictions import FLOORS
from clr_hpc.store.run_folder import read_metrics
from clr_hpc.training.checkpoint import load_average
from clr_hpc.training.metrics import Evaluation, compute_metrics
from clr_hpc.training.recorder import StepRecorder
from clr_hpc.training.saver import Saver, baseline_result
from clr_hpc.training.trainer import Trainer

PREDICTION_COLUMNS = ["image", "patient", "split", "view", "age_years", "sex"]
SPLITS: tuple[SplitName, ...] = ("train", "validation", "test")
Evaluations = dict[SplitName, Evaluation]
ROUNDING = 1e-6
"""Of a loss on the grid: a run starts at its baseline's loss, which other hardware rounds in another way."""


def evaluate_run(
    trainer: Trainer, saver: Saver, progress: Progress, recorder: StepRecorder, known: Evaluations
) -> dict[str, Any]:
    """Evaluate the run's models, once on the test split, write their predictions, and return the result.

    All processes evaluate; rank 0 writes. ``known`` holds evaluations of the model as it is now, if any.
    """
    seconds = recorder.elapsed_seconds  # of training: a cyclical run has more models to evaluate from here on
    models: dict[str, dict[str, Any]] = {}
    tables = []
    one_class = isinstance(trainer.spec.task, OneClassTask)
    further = _floors_and_findings(trainer) if one_class and trainer.group.is_rank0 else None
    for name, evaluations in _models(trainer, saver, progress.samples, known):
        models[name] = {split: evaluations[split].metrics.as_dict() for split in SPLITS}
        models[name]["threshold"] = _threshold(trainer, evaluations["train"])
        tables.append(_predictions(trainer, name, evaluations, further))
        if name == "last" and trainer.group.is_rank0:
            _record_validation_scores(trainer, saver, progress.samples, evaluations["validation"])
    if trainer.group.is_rank0:
        with trainer.timeline("logging"), atomic_write(saver.path / layout.PREDICTIONS) as temporary:
            pd.concat(tables, ignore_index=True).to_parquet(temporary, index=False)
    epochs = trainer.epochs(progress.samples)
    return {
        "status": "done",
        "reason": None,
        "samples": progress.samples,
        "epochs": epochs,
        "stopped_early": trainer.model.takes_steps and epochs < trainer.spec.training.epochs,
        **{split: models["last"][split] for split in ("train", "validation")},
        "best": {"progress": progress.best_progress, "validation_loss": progress.best_loss},
        "models": models,
        "threshold": models["last"]["threshold"],
        "cost": _cost(trainer, progress.samples, seconds),
        "target": _target(trainer, saver.path) if trainer.group.is_rank0 else None,
        "on_grid": _on_grid(trainer, saver.path) if trainer.group.is_rank0 else None,
        "seconds": seconds,
    }


def _models(trainer: Trainer, saver: Saver, samples: int, known: Evaluations) -> Iterator[tuple[str, Evaluations]]:
    """Yield the last model and, where two cycles ended or more, the snapshot ensemble and the averaged weights."""
    missing = [split for split in SPLITS if split not in known]
    last = known | trainer.evaluate(*missing)
    yield "last", _with_held_out_scores(trainer, last)
    kept = saver.snapshots()
    if len(kept) < 2:
        return
    members = []
    for seen, weights in kept.items():
        if seen == samples:  # the last model itself
            members.append(last)
            continue
        trainer.model.load_state_dict(weights)
        members.append(trainer.evaluate(*SPLITS))
    yield "snapshots", {split: _mean(trainer, split, [member[split] for member in members]) for split in SPLITS}
    with trainer.timeline("evaluation"):
        load_average(trainer.model, list(kept.values()), trainer.training_images)
    trainer.fit_scores()
    saver.save_average(trainer.model, len(kept))
    yield "swa", trainer.evaluate(*SPLITS)


def _mean(trainer: Trainer, split: SplitName, members: list[Evaluation]) -> Evaluation:
    """Return the ensemble whose score is the mean of its members'; it has no loss of its own."""
    scores = np.stack([member.scores for member in members]).mean(axis=0)
    seconds = sum(member.metrics.seconds for member in members)
    rows = trainer.data.splits[split]
    losses = np.empty(0, np.float32)
    return Evaluation(compute_metrics(scores, rows, trainer.decision, losses, seconds), scores, losses)


def _with_held_out_scores(trainer: Trainer, evaluations: Evaluations) -> Evaluations:
    """Use, where the model has them, scores of the training images by models that did not see them."""
    held_out = trainer.model.held_out_training_scores
    if held_out is None:
        return evaluations
    train = evaluations["train"]
    scores = train.scores.copy()
    scores[trainer.data.trained_on] = held_out.cpu().numpy()
    return evaluations | {"train": replace(train, scores=scores)}


def _record_validation_scores(trainer: Trainer, saver: Saver, samples: int, validation: Evaluation) -> None:
    """Record the scores of a precision-recall curve; a one-class score is no probability."""
    labels = trainer.data.splits["validation"].labels
    if isinstance(trainer.spec.task, BinaryTask) and len(labels):
        saver.folder.record_answers(samples, "validation", labels, validation.scores)


def _threshold(trainer: Trainer, train: Evaluation) -> float | None:
    """Return the score from which an image counts as anomalous, which only a one-class model needs."""
    if not isinstance(trainer.spec.task, OneClassTask):
        return None
    return threshold(train.scores[trainer.data.trained_on], trainer.spec.task.threshold_quantile)


def _floors_and_findings(trainer: Trainer) -> pd.DataFrame:
    """Return, by row of the pack, the findings of the images of a one-class run, and the scores of its floors."""
    splits = [trainer.data.splits[split] for split in SPLITS]
    rows = np.concatenate([split.rows for split in splits])
    labels = np.concatenate([split.labels for split in splits]) == 1
    with trainer.timeline("evaluation"):
        parts = [statistics(trainer.pack.gather(part)) for part in np.array_split(rows, -(-len(rows) // 1024))]
    scores = floor_scores(np.concatenate(parts), labels, np.arange(len(rows)) < len(splits[0]))
    known = [pathology for pathology in PATHOLOGIES if pathology in trainer.pack.index]
    positive = {pathology: trainer.pack.labels(pathology)[rows] == 1 for pathology in known}
    names = ["|".join(name for name, has_it in positive.items() if has_it[place]) for place in range(len(rows))]
    return pd.DataFrame(
        {"findings": names, **{FLOORS[floor]: values for floor, values in scores.items()}}, index=rows
    )


def _predictions(
    trainer: Trainer, model: str, evaluations: Evaluations, further: pd.DataFrame | None
) -> pd.DataFrame:
    """Return one row per image: validation and test, and for a one-class model the images it was trained on.

    ``further`` has more columns, by row of the pack.
    """
    parts = []
    for split in SPLITS:
        rows, scores = trainer.data.splits[split], evaluations[split].scores
        chosen = np.ones(len(rows), dtype=bool)
        if split == "train":
            chosen = trainer.data.trained_on & isinstance(trainer.spec.task, OneClassTask)
        table = trainer.pack.index.loc[rows.rows[chosen], PREDICTION_COLUMNS].reset_index(drop=True)
        table["label"] = rows.labels[chosen].astype(np.int8)
        table["model"] = model
        table["score"] = scores[chosen]
        if further is not None:
            table = table.join(further.loc[rows.rows[chosen]].reset_index(drop=True))
        parts.append(table)
    return pd.concat(parts, ignore_index=True)


def _cost(trainer: Trainer, samples: int, seconds: float) -> dict[str, float]:
    on_gpu = trainer.device.type == "cuda"
    hours = seconds * trainer.group.size / 3600
    return {
        "steps": samples // trainer.batch_size,
        "images": samples,
        "seconds": seconds,
        "cpu_hours": 0.0 if on_gpu else hours * torch.get_num_threads(),
        "gpu_hours": hours if on_gpu else 0.0,
    }


def _target(trainer: Trainer, folder: Path) -> dict[str, Any] | None:
    """Return when this run first reached the best validation loss of its baseline, at the end of an epoch."""
    if trainer.spec.start is None or not trainer.model.takes_steps:
        return None
    wanted = baseline_result(trainer.spec.start, folder.parent).get("best", {}).get("validation_loss")
    measured = (line for line in read_metrics(folder) if line.get("split") == "validation")
    return None if wanted is None else _first_at(trainer, wanted, measured)


def _on_grid(trainer: Trainer, folder: Path) -> dict[str, Any] | None:
    """Return the best loss on the grid, and when this run first reached that of its baseline."""
    lines = [line for line in read_metrics(folder) if line["kind"] == "grid"]
    trained = [line for line in lines if line["samples"]]
    if not trained:
        return None
    wanted = None
    if trainer.spec.start is not None:
        of_baseline = baseline_result(trainer.spec.start, folder.parent).get("on_grid")
        wanted = None if of_baseline is None else of_baseline["best_loss"]
    return {
        "images": lines[0]["images"],
        "points_per_epoch": points_per_epoch(trainer.steps_per_epoch),
        "best_loss": min((line["loss"] for line in trained if line["loss"] is not None), default=None),
        "target": None if wanted is None else _first_at(trainer, wanted, lines, ROUNDING),
    }


def _first_at(
    trainer: Trainer, wanted: float, lines: Iterable[dict[str, Any]], rounding: float = 0.0
) -> dict[str, Any]:
    """Return at which of these lines of the metrics the loss was first as low as ``wanted``."""
    limit = wanted + rounding * abs(wanted)
    reached = next((line for line in lines if line["loss"] is not None and line["loss"] <= limit), None)
    if reached is None:
        return {"validation_loss": wanted, "reached_at": None}
    samples = reached["samples"]
    return {
        "validation_loss": wanted,
        "reached_at": {
            "steps": samples // trainer.batch_size,
            "images": samples,
            "progress": reached["progress"],
            "seconds": reached["elapsed_seconds"],
        },
    }
