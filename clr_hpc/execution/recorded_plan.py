"""Plans from rates that are known: what each place offers for lanes, and what its lanes take to start."""

from collections.abc import Sequence
from pathlib import Path

from clr_hpc.config.resources import LaneShape, Resources
from clr_hpc.config.run import RunSpec
from clr_hpc.data.manifest import read_manifest
from clr_hpc.execution.forecast import Forecast
from clr_hpc.execution.plan import Plan, make_plan
from clr_hpc.execution.rates import RateTable
from clr_hpc.execution.workload import work_of

RAY_TRAIN_START_SECONDS = 14.0
"""What a trainer takes before its first step, besides the start of its processes: 13.6 to 14.1 s on an idle
machine of 2 cores with Ray 2.60, measured with a trainer that does nothing."""
MOST_WORKERS = 8
"""Of a lane, where the nodes have as many GPUs."""
RUNS_PER_GPU = (1, 2, 4)
"""How many one-worker lanes may share a GPU."""


def shapes_on_offer(place: str, resources: Resources, lanes: Sequence[LaneShape] | None) -> tuple[LaneShape, ...]:
    """Return the shapes that lanes can have at a place: those of ``lanes`` where they are given.

    ``here`` and ``slurm``: one worker a lane. ``ray``: lanes of several workers and lanes that share a GPU, too.
    """
    if lanes is not None:
        return tuple(dict.fromkeys(lanes))
    if place in ("here", "slurm"):
        return resources.shapes()
    return resources.shapes(MOST_WORKERS, RUNS_PER_GPU)


def plan_with_rates(
    runs: Sequence[RunSpec],
    pack_folder: Path,
    place: str,
    resources: Resources,
    table: RateTable,
    lanes: Sequence[LaneShape] | None = None,
) -> Plan:
    """Plan the training of runs; where ``lanes`` are given, the runs are shared out among them.

    Raises:
        RatesError: no rate is known for a kind of run.
    """
    shapes = shapes_on_offer(place, resources, lanes)
    work = work_of(runs, read_manifest(pack_folder).counts)
    forecast = Forecast(work, table, resources, shapes, are_asked_for=lanes is not None)
    start_seconds = table.lane_start_seconds + (RAY_TRAIN_START_SECONDS if place == "ray" else 0.0)
    return make_plan(forecast, start_seconds, lanes)
