"""The command ``clr-hpc plan``, and the planning that ``clr-hpc run`` begins with."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from clr_hpc.cli.options import Overrides, Place, Results, StudyFile, refuse

if TYPE_CHECKING:
    from rich.console import Console

    from clr_hpc.config.resources import LaneShape, Resources
    from clr_hpc.config.run import RunSpec
    from clr_hpc.planning.plan import Plan
    from clr_hpc.planning.throughput import RateTable
    from clr_hpc.planning.workload import Kind


def plan(
    study_file: StudyFile,
    overrides: Overrides = None,
    on: Annotated[Place, typer.Option(help="Where it would be trained.")] = Place.HERE,
    results: Results = Path("results"),
    gpus: Annotated[int | None, typer.Option(min=0, help="In all. Those of this machine.")] = None,
    cpus: Annotated[int | None, typer.Option(min=1, help="In all. Those of this machine.")] = None,
    nodes: Annotated[int, typer.Option(min=1, help="Machines that these are in, all alike.")] = 1,
    rates: Annotated[
        Path | None, typer.Option(help="Recorded throughput of other hardware; see docs/reference/plan.md.")
    ] = None,
    chart: Annotated[Path | None, typer.Option(help="Also draw the plan, as .png, .svg or .html.")] = None,
) -> None:
    """Predict what training the rest of a study takes: lanes, makespan, GPU hours, memory."""
    from rich.console import Console

    from clr_hpc.cli.display.plan import show_plan
    from clr_hpc.config.expand import expand
    from clr_hpc.config.load import StudyError, load_study
    from clr_hpc.data.manifest import PackError, open_manifest
    from clr_hpc.planning.gantt import save_chart
    from clr_hpc.planning.lr_range import UnsuggestedRateError, with_measured
    from clr_hpc.store.study_folder import StudyFolder

    console = Console()
    try:
        study = load_study(study_file, tuple(overrides or ()))
        pack_folder = Path(study.pack)
        checksum = open_manifest(pack_folder, verify=False).checksum
        study = with_measured(study, checksum, results)
        runs = expand(study, checksum)
        missing = StudyFolder(results / study.name).unfinished(runs)
        resources = resources_of(gpus, cpus, nodes)
        made = plan_runs(missing, pack_folder, on, resources, results / "rates", rates, console)
        console.print(f"{study.name}: {len(runs)} runs, {len(runs) - len(missing)} done before", highlight=False)
        show_plan(console, made)
        if chart is not None:
            save_chart(made, chart, f"{study.name}: {len(missing):,} runs on {_told(resources)}")
            console.print(f"chart: {chart}", highlight=False, soft_wrap=True)
    except (StudyError, PackError, UnsuggestedRateError, OSError, ValueError) as error:
        refuse(error)


def plan_runs(
    runs: "Sequence[RunSpec]",
    pack_folder: Path,
    place: str,
    resources: "Resources",
    rates_folder: Path,
    rates_file: Path | None,
    console: "Console",
    lanes: "Sequence[LaneShape] | None" = None,
) -> "Plan":
    """Plan the training of runs; without ``rates_file``, rates are measured on this machine where need be.

    Args:
        runs: those that are not done.
        pack_folder: of the study's pack.
        place: ``here``: one worker a lane. ``ray``: lanes of several workers and lanes that share a GPU, too.
        resources: of the place.
        rates_folder: where measured rates are kept.
        rates_file: recorded rates to plan with instead.
        console: to say on what is being measured.
        lanes: where they are given, only the runs are shared out among them.

    Raises:
        RatesError: no rate is known for a kind of run, and none can be measured here.
    """
    from clr_hpc.planning.plan import plan_with_rates, shapes_on_offer
    from clr_hpc.planning.throughput import RateTable, read_rates

    if rates_file is not None:
        table = read_rates(rates_file)
    elif runs:
        shapes = shapes_on_offer(place, resources, lanes)
        table = _measured(runs, pack_folder, resources, shapes, rates_folder, console)
    else:
        table = RateTable(rates=())
    return plan_with_rates(runs, pack_folder, place, resources, table, lanes)


def _measured(
    runs: "Sequence[RunSpec]",
    pack_folder: Path,
    resources: "Resources",
    shapes: "Sequence[LaneShape]",
    rates_folder: Path,
    console: "Console",
) -> "RateTable":
    from clr_hpc.config.resources import LaneShape
    from clr_hpc.places.local.place import resources_here
    from clr_hpc.places.processes.probe import rates_here
    from clr_hpc.planning.throughput import RatesError

    here = resources_here()
    if resources.gpus and not here.gpus:
        raise RatesError("this machine has no GPU to measure on; give --rates FILE, or plan where one is")
    # one worker is measured with its neighbours: as many as a node of the place has, as far as this machine goes
    cpus = min(here.cpus, resources.cpus // resources.nodes)
    at_hand = here.model_copy(update={"gpus": here.gpus if resources.gpus else 0, "cpus": cpus})
    alone = [shape.model_copy(update={"workers": 1}) for shape in shapes]
    with console.status("measuring") as status:

        def say(kind: "Kind", shape: "LaneShape") -> None:
            status.update(f"measuring {kind.text}, {LaneShape.model_validate(shape).text}")

        return rates_here(runs, pack_folder, at_hand, tuple(dict.fromkeys(alone)), rates_folder, say)


def resources_of(gpus: int | None, cpus: int | None, nodes: int = 1) -> "Resources":
    """Return what was asked for; what wasn't is this machine's, and with GPUs a CPU for each of them."""
    from clr_hpc.config.resources import Resources
    from clr_hpc.places.local.place import resources_here

    here = resources_here()
    if gpus is None:
        gpus = here.gpus if cpus is None else 0
    if cpus is None:
        cpus = here.cpus if gpus <= here.gpus else max(gpus, nodes)
    return Resources(gpus=gpus, cpus=cpus, nodes=nodes, memory_bytes_per_gpu=here.memory_bytes_per_gpu)


def _told(resources: "Resources") -> str:
    unit = resources.trains_on
    return f"{resources.capacity:,} {unit}{'s' if resources.capacity > 1 else ''}"
