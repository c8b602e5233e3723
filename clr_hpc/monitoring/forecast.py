"""How far a study is and how long the rest takes, from the plan in its folder and what its runs have taken."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from operator import mul
from pathlib import Path
from statistics import fmean

from clr_hpc.config.run import RunSpec
from clr_hpc.monitoring.status import RunStatus, State
from clr_hpc.store.study_files import PlannedRun, read_plan

ENDED = (State.DONE, State.FAILED)


@dataclass(frozen=True)
class Forecast:
    """The progress of a study."""

    fraction: float
    """Of its work that is done, from 0 to 1."""
    ended: int
    """Runs that are done or failed."""
    runs: int
    seconds_left: float | None
    """None: nothing says how long a run takes, or nothing is being trained."""


def planned_runs(study_folder: Path) -> dict[str, PlannedRun]:
    """Return what the plan in a study's folder says of each run; empty without a plan that can be read."""
    plan = read_plan(study_folder)
    return {run["name"]: run for lane in plan["lanes"] for run in lane["runs"]} if isinstance(plan, dict) else {}


def forecast(statuses: Sequence[RunStatus], planned: Mapping[str, PlannedRun]) -> Forecast:
    """Predict the rest of a study.

    A run that is being trained goes by its own speed, another by its planned time, corrected by how right the plan
    was so far; without a plan by its epochs and the seconds that an epoch took so far.

    Args:
        statuses: of all its runs.
        planned: the plan's runs, by name.
    """
    seconds = _whole_seconds(statuses, planned)
    weights = seconds or [float(status.spec.training.epochs) for status in statuses]
    done = [_progress(status) for status in statuses]
    ended = sum(status.state in ENDED for status in statuses)
    left = None if seconds is None else _seconds_left(statuses, seconds, done)
    fraction = sum(map(mul, weights, done)) / sum(weights) if weights else 1.0
    return Forecast(fraction, ended, len(statuses), left)


def _seconds_left(statuses: Sequence[RunStatus], seconds: list[float], done: list[float]) -> float | None:
    """Share out what is left among as many lanes as are training; the longest run takes its time anyway."""
    left = [whole * (1 - part) for whole, part in zip(seconds, done, strict=True)]
    longest, lanes = 0.0, 0
    for number, status in enumerate(statuses):
        if status.state == State.RUNNING:
            left[number] = left[number] if status.seconds_left is None else status.seconds_left
            longest, lanes = max(longest, left[number]), lanes + 1
    return max(sum(left) / lanes, longest) if lanes else None


def _progress(status: RunStatus) -> float:
    """Return how much of a run is done; one that failed has nothing left to do."""
    if status.state in ENDED:
        return 1.0
    return min((status.epoch or 0.0) / status.spec.training.epochs, 1.0)


def _whole_seconds(statuses: Sequence[RunStatus], planned: Mapping[str, PlannedRun]) -> list[float] | None:
    """Return the seconds that each run takes from its beginning to its end; None where nothing says so."""
    taken = {
        status.spec.name: status.seconds for status in statuses if status.state == State.DONE and status.seconds
    }
    both = taken.keys() & planned.keys()
    expected = sum(planned[name]["training_seconds"] for name in both)
    factor = sum(taken[name] for name in both) / expected if expected else 1.0
    paces = [status.seconds / status.epoch for status in statuses if status.seconds and status.epoch]
    if not paces and not planned:
        return None
    pace = fmean(paces) if paces else 0.0

    def whole(spec: RunSpec) -> float:
        if spec.name in taken:
            return taken[spec.name]
        if (run := planned.get(spec.name)) is not None:
            return (run["end"] - run["start"]) * factor
        return pace * spec.training.epochs

    return [whole(status.spec) for status in statuses]
