"""What was predicted before training against what it took, and runs trained otherwise than specified."""

from collections.abc import Callable

import numpy as np

from clr_hpc.reporting import wording
from clr_hpc.reporting.read.plan import PredictedRun, Prediction
from clr_hpc.reporting.read.study import RunRecord, StudyRecord
from clr_hpc.reporting.tables.table import Column, Table, tabulate
from clr_hpc.reporting.wording import duration, ratio


def prediction_text(prediction: Prediction) -> str:
    """Return the predicted and the actual makespan in one or two sentences."""
    predicted = wording.duration(prediction.predicted_makespan)
    runs, lanes = wording.count(prediction.planned, "run"), wording.count(prediction.lanes, "lane")
    plan = f"{runs} in {lanes} ({prediction.place})"
    if prediction.actual_makespan != prediction.actual_makespan:
        return f"{plan}: predicted makespan {predicted}; the actual one is unknown: {prediction.note}."
    ratio = prediction.actual_makespan / prediction.predicted_makespan
    return (
        f"{plan}: predicted makespan {predicted}, actual {wording.duration(prediction.actual_makespan)}, "
        f"{wording.number(ratio, 2)} times the prediction. {prediction.note}".strip()
    )


def prediction_table(prediction: Prediction) -> Table:
    """Return one row per architecture, of the runs that are done: their training time against the plan."""
    groups: dict[str, list[PredictedRun]] = {}
    for run in prediction.runs:
        groups.setdefault(run.architecture, []).append(run)

    def total(name: str) -> Callable[[str], float]:
        return lambda architecture: sum(getattr(run, name) for run in groups[architecture])

    def of_ratios(summary: Callable[[list[float]], float]) -> Callable[[str], float]:
        return lambda name: float(summary([run.ratio for run in groups[name]]))

    columns = [
        Column("Architecture", lambda name: name),
        Column("Runs", lambda name: len(groups[name]), str, "Done, of those in the plan"),
        Column("Predicted", total("predicted_seconds"), duration, "Sum of training times, evaluation included"),
        Column("Actual", total("actual_seconds"), duration, "The same, as measured"),
        Column("Actual / predicted", of_ratios(np.median), ratio, "Median over runs"),
        Column("Lowest", of_ratios(min), ratio),
        Column("Highest", of_ratios(max), ratio),
    ]
    return tabulate("predicted", "Training time of the runs that are done", columns, groups)


def deviation_table(study: StudyRecord) -> Table:
    """Return the runs that recovered from a divergence or a lack of memory, and how they were trained."""
    columns = [
        Column("Run", "spec.name"),
        Column("Recoveries", lambda run: len(_divergences(run)), str,
               "Divergences: training resumed from a checkpoint with a lower learning rate"),
        Column("lr_max, final", _last_lr_max, "{:.3g}".format),
        Column("lr_max, specified", "spec.policy.lr_max", "{:.3g}".format),
        Column("Micro-batches", _micro_batches, str,
               "Parts that a batch was split into for lack of memory; batch norm saw each separately"),
    ]  # fmt: skip
    deviating = [run for run in study.runs if _divergences(run) or _micro_batches(run) > 1]
    return tabulate("deviations", "Lower rates and smaller batches than specified", columns, deviating)


def _divergences(run: RunRecord) -> list[dict[str, float]]:
    return run.result.get("divergences") or []


def _last_lr_max(run: RunRecord) -> float:
    divergences = _divergences(run)
    return divergences[-1]["lr_max"] if divergences else run.spec.policy.lr_max


def _micro_batches(run: RunRecord) -> int:
    return run.result.get("micro_batches") or 1
