"""What was predicted before training, against what was measured: plan.json next to the run folders."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from clr_hpc.config.network import network
from clr_hpc.reporting import wording
from clr_hpc.reporting.read.study import RunRecord, StudyRecord


@dataclass(frozen=True, slots=True)
class PredictedRun:
    """A run of the plan that is done."""

    run: str
    architecture: str
    lane: int
    predicted_seconds: float
    """Of training, evaluation between epochs included."""
    actual_seconds: float

    @property
    def ratio(self) -> float:
        """Actual / predicted."""
        return self.actual_seconds / self.predicted_seconds


@dataclass(frozen=True, slots=True)
class Prediction:
    """A plan and the runs' actual times."""

    place: str
    lanes: int
    planned: int
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
    """Return the time from the plan to the last end, and a note on it."""
    missing = sum(run.status not in ("done", "failed") for run in runs)
    if missing or not runs:
        return float("nan"), f"{wording.count(missing, 'run')} of the plan did not end"
    ends = [_end(run) for run in runs]
    if any(end is None for end in ends):
        return float("nan"), "the runs did not record when they started and ended"
    # starts are noted to the second
    earliest = made - timedelta(seconds=1)
    if any(datetime.fromisoformat(run.environments[0]["started"]) < earliest for run in runs):
        return float("nan"), "some runs started before this plan was made"
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
