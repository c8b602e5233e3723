"""What a run comes to: its models, their scores on the images that decide, what it cost."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from clr_hpc.config.task import BinaryTask, OneClassTask
from clr_hpc.data.splits import SplitName
from clr_hpc.models.one_class.base import threshold
from clr_hpc.store.atomic import atomic_write
from clr_hpc.store.run_folder import read_metrics
from clr_hpc.training.checkpoint import Progress, load_average
from clr_hpc.training.metrics import Evaluation, measure
from clr_hpc.training.recorder import StepRecorder
from clr_hpc.training.saver import Saver, baseline_result
from clr_hpc.training.trainer import Trainer

PREDICTION_COLUMNS = ["image", "patient", "split", "view", "age_years", "sex"]
SPLITS: tuple[SplitName, ...] = ("train", "validation", "test")
Evaluations = dict[SplitName, Evaluation]


def outcome(
    run: Trainer, folder: Saver, progress: Progress, log: StepRecorder, known: Evaluations
) -> dict[str, Any]:
    """Evaluate the run's models, once on the test split, write their predictions, and return the result.

    All processes evaluate; the first one writes. ``known`` is what the model answered as it is now, of any splits.
    """
    seconds = log.elapsed_seconds  # of training: a cyclical run has more models to evaluate from here on
    models: dict[str, dict[str, Any]] = {}
    tables = []
    for name, evaluations in _models(run, folder, progress.samples, known):
        models[name] = {split: evaluations[split].metrics.as_dict() for split in SPLITS}
        models[name]["threshold"] = _threshold(run, evaluations["train"])
        tables.append(_predictions(run, name, evaluations))
        if name == "last" and run.group.is_rank0:
            _draw_answers(run, folder, progress.samples, evaluations["validation"])
    if run.group.is_rank0:
        with run.phases("logging"), atomic_write(folder.path / "predictions.parquet") as temporary:
            pd.concat(tables, ignore_index=True).to_parquet(temporary, index=False)
    epochs = run.epochs(progress.samples)
    return {
        "status": "done",
        "reason": None,
        "samples": progress.samples,
        "epochs": epochs,
        "stopped_early": run.model.takes_steps and epochs < run.spec.training.epochs,
        **{split: models["last"][split] for split in ("train", "validation")},
        "best": {"progress": progress.best_progress, "validation_loss": progress.best_loss},
        "models": models,
        "threshold": models["last"]["threshold"],
        "cost": _cost(run, progress.samples, seconds),
        "target": _target(run, folder.path) if run.group.is_rank0 else None,
        "seconds": seconds,
    }


def _models(run: Trainer, folder: Saver, samples: int, known: Evaluations) -> Iterator[tuple[str, Evaluations]]:
    """Yield the last model and, where two cycles ended or more, the snapshot ensemble and the averaged weights."""
    missing = [split for split in SPLITS if split not in known]
    last = known | run.evaluate(*missing)
    yield "last", _with_held_out_scores(run, last)
    kept = folder.snapshots()
    if len(kept) < 2:
        return
    members = []
    for seen, weights in kept.items():
        if seen == samples:  # the last model itself
            members.append(last)
            continue
        run.model.load_state_dict(weights)
        members.append(run.evaluate(*SPLITS))
    yield "snapshots", {split: _mean(run, split, [member[split] for member in members]) for split in SPLITS}
    with run.phases("evaluation"):
        load_average(run.model, list(kept.values()), run.training_images())
    with run.phases("checkpoints"):
        folder.save_average(run.model, len(kept))
    yield "swa", run.evaluate(*SPLITS)


def _mean(run: Trainer, split: SplitName, members: list[Evaluation]) -> Evaluation:
    """Return the ensemble whose score is the mean of its members'; it has no loss of its own."""
    scores = np.stack([member.scores for member in members]).mean(axis=0)
    seconds = sum(member.metrics.seconds for member in members)
    rows = run.data.splits[split]
    return Evaluation(measure(scores, rows, run.decision, np.empty(0, np.float32), seconds), scores)


def _with_held_out_scores(run: Trainer, evaluations: Evaluations) -> Evaluations:
    """Use, where the model has them, scores of the training images by models that did not see them."""
    held_out = run.model.held_out_training_scores
    if held_out is None:
        return evaluations
    train = evaluations["train"]
    scores = train.scores.copy()
    scores[run.data.trained_on] = held_out.cpu().numpy()
    return evaluations | {"train": Evaluation(train.metrics, scores)}


def _draw_answers(run: Trainer, folder: Saver, samples: int, validation: Evaluation) -> None:
    """Record what a precision-recall curve is drawn from; a one-class score is no probability."""
    labels = run.data.splits["validation"].labels
    if isinstance(run.spec.task, BinaryTask) and len(labels):
        folder.folder.record_answers(samples, "validation", labels, validation.scores)


def _threshold(run: Trainer, train: Evaluation) -> float | None:
    """Return the score from which an image counts as anomalous, which only a one-class model needs."""
    if not isinstance(run.spec.task, OneClassTask):
        return None
    return threshold(train.scores[run.data.trained_on], run.spec.task.threshold_quantile)


def _predictions(run: Trainer, model: str, evaluations: Evaluations) -> pd.DataFrame:
    """Return a row an image: validation and test, and of a one-class model the images it learned from."""
    parts = []
    for split in SPLITS:
        rows, scores = run.data.splits[split], evaluations[split].scores
        chosen = np.ones(len(rows), dtype=bool)
        if split == "train":
            chosen = run.data.trained_on & isinstance(run.spec.task, OneClassTask)
        table = run.pack.index.loc[rows.rows[chosen], PREDICTION_COLUMNS].reset_index(drop=True)
        table["label"] = rows.labels[chosen].astype(np.int8)
        table["model"] = model
        table["score"] = scores[chosen]
        parts.append(table)
    return pd.concat(parts, ignore_index=True)


def _cost(run: Trainer, samples: int, seconds: float) -> dict[str, float]:
    on_gpu = run.device.type == "cuda"
    hours = seconds * run.group.size / 3600
    return {
        "steps": samples // run.batch_size,
        "images": samples,
        "seconds": seconds,
        "cpu_hours": 0.0 if on_gpu else hours * torch.get_num_threads(),
        "gpu_hours": hours if on_gpu else 0.0,
    }


def _target(run: Trainer, folder: Path) -> dict[str, Any] | None:
    """Return when this run first was as good on the validation split as its baseline at its best."""
    if run.spec.start is None or not run.model.takes_steps:
        return None
    wanted = baseline_result(run.spec.start, folder.parent)["best"]["validation_loss"]
    if wanted is None:
        return None
    measured = (entry for entry in read_metrics(folder) if entry.get("split") == "validation")
    reached = next((entry for entry in measured if entry["loss"] is not None and entry["loss"] <= wanted), None)
    if reached is None:
        return {"validation_loss": wanted, "reached_at": None}
    samples = reached["samples"]
    return {
        "validation_loss": wanted,
        "reached_at": {
            "steps": samples // run.batch_size,
            "images": samples,
            "progress": reached["progress"],
            "seconds": reached["elapsed_seconds"],
        },
    }
