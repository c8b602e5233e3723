"""``plan.json`` of a study's folder: what was predicted, for comparing it with what came of it."""

from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from clr_hpc.execution.plan import Plan, PlannedLane
from clr_hpc.store.atomic import write_json

FORMAT_VERSION = 1


def write_plan(study_folder: Path, plan: Plan, place: str) -> None:
    """Write a plan into a study's folder, whole or not at all, at the moment from which its seconds count.

    Args:
        study_folder: ``results/<study>``, which is made where it isn't there.
        plan: of the runs that are about to be trained.
        place: ``here``, ``ray`` or ``slurm``.
    """
    study_folder.mkdir(parents=True, exist_ok=True)
    write_json(study_folder / "plan.json", plan_as_json(plan, place, datetime.now(UTC)))


def plan_as_json(plan: Plan, place: str, made: datetime) -> dict[str, Any]:
    """Return a plan as JSON-able values; docs/plan.md says what they mean."""
    return {
        "format_version": FORMAT_VERSION,
        "made": made.isoformat(timespec="milliseconds"),
        "place": place,
        "resources": plan.resources.model_dump(mode="json"),
        "makespan_seconds": plan.makespan_seconds,
        "lower_bound_seconds": plan.lower_bound_seconds,
        "lane_start_seconds": plan.lane_start_seconds,
        "busy_hours": plan.busy_hours,
        "held_hours": plan.held_hours,
        "memory_bytes": plan.memory_bytes,
        "cohorts": [asdict(cohort) for cohort in plan.cohorts],
        "lanes": [_lane(lane) for lane in plan.lanes],
    }


def _lane(lane: PlannedLane) -> dict[str, Any]:
    return {
        **lane.shape.model_dump(mode="json"),
        "runs": [
            {
                "name": run.name,
                "start": round(run.start, 3),
                "end": round(run.end, 3),
                "training_seconds": round(run.training_seconds, 3),
            }
            for run in lane.runs
        ],
    }
