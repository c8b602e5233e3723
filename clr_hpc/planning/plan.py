"""Which lane trains which run and when, predicted. Pure: nothing is trained or measured here.

Lanes are chosen so that the study ends soonest: many narrow ones where there is more work than GPUs, and wide
ones for the long chains where there are more GPUs than runs. `docs/benchmarks.md` says how well it does.
"""

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Any

from clr_hpc.config.resources import LaneShape, Resources
from clr_hpc.config.run import RunSpec
from clr_hpc.data.manifest import read_manifest
from clr_hpc.planning.lanes import best_schedule
from clr_hpc.planning.queue import QueuedRun, StudyQueue
from clr_hpc.planning.schedule import LowerBound, Schedule, lower_bound, schedule
from clr_hpc.planning.throughput import Forecast, ThroughputTable
from clr_hpc.planning.workload import work_of
from clr_hpc.store import layout
from clr_hpc.store.atomic import write_json


@dataclass(frozen=True, slots=True)
class PlannedRun:
    """A run in its lane; seconds count from the start of the lanes' processes."""

    name: str
    after: str | None
    stage: str
    network: str
    start: float
    end: float
    training_seconds: float
    """What ``result.json`` calls ``seconds``: without the final evaluation."""


@dataclass(frozen=True, slots=True)
class PlannedLane:
    """What one worker group trains, in this order."""

    shape: LaneShape
    speed: float
    """How much faster than a lane of the first shape on offer."""
    runs: tuple[PlannedRun, ...]


@dataclass(frozen=True, slots=True)
class NetworkTotal:
    """Runs of one network at one image size."""

    network: str
    image_size: int
    runs: int
    seconds: float
    """Of all its lanes together."""


@dataclass(frozen=True)
class Plan:
    """A study's plan."""

    resources: Resources
    lanes: tuple[PlannedLane, ...]
    cohorts: tuple[NetworkTotal, ...]
    lane_start_seconds: float
    """From the start of a lane's processes to its first run."""
    bound: LowerBound
    memory_bytes: int
    """The most on one GPU; without GPUs that of all lanes together. 0: unknown."""

    @cached_property
    def makespan_seconds(self) -> float:
        """From the start of the lanes' processes to the end of the last run."""
        return max((lane.runs[-1].end for lane in self.lanes if lane.runs), default=0.0)

    @property
    def lower_bound_seconds(self) -> float:
        """What no plan on these resources can undercut: lanes' start, and the larger of work and longest chain."""
        return self.lane_start_seconds + self.bound.seconds if self.lanes else 0.0

    @cached_property
    def busy_hours(self) -> float:
        """GPU hours (CPU hours without GPUs) in which runs are trained."""
        return sum(self.resources.taken(lane.shape) * (run.end - run.start) for lane, run in self._placed()) / 3600

    @cached_property
    def held_hours(self) -> float:
        """GPU hours (CPU hours) from the start to each lane's last end, starting and waiting included."""
        return sum(self.resources.taken(lane.shape) * lane.runs[-1].end for lane in self.lanes if lane.runs) / 3600

    def in_order(self) -> list[str]:
        """Return the names of the runs by their planned start."""
        return [run.name for _, run in sorted(self._placed(), key=lambda placed: placed[1].start)]

    def queue(self) -> StudyQueue:
        """Return the queue that lanes with these numbers take their runs from."""
        runs = [[QueuedRun(run.name, run.end - run.start, run.after) for run in lane.runs] for lane in self.lanes]
        return StudyQueue(runs, [lane.speed for lane in self.lanes])

    def _placed(self) -> Iterator[tuple[PlannedLane, PlannedRun]]:
        return ((lane, run) for lane in self.lanes for run in lane.runs)


def make_plan(
    forecast: Forecast, lane_start_seconds: float = 0.0, lanes: Sequence[LaneShape] | None = None
) -> Plan:
    """Plan a study.

    Args:
        forecast: of its runs on the place's resources.
        lane_start_seconds: from the start of a lane's processes to its first run.
        lanes: where they are given, they are taken as they are, and only the runs are shared out among them.

    Raises:
        ValueError: a given lane has a shape that the forecast doesn't know, or that runs can't be trained in.
    """
    bound = lower_bound(forecast)
    if not forecast.work:
        return Plan(forecast.resources, (), (), lane_start_seconds, bound, 0)
    best = best_schedule(forecast, bound) if lanes is None else _shared_out(forecast, lanes)
    return _plan(forecast, best, lane_start_seconds, bound)


def _shared_out(forecast: Forecast, shapes: Sequence[LaneShape]) -> Schedule:
    """Return the plan for lanes that are given."""
    unknown = [shape for shape in shapes if shape not in forecast.shapes]
    if unknown or not shapes:
        raise ValueError(
            f"runs can't be planned in {unknown[0].text if unknown else 'no lane'}; lanes with known "
            "throughput are " + "; ".join(shape.text for shape in forecast.shapes)
        )
    lanes = [sum(shape == other for other in shapes) for shape in forecast.shapes]
    return schedule(forecast, lanes, float("inf"))


def _plan(forecast: Forecast, best: Schedule, lane_start_seconds: float, bound: LowerBound) -> Plan:
    shapes = [forecast.shapes[column] for column in best.column_of]
    speeds = {shape: forecast.speed(shape) for shape in set(shapes)}
    lanes = tuple(
        PlannedLane(
            shape,
            speeds[shape],
            tuple(_planned(forecast, best, run, shape, lane_start_seconds) for run in runs),
        )
        for shape, runs in zip(shapes, best.runs, strict=True)
    )
    return Plan(
        forecast.resources,
        tuple(lane for lane in lanes if lane.runs),
        _cohorts(lanes, forecast),
        lane_start_seconds,
        bound,
        _memory_bytes(forecast, shapes),
    )


def _planned(
    forecast: Forecast, best: Schedule, run: int, shape: LaneShape, lane_start_seconds: float
) -> PlannedRun:
    item = forecast.work[run]
    return PlannedRun(
        name=item.name,
        after=item.after,
        stage=item.stage,
        network=item.load.kind.network,
        start=lane_start_seconds + best.start[run],
        end=lane_start_seconds + best.end[run],
        training_seconds=forecast.training_seconds(run, shape),
    )


def _cohorts(lanes: Sequence[PlannedLane], forecast: Forecast) -> tuple[NetworkTotal, ...]:
    seconds: dict[tuple[str, int], list[float]] = {}
    for lane in lanes:
        for run in lane.runs:
            kind = forecast.work[forecast.position[run.name]].load.kind
            seconds.setdefault((kind.network, kind.image_size), []).append(run.end - run.start)
    cohorts = (NetworkTotal(network, size, len(each), sum(each)) for (network, size), each in seconds.items())
    return tuple(sorted(cohorts, key=lambda cohort: -cohort.seconds))


def _memory_bytes(forecast: Forecast, shapes: Sequence[LaneShape]) -> int:
    if forecast.resources.gpus:
        return max(forecast.memory_bytes(shape) * shape.runs_per_gpu for shape in set(shapes))
    return sum(forecast.memory_bytes(shape) * shape.workers for shape in shapes)


FORMAT_VERSION = 1


def write_plan(study_folder: Path, plan: Plan, place: str) -> None:
    """Write a plan into a study's folder atomically, at the moment from which its seconds count.

    Args:
        study_folder: ``results/<study>``, which is made where it isn't there.
        plan: of the runs that are about to be trained.
        place: ``here``, ``ray`` or ``slurm``.
    """
    study_folder.mkdir(parents=True, exist_ok=True)
    write_json(study_folder / layout.PLAN, plan_as_json(plan, place, datetime.now(UTC)))


def plan_as_json(plan: Plan, place: str, made: datetime) -> dict[str, Any]:
    """Return a plan as JSON-able values; docs/reference/plan.md says what they mean."""
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


RAY_TRAIN_START_SECONDS = 14.0
"""What a trainer takes before its first step, besides the start of its processes: 13.6 to 14.1 s on an idle
machine of 2 cores with Ray 2.60, measured with a trainer that does nothing."""
MOST_WORKERS = 8
"""Of a lane, where the nodes have as many GPUs."""
RUNS_PER_GPU = (1, 2, 4)
"""How many one-worker lanes may share a GPU."""


def shapes_on_offer(
    ray_lanes: bool, resources: Resources, lanes: Sequence[LaneShape] | None
) -> tuple[LaneShape, ...]:
    """Return the shapes that lanes can have at a place: those of ``lanes`` where they are given.

    Those of Ray may have several workers, or share a GPU; others have one worker each.
    """
    if lanes is not None:
        return tuple(dict.fromkeys(lanes))
    if not ray_lanes:
        return resources.shapes()
    return resources.shapes(MOST_WORKERS, RUNS_PER_GPU)


def plan_runs(
    runs: Sequence[RunSpec],
    pack_folder: Path,
    ray_lanes: bool,
    resources: Resources,
    table: ThroughputTable,
    lanes: Sequence[LaneShape] | None = None,
) -> Plan:
    """Plan the training of runs; where ``lanes`` are given, the runs are shared out among them.

    Raises:
        ThroughputError: no throughput is known for a kind of step.
    """
    shapes = shapes_on_offer(ray_lanes, resources, lanes)
    work = work_of(runs, read_manifest(pack_folder).counts)
    forecast = Forecast(work, table, resources, shapes, are_requested=lanes is not None)
    start_seconds = table.lane_start_seconds + (RAY_TRAIN_START_SECONDS if ray_lanes else 0.0)
    return make_plan(forecast, start_seconds, lanes)
