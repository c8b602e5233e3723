"""A plan with the throughput of this machine, which is measured where it isn't known."""

from collections.abc import Sequence
from pathlib import Path

from clr_hpc.config.base import UserError
from clr_hpc.config.resources import LaneShape, Resources
from clr_hpc.config.run import RunSpec
from clr_hpc.places.base import Events, TrainingJob
from clr_hpc.places.machine import resources_here
from clr_hpc.places.processes.probe import known_rates, rates_here
from clr_hpc.planning.plan import Plan, plan_with_rates, shapes_on_offer
from clr_hpc.planning.throughput import RatesError, RateTable, read_rates
from clr_hpc.planning.workload import Kind


def plan_of_job(
    job: TrainingJob, place: str, resources: Resources, lanes: Sequence[LaneShape] | None, events: Events
) -> Plan | None:
    """Plan the missing runs of a job and show it; None where that can't be done or wasn't asked for.

    A dry run measures nothing: it plans with what was recorded before. The other arguments are those of
    ``plan_runs``.
    """
    options = job.options
    if not options.with_plan:
        return None
    try:
        plan = plan_runs(
            job.missing, job.pack_folder, place, resources, options.results / "rates", options.throughput, events,
            lanes, may_measure=not options.dry_run,
        )  # fmt: skip
    except (UserError, OSError, ValueError) as error:
        unknown = "throughput isn't known without measuring; clr-hpc plan measures it"
        events.say(f"no plan: {unknown if options.dry_run and options.throughput is None else error}")
        return None
    events.planned(plan)
    return plan


def plan_runs(
    runs: Sequence[RunSpec],
    pack_folder: Path,
    place: str,
    resources: Resources,
    rates_folder: Path,
    rates_file: Path | None,
    events: Events,
    lanes: Sequence[LaneShape] | None = None,
    may_measure: bool = True,
) -> Plan:
    """Plan the training of runs.

    Args:
        runs: those that are not done.
        pack_folder: of the study's pack.
        place: its name; lanes of several workers, and lanes that share a GPU, are for ``ray``.
        resources: of the place.
        rates_folder: where measured throughput is kept.
        rates_file: recorded throughput to plan with instead.
        events: shows what is being measured.
        lanes: where they are given, only the runs are shared out among them.
        may_measure: whether what isn't known is measured on this machine.

    Raises:
        RatesError: the throughput of a kind of run isn't known, and can't be measured here.
    """
    if rates_file is not None:
        table = read_rates(rates_file)
    elif runs:
        shapes = shapes_on_offer(place, resources, lanes)
        table = _measured(runs, pack_folder, resources, shapes, rates_folder, events, may_measure)
    else:
        table = RateTable(rates=())
    return plan_with_rates(runs, pack_folder, place, resources, table, lanes)


def _measured(
    runs: Sequence[RunSpec],
    pack_folder: Path,
    resources: Resources,
    shapes: Sequence[LaneShape],
    rates_folder: Path,
    events: Events,
    may_measure: bool,
) -> RateTable:
    here = resources_here()
    if resources.gpus and not here.gpus:
        raise RatesError("this machine has no GPU to measure on; give --throughput FILE, or plan where one is")
    # one worker is measured with its neighbours: as many as a node of the place has, as far as this machine goes
    cpus = min(here.cpus, resources.cpus // resources.nodes)
    at_hand = here.model_copy(update={"gpus": here.gpus if resources.gpus else 0, "cpus": cpus})
    if not may_measure:
        return known_rates(at_hand, rates_folder)
    alone = tuple(dict.fromkeys(shape.model_copy(update={"workers": 1}) for shape in shapes))
    with events.busy("measuring") as show:

        def on_measure(kind: Kind, shape: LaneShape) -> None:
            show(f"measuring {kind.text}, {LaneShape.model_validate(shape).text}")

        return rates_here(runs, pack_folder, at_hand, alone, rates_folder, on_measure)
