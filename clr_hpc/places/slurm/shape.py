"""Which shape a study's jobs get: a job array, or an allocation of several nodes with Ray lanes in it."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from clr_hpc.config.base import UserError, counted
from clr_hpc.config.resources import LaneShape, Resources
from clr_hpc.config.run import RunSpec
from clr_hpc.places.lanes import shapes_without_plan
from clr_hpc.places.options import TrainingOptions
from clr_hpc.places.slurm.ledger import Shape
from clr_hpc.places.slurm.site import Site
from clr_hpc.places.slurm.submit import array_tasks_wanted
from clr_hpc.planning.plan import Plan, plan_runs
from clr_hpc.planning.throughput import ThroughputError, ThroughputTable

CLEARLY_SOONER = 0.8
"""An allocation is chosen where its makespan is below this share of the array's. All of its nodes must be free at
once, and Ray must start on them, which no plan knows the wait for."""


class ShapeError(UserError):
    """What was asked for does not go together; the message says why."""


@dataclass(frozen=True)
class ChosenShape:
    """What is submitted."""

    shape: Shape
    nodes: int
    why: str

    @property
    def text(self) -> str:
        """Return a line for people."""
        nodes = "" if self.shape == "array" else f" of {counted(self.nodes, 'node')}"
        return f"{self.shape}{nodes}: {self.why}"


def choose(
    asked: TrainingOptions, runs: Sequence[RunSpec], pack_folder: Path, site: Site, table: ThroughputTable | None
) -> ChosenShape:
    """Choose the shape of the jobs that train ``runs``.

    Args:
        asked: the options of the command.
        runs: that are to be submitted.
        pack_folder: of the study's pack.
        site: the cluster.
        table: recorded rates of its nodes; None: none are known.

    Raises:
        ShapeError: more nodes than the site file allows, or options of one shape for the other.
    """
    _reject(asked, site)
    nodes = asked.nodes or _useful_nodes(asked, len(runs), site)
    if asked.shape == "allocation":
        return ChosenShape("allocation", nodes, "as asked")
    if asked.shape == "array":
        return ChosenShape("array", 1, "as asked")
    if asked.lanes or asked.workers_per_lane:
        return ChosenShape("allocation", nodes, "lanes were asked for")
    if asked.nodes is None and site.nodes is None:
        return ChosenShape(
            "array", 1, "neither --nodes nor the site file says how many nodes an allocation may have"
        )
    if table is None:
        return ChosenShape("array", 1, "no --throughput FILE says that lanes over several nodes would be sooner")
    try:
        tasks = array_tasks_wanted(runs, site, asked.parallel)
        of_array = plan_of_array(runs, pack_folder, site, tasks, table).makespan_seconds
        of_allocation = plan_of_allocation(runs, pack_folder, site, nodes, table).makespan_seconds
    except ThroughputError as error:
        return ChosenShape("array", 1, f"no plan: {error}")
    told = (
        f"an array would take {of_array / 60:.0f} minutes, an allocation of {nodes} nodes {of_allocation / 60:.0f}"
    )
    if of_allocation < CLEARLY_SOONER * of_array:
        return ChosenShape("allocation", nodes, told)
    return ChosenShape("array", 1, told)


def plan_of_array(
    runs: Sequence[RunSpec], pack_folder: Path, site: Site, tasks: int, table: ThroughputTable
) -> Plan:
    """Plan the processes of a job array as if all of them ran at once.

    Raises:
        ThroughputError: no rate is known for a kind of run.
    """
    resources = _resources(site, tasks)
    share = min(1.0, site.gpus / site.processes)
    shape = LaneShape(gpus_per_worker=share, cpus_per_worker=site.threads)
    return plan_runs(runs, pack_folder, False, resources, table, [shape] * (site.processes * tasks))


def plan_of_allocation(
    runs: Sequence[RunSpec],
    pack_folder: Path,
    site: Site,
    nodes: int,
    table: ThroughputTable,
    lanes: int | None = None,
    workers_per_lane: int | None = None,
) -> Plan:
    """Plan the lanes of an allocation.

    Raises:
        ThroughputError: no rate is known for a kind of run.
        LaneError: there is no room for lanes that were asked for.
    """
    resources = _resources(site, nodes)
    asked = None
    if lanes is not None or workers_per_lane is not None:
        asked = shapes_without_plan(resources, lanes, workers_per_lane)
    return plan_runs(runs, pack_folder, True, resources, table, asked)


def _resources(site: Site, nodes: int) -> Resources:
    return Resources(gpus=site.gpus * nodes, cpus=site.cpus * nodes, nodes=nodes)


def _reject(asked: TrainingOptions, site: Site) -> None:
    if asked.nodes is not None and site.nodes is not None and asked.nodes > site.nodes:
        raise ShapeError(f"--nodes {asked.nodes} is above nodes={site.nodes} of the site file; ask for fewer")
    if asked.shape == "array":
        values = {"--nodes": asked.nodes, "--lanes": asked.lanes, "--workers-per-lane": asked.workers_per_lane}
        if given := [name for name, value in values.items() if value is not None]:
            raise ShapeError(f"{', '.join(given)} are for allocations, not for arrays; leave them out")
    if asked.shape == "allocation" and asked.parallel is not None:
        raise ShapeError("--parallel is for arrays; an allocation has --nodes and --lanes")


def _useful_nodes(asked: TrainingOptions, runs: int, site: Site) -> int:
    """Return as many nodes as the site allows, and no more than have a GPU (or CPU) to do."""
    workers = (asked.lanes or runs) * (asked.workers_per_lane or 1)
    return max(1, min(site.nodes or 1, -(-workers // (site.gpus or site.cpus))))
