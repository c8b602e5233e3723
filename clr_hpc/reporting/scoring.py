"""The AUROC of each run on each draw of patients, and a row for each setting over its seeds."""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from clr_hpc.reporting import wording
from clr_hpc.reporting.collect import RunRecord, StudyRecord
from clr_hpc.reporting.statistics import (
    RESAMPLES,
    Interval,
    auroc,
    defined_share,
    interval,
    patient_draws,
    resampled_auroc,
)


@dataclass(frozen=True, slots=True)
class Setting:
    """What a row of the results stands for, as labels that people read."""

    pathology: str
    architecture: str
    optimizer: str
    policy: str

    @property
    def model(self) -> str:
        """Architecture and optimizer: what curves are chosen by beside the pathology."""
        return f"{self.architecture}, {self.optimizer}"


@dataclass(frozen=True, slots=True)
class ScoredRun:
    """A run with its label and, where it is done, its AUROC on the validation split."""

    record: RunRecord
    setting: Setting
    auroc: float
    """NaN where it isn't defined."""
    draws: NDArray[np.float64]
    """(B,) the AUROC on each draw of patients; empty where the run has no predictions."""
    note: str
    """Why the AUROC or its interval isn't defined; else empty."""


@dataclass(frozen=True, slots=True)
class ResultRow:
    """One setting, as means over those of its seeds that are done. NaN: not defined."""

    setting: Setting
    planned: int
    done: int
    auroc: float
    interval: Interval | None
    seed_spread: float
    """Standard deviation of the AUROC over seeds, NaN with fewer than two."""
    note: str
    training_accuracy: float
    validation_accuracy: float
    always_no_accuracy: float
    """Of answering "no" to every image of the validation split."""
    always_no_training_accuracy: float
    average_precision: float
    positives: float
    images: float
    epochs: float
    images_per_second: float
    seconds: float


def score_runs(study: StudyRecord, generator: np.random.Generator) -> tuple[ScoredRun, ...]:
    """Label every run and compute its AUROC, also on draws of patients that come from ``generator``."""
    optimizers = wording.optimizer_labels(run.spec for run in study.runs)
    policies = wording.policy_labels(run.spec for run in study.runs)
    drawn = patient_draws(study.patients, RESAMPLES, generator)
    scored = []
    for run in study.runs:
        spec = run.spec
        setting = Setting(
            pathology=spec.pathology,
            architecture=wording.ARCHITECTURE_TITLES[spec.architecture],
            optimizer=optimizers[spec.optimizer.model_dump_json()],
            policy=policies[spec.policy.model_dump_json()],
        )
        scored.append(ScoredRun(run, setting, *_score(run, drawn)))
    return tuple(scored)


def _score(run: RunRecord, drawn: NDArray[np.int32]) -> tuple[float, NDArray[np.float64], str]:
    predictions = run.predictions
    if predictions is None:
        missing = "predictions.parquet is missing" if run.status == "done" else f"{run.status}: {run.reason}"
        return float("nan"), np.empty(0), missing
    labels, scores = predictions.labels, predictions.scores
    area = auroc(labels, scores)
    if np.isnan(area):
        which = "positive" if not labels.any() else "negative"
        return area, np.empty(0), f"no {which} image among {wording.count(len(labels), 'validation image')}"
    draws = resampled_auroc(labels, scores, predictions.patients, drawn)
    if interval(draws) is None:
        rare = labels if labels.sum() * 2 < len(labels) else ~labels
        patients = wording.count(len(np.unique(predictions.patients[rare])), "patient")
        return area, draws, f"{patients} of one class: only {defined_share(draws):.0%} of the draws hold both"
    return area, draws, ""


def result_rows(runs: Iterable[ScoredRun]) -> tuple[ResultRow, ...]:
    """Return one row a setting, in the study's order."""
    groups: dict[Setting, list[ScoredRun]] = defaultdict(list)
    for run in runs:
        groups[run.setting].append(run)
    return tuple(_row(setting, group) for setting, group in groups.items())


def _row(setting: Setting, group: list[ScoredRun]) -> ResultRow:
    done = [run for run in group if run.record.status == "done"]
    defined = [run for run in done if np.isfinite(run.auroc)]
    areas = [run.auroc for run in defined]
    notes = dict.fromkeys(run.note for run in group if run.note)
    return ResultRow(
        setting=setting,
        planned=len(group),
        done=len(done),
        auroc=mean_of_numbers(areas),
        interval=interval(np.mean([run.draws for run in defined], axis=0)) if defined else None,
        seed_spread=float(np.std(areas, ddof=1)) if len(areas) > 1 else float("nan"),
        note="; ".join(notes),
        training_accuracy=_mean_result(done, "train", "accuracy"),
        validation_accuracy=_mean_result(done, "validation", "accuracy"),
        always_no_accuracy=mean_of_numbers(always_no_accuracy(run.record, "validation") for run in done),
        always_no_training_accuracy=mean_of_numbers(always_no_accuracy(run.record, "train") for run in done),
        average_precision=_mean_result(done, "validation", "average_precision"),
        positives=_mean_result(done, "validation", "positives"),
        images=_mean_result(done, "validation", "images"),
        epochs=mean_of_numbers(run.record.result["epochs"] for run in done),
        images_per_second=mean_of_numbers(run.record.images_per_second for run in done),
        seconds=mean_of_numbers(run.record.result["seconds"] for run in done),
    )


def always_no_accuracy(record: RunRecord, split: str) -> float:
    """Return the accuracy of a model that always answers "no", NaN before the run's first evaluation."""
    for line in record.epochs:
        if line["split"] == split and line["images"]:
            return float(1 - line["positives"] / line["images"])
    return float("nan")


def _mean_result(runs: list[ScoredRun], split: str, metric: str) -> float:
    return mean_of_numbers(run.record.result[split][metric] for run in runs)


def mean_of_numbers(values: Iterable[float | None]) -> float:
    """Return the mean of those values that are numbers, NaN where none is."""
    numbers = [value for value in values if value is not None and np.isfinite(value)]
    return float(np.mean(numbers)) if numbers else float("nan")
