"""A plan with the throughput of this machine, which is measured where it isn't known."""

from collections.abc import Sequence

from clr_hpc.config.base import UserError
from clr_hpc.config.resources import LaneShape, Resources
from clr_hpc.places.base import Events, TrainingJob
from clr_hpc.places.machine import resources_here
from clr_hpc.places.processes.probe import known_rates, rates_here
from clr_hpc.planning.plan import Plan, plan_runs, shapes_on_offer
from clr_hpc.planning.throughput import ThroughputError, ThroughputTable, read_throughput
from clr_hpc.planning.workload import StepKind
from clr_hpc.store import layout


def plan_if_possible(
    job: TrainingJob, ray_lanes: bool, resources: Resources, lanes: Sequence[LaneShape] | None, events: Events
) -> Plan | None:
    """Return a plan as ``plan_of_job`` does; None where that can't be done, with the reason shown."""
    try:
        return plan_of_job(job, ray_lanes, resources, lanes, events) if job.options.with_plan else None
    except (UserError, OSError, ValueError) as error:
        unknown = "throughput isn't known without measuring; clr-hpc plan measures it"
        events.say(f"no plan: {unknown if job.options.dry_run and job.options.throughput is None else error}")
        return None


def plan_of_job(
    job: TrainingJob, ray_lanes: bool, resources: Resources, lanes: Sequence[LaneShape] | None, events: Events
) -> Plan:
    """Plan the missing runs of a job and show the plan; a dry run measures nothing.

    Args:
        job: its options may give recorded throughput to plan with.
        ray_lanes: whether lanes may have several workers, or share a GPU.
        resources: of the place.
        lanes: where they are given, only the runs are shared out among them.
        events: shows what is being measured, and the plan.

    Raises:
        ThroughputError: the throughput of a kind of run isn't known, and can't be measured here.
    """
    if job.options.throughput is not None:
        table = read_throughput(job.options.throughput)
    elif job.missing:
        table = _measured(job, resources, shapes_on_offer(ray_lanes, resources, lanes), events)
    else:
        table = ThroughputTable(rates=())
    plan = plan_runs(job.missing, job.pack_folder, ray_lanes, resources, table, lanes)
    events.planned(plan)
    return plan


def _measured(
    job: TrainingJob, resources: Resources, shapes: Sequence[LaneShape], events: Events
) -> ThroughputTable:
    rates_folder = job.options.results / layout.RATES
    here = resources_here()
    if resources.gpus and not here.gpus:
        raise ThroughputError(
            "this machine has no GPU to measure on; give --throughput FILE, or plan where one is"
        )
    # one worker is measured with its neighbours: as many as a node of the place has, as far as this machine goes
    cpus = min(here.cpus, resources.cpus // resources.nodes)
    at_hand = here.model_copy(update={"gpus": here.gpus if resources.gpus else 0, "cpus": cpus})
    if job.options.dry_run:
        return known_rates(at_hand, rates_folder)
    alone = tuple(dict.fromkeys(shape.model_copy(update={"workers": 1}) for shape in shapes))
    with events.busy("measuring") as show:

        def on_measure(kind: StepKind, shape: LaneShape) -> None:
            show(f"measuring {kind.text}, {LaneShape.model_validate(shape).text}")

        return rates_here(job.missing, job.pack_folder, at_hand, alone, rates_folder, on_measure)
