"""What was predicted before training, against what came of it: plan.json beside the run folders."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import numpy as np

from clr_hpc.config.network import network
from clr_hpc.reporting import wording
from clr_hpc.reporting.read.study import RunRecord, StudyRecord
from clr_hpc.reporting.tables.html import Cell, Column, Table, number, words


@dataclass(frozen=True, slots=True)
class PredictedRun:
    """A run of the plan that is done."""

    run: str
    architecture: str
    lane: int
    predicted_seconds: float
    """Of training, evaluations on the way included."""
    actual_seconds: float

    @property
    def ratio(self) -> float:
        """Actual / predicted."""
        return self.actual_seconds / self.predicted_seconds


@dataclass(frozen=True, slots=True)
class Prediction:
    """A plan and what came of it."""

    place: str
    lanes: int
    planned: int
    """Runs of the plan."""
    runs: tuple[PredictedRun, ...]
    """Those that are done and take steps."""
    predicted_makespan: float
    actual_makespan: float
    """From when the plan was made to the last run's end. NaN: not known."""
    note: str
    """Why the actual makespan is not known, or what it leaves out; empty where there is nothing to say."""


def against_plan(study: StudyRecord) -> Prediction | None:
    """Compare a study's runs with its plan; None where nothing was planned."""
    plan = study.plan
    if not plan:
        return None
    records = {run.spec.name: run for run in study.runs}
    places = {run["name"]: (number, run) for number, lane in enumerate(plan["lanes"]) for run in lane["runs"]}
    known = {name: records[name] for name in places if name in records}
    done = {name: record for name, record in known.items() if record.status == "done"}
    makespan, note = _actual_makespan(datetime.fromisoformat(plan["made"]), list(known.values()))
    return Prediction(
        place=plan["place"],
        lanes=len(plan["lanes"]),
        planned=len(places),
        runs=tuple(
            _predicted(record, *places[name])
            for name, record in done.items()
            if places[name][1]["training_seconds"]
        ),
        predicted_makespan=plan["makespan_seconds"],
        actual_makespan=makespan,
        note=note,
    )


def _predicted(record: RunRecord, lane: int, planned: Mapping[str, Any]) -> PredictedRun:
    return PredictedRun(
        run=record.spec.name,
        architecture=network(record.spec.architecture).title,
        lane=lane,
        predicted_seconds=planned["training_seconds"],
        actual_seconds=record.result["seconds"],
    )


def _actual_makespan(made: datetime, runs: Sequence[RunRecord]) -> tuple[float, str]:
    """Return the time from the plan to the last end, and what is to be said of it."""
    missing = sum(run.status not in ("done", "failed") for run in runs)
    if missing or not runs:
        return float("nan"), f"{wording.count(missing, 'run')} of the plan did not end"
    ends = [_end(run) for run in runs]
    if any(end is None for end in ends):
        return float("nan"), "the runs do not say when they started and ended"
    # starts are noted to the second
    earliest = made - timedelta(seconds=1)
    if any(datetime.fromisoformat(run.environments[0]["started"]) < earliest for run in runs):
        return float("nan"), "some runs were begun before this plan was made"
    seconds = max(end for end in ends if end is not None) - made
    exact = all("ended" in run.result for run in runs)
    return seconds.total_seconds(), "" if exact else "It leaves out the last run's final evaluation."


def _end(run: RunRecord) -> datetime | None:
    """Return when a run ended, or when it took its last step where it doesn't say more; None: not known."""
    starts = [start["started"] for start in run.environments if "started" in start]
    if not starts:
        return None
    if "ended" in run.result:
        return datetime.fromisoformat(run.result["ended"])
    # "seconds" counts all starts of a run, so it gives the end of one that started once
    return (
        datetime.fromisoformat(starts[0]) + timedelta(seconds=run.result["seconds"]) if len(starts) == 1 else None
    )


def prediction_text(prediction: Prediction) -> str:
    """Return what was predicted and what came, in one or two sentences."""
    predicted = wording.duration(prediction.predicted_makespan)
    runs, lanes = wording.count(prediction.planned, "run"), wording.count(prediction.lanes, "lane")
    plan = f"{runs} in {lanes} ({prediction.place})"
    if prediction.actual_makespan != prediction.actual_makespan:
        return f"{plan}: predicted makespan {predicted}; the actual one is not known, since {prediction.note}."
    ratio = prediction.actual_makespan / prediction.predicted_makespan
    return (
        f"{plan}: predicted makespan {predicted}, actual {wording.duration(prediction.actual_makespan)}, "
        f"{wording.number(ratio, 2)} times the prediction. {prediction.note}".strip()
    )


def prediction_table(prediction: Prediction) -> Table:
    """Return a row an architecture, of the runs that are done: how long they took against the plan."""
    columns = [
        Column("Architecture"),
        Column("Runs", True, "Done, of those in the plan"),
        Column("Predicted", True, "Training time of all of them together, evaluations on the way included"),
        Column("Actual", True, "The same, as the runs took it"),
        Column("Actual / predicted", True, "Median over runs"),
        Column("Lowest", True),
        Column("Highest", True),
    ]
    rows = []
    for architecture in dict.fromkeys(run.architecture for run in prediction.runs):
        group = [run for run in prediction.runs if run.architecture == architecture]
        ratios = [run.ratio for run in group]
        predicted, actual = (sum(getattr(run, name) for run in group) for name in _SECONDS)
        rows.append(
            [
                words(architecture),
                Cell(str(len(group)), len(group)),
                Cell(wording.duration(predicted), predicted),
                Cell(wording.duration(actual), actual),
                number(float(np.median(ratios)), 2),
                number(min(ratios), 2),
                number(max(ratios), 2),
            ]
        )
    return Table("predicted", "Training time of the runs that are done", columns, rows)


_SECONDS = ("predicted_seconds", "actual_seconds")


def deviation_table(study: StudyRecord) -> Table:
    """Return the runs that were trained otherwise than their spec says, and in what."""
    columns = [
        Column("Run"),
        Column("Times diverged", True, "It went back to a checkpoint and on from there with a lower rate"),
        Column("lr_max, at last", True),
        Column("lr_max, specified", True),
        Column(
            "Micro-batches", True, "Parts that a batch was cut into for want of memory; batch norm saw each apart"
        ),
    ]
    rows = []
    for run in study.runs:
        divergences, parts = run.result.get("divergences") or [], run.result.get("micro_batches") or 1
        if not divergences and parts == 1:
            continue
        specified = run.spec.policy.lr_max
        last = divergences[-1]["lr_max"] if divergences else specified
        rows.append(
            [
                words(run.spec.name),
                Cell(str(len(divergences)), len(divergences)),
                Cell(f"{last:.3g}", last),
                Cell(f"{specified:.3g}", specified),
                Cell(str(parts), parts),
            ]
        )
    return Table("deviations", "Lower rates and smaller batches than specified", columns, rows)
