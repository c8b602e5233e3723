"""The report's tables as programs read them: full precision, nothing where a number isn't defined."""

import csv
import io
from collections.abc import Iterable

from clr_hpc.reporting.collect import StudyRecord
from clr_hpc.reporting.compare import Comparison
from clr_hpc.reporting.scoring import ResultRow, ScoredRun
from clr_hpc.spec.pathologies import NO_FINDING, PATHOLOGIES


def results_csv(rows: Iterable[ResultRow]) -> str:
    """Return one row a pathology, model and policy."""
    return _csv(
        {
            "pathology": row.setting.pathology,
            "architecture": row.setting.architecture,
            "optimizer": row.setting.optimizer,
            "policy": row.setting.policy,
            "seeds_planned": row.planned,
            "seeds_done": row.done,
            "training_accuracy": row.training_accuracy,
            "validation_accuracy": row.validation_accuracy,
            "always_no_accuracy": row.always_no_accuracy,
            "validation_auroc": row.auroc,
            "auroc_low": row.interval.low if row.interval else None,
            "auroc_high": row.interval.high if row.interval else None,
            "auroc_seed_sd": row.seed_spread,
            "validation_average_precision": row.average_precision,
            "validation_positives": row.positives,
            "validation_images": row.images,
            "epochs": row.epochs,
            "images_per_second": row.images_per_second,
            "seconds": row.seconds,
            "note": row.note,
        }
        for row in rows
    )


def policies_csv(comparisons: dict[str, Comparison]) -> str:
    """Return the mean of each policy over each named set of pathologies."""
    return _csv(
        {
            "pathologies": name,
            "pathologies_compared": len(comparison.pathologies),
            "runs": comparison.runs_a_policy,
            "policy": policy.policy,
            "mean_auroc": policy.auroc,
            "low": policy.interval.low if policy.interval else None,
            "high": policy.interval.high if policy.interval else None,
            "behind_best": policy.ahead,
            "behind_best_low": policy.ahead_interval.low if policy.ahead_interval else None,
            "behind_best_high": policy.ahead_interval.high if policy.ahead_interval else None,
            "training_accuracy": policy.training_accuracy,
            "validation_accuracy": policy.validation_accuracy,
            "always_no_accuracy": policy.always_no_accuracy,
            "seconds": policy.seconds,
        }
        for name, comparison in comparisons.items()
        for policy in comparison.policies
    )


def runs_csv(runs: Iterable[ScoredRun]) -> str:
    """Return one row a run, with its state."""
    metrics = ("loss", "accuracy", "auroc", "average_precision", "images", "positives")
    return _csv(
        {
            "run": run.record.spec.name,
            "pathology": run.setting.pathology,
            "architecture": run.record.spec.architecture,
            "optimizer": run.setting.optimizer,
            "policy": run.setting.policy,
            "seed": run.record.spec.seed,
            "status": run.record.status,
            "reason": run.record.reason or run.note,
            "epochs": run.record.result.get("epochs"),
            "samples": run.record.result.get("samples"),
            "seconds": run.record.result.get("seconds"),
            "images_per_second": run.record.images_per_second,
            **{
                f"{split}_{metric}": run.record.result.get(split, {}).get(metric)
                for split in ("train", "validation")
                for metric in metrics
            },
        }
        for run in runs
    )


def epochs_csv(runs: Iterable[ScoredRun]) -> str:
    """Return every evaluation of every run: what the curves are drawn from."""
    return _csv(
        {"run": run.record.spec.name} | {key: value for key, value in line.items() if key != "kind"}
        for run in runs
        for line in run.record.epochs
    )


def labels_csv(study: StudyRecord) -> str:
    """Return the counts of each label in each split."""
    return _csv(
        {"label": label, "split": name} | split.get("labels", {}).get(label, {})
        for name, split in study.pack["counts"]["splits"].items()
        for label in (*PATHOLOGIES, NO_FINDING)
    )


def _csv(rows: Iterable[dict[str, object]]) -> str:
    rows = [{key: _without_nan(value) for key, value in row.items()} for row in rows]
    fields = list(dict.fromkeys(key for row in rows for key in row))
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, fields, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return buffer.getvalue()


def _without_nan(value: object) -> object:
    return None if isinstance(value, float) and value != value else value
