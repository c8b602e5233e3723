"""The command ``clr-hpc run``: train what is missing of a study, here, on a Ray cluster or on a SLURM cluster."""

import os
import shlex
import sys
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from clr_hpc.cli_options import JobShape, Overrides, Place, Results, StudyFile
from clr_hpc.cli_refusal import refuse

if TYPE_CHECKING:
    from rich.console import Console

    from clr_hpc.execution.plan import Plan
    from clr_hpc.execution.study_folder import StudyFolder
    from clr_hpc.execution.worker import Outcome
    from clr_hpc.run_display import RunDisplay
    from clr_hpc.spec.resources import LaneShape, Resources
    from clr_hpc.spec.run import RunSpec


@dataclass(frozen=True)
class RayOptions:
    """What was asked for with --on ray; None where the plan decides."""

    address: str | None
    lanes: int | None
    workers_per_lane: int | None


@dataclass(frozen=True)
class Job:
    """What is to be trained, and who is told about it."""

    console: "Console"
    pack_folder: Path
    folder: "StudyFolder"
    missing: "tuple[RunSpec, ...]"
    checkpoint_seconds: float
    make_plan: "Callable[[Place, Resources, Sequence[LaneShape] | None], Plan | None]"
    display: "RunDisplay"
    on_end: "Callable[[RunSpec, Outcome], None]"


def run(
    study_file: StudyFile,
    overrides: Overrides = None,
    on: Annotated[
        Place, typer.Option(help="here: this machine; ray: the lanes of a Ray cluster; slurm: jobs of a cluster.")
    ] = Place.HERE,
    results: Results = Path("results"),
    processes: Annotated[
        int | None, typer.Option(min=1, help="With --on here: runs at a time; one a GPU, or one a core.")
    ] = None,
    address: Annotated[
        str | None, typer.Option(help="With --on ray: a cluster to join, HOST:PORT; else one is started here.")
    ] = None,
    cpus: Annotated[int | None, typer.Option(min=1, help="With --on ray: CPU cores to use; all.")] = None,
    gpus: Annotated[int | None, typer.Option(min=0, help="With --on ray: GPUs to use; all.")] = None,
    lanes: Annotated[
        int | None, typer.Option(min=1, help="With --on ray, or in an allocation: lanes; as planned.")
    ] = None,
    workers_per_lane: Annotated[
        int | None,
        typer.Option(min=1, help="With --on ray, or in an allocation: processes that train a run; as planned."),
    ] = None,
    with_plan: Annotated[
        bool, typer.Option("--plan/--no-plan", help="Measure this machine, plan, and show the plan first.")
    ] = True,
    rates: Annotated[Path | None, typer.Option(help="Recorded rates to plan with; see docs/plan.md.")] = None,
    checkpoint_seconds: Annotated[float, typer.Option(min=0, help="Age at which a checkpoint is renewed.")] = 60,
    site: Annotated[
        Path | None, typer.Option(help="With --on slurm: the site file; ~/.config/clr-hpc/site.yaml.")
    ] = None,
    shape: Annotated[
        JobShape,
        typer.Option(help="With --on slurm: a job array, one allocation of several nodes, or what ends sooner."),
    ] = JobShape.AUTO,
    nodes: Annotated[
        int | None, typer.Option(min=1, help="With --on slurm: nodes of an allocation; as the site file says.")
    ] = None,
    parallel: Annotated[
        int | None, typer.Option(min=1, help="With --on slurm: array elements; as the site file says.")
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="With --on slurm: print what would be submitted, and don't.")
    ] = False,
    accept_changes: Annotated[
        bool,
        typer.Option("--accept-changes", help="With --on slurm: go on with runs that other code has begun."),
    ] = False,
) -> None:
    """Train what is missing of a study, on this machine or on a Ray cluster, or submit it to a SLURM cluster."""
    if on is Place.SLURM:
        from clr_hpc.cli_slurm import SlurmOptions, submit_study
        from clr_hpc.execution.slurm_shape import AskedShape

        asked_shape = AskedShape(shape.value, nodes, lanes, workers_per_lane, parallel)
        asked = SlurmOptions(site, asked_shape, dry_run, accept_changes, checkpoint_seconds, rates)
        submit_study(study_file, tuple(overrides or ()), results, asked)
        return
    from rich.console import Console

    from clr_hpc.data.manifest import PackError, open_manifest
    from clr_hpc.execution.study_folder import StudyFolder
    from clr_hpc.run_display import RunDisplay
    from clr_hpc.spec.study_file import StudyError, load_study

    console = Console()
    try:
        study = load_study(study_file, tuple(overrides or ()))
        pack_folder = Path(study.pack)
        with console.status(f"checking {pack_folder}"):
            manifest = open_manifest(pack_folder, verify=True)
    except (StudyError, PackError) as error:
        refuse(error)
    runs = study.runs(manifest.checksum)
    folder = StudyFolder(results / study.name)
    folder.prepare(study, pack_folder)
    missing = folder.unfinished(runs)
    done_before = len(runs) - len(missing)
    console.print(
        f"{study.name}: {len(runs)} runs, {done_before} done before; in {folder.path}",
        highlight=False,
        soft_wrap=True,
    )
    failed = 0
    display = RunDisplay(console, folder.runs, done_before, len(runs))

    def on_end(spec: "RunSpec", outcome: "Outcome") -> None:
        nonlocal failed
        failed += outcome != "done"
        display.ended(spec, outcome)

    def make_plan(place: Place, resources: "Resources", shapes: "Sequence[LaneShape] | None") -> "Plan | None":
        if not with_plan:
            return None
        return _plan(console, missing, pack_folder, place, resources, results / "rates", rates, shapes)

    job = Job(console, pack_folder, folder, missing, checkpoint_seconds, make_plan, display, on_end)
    went_through = True
    if missing and on is Place.RAY:
        went_through = _run_on_ray(job, cpus, gpus, RayOptions(address, lanes, workers_per_lane))
    elif missing:
        went_through = _run_here(job, processes)
    _say_how_it_went(console, went_through, failed, len(runs), study_file, results)


def _plan(
    console: "Console",
    missing: "Sequence[RunSpec]",
    pack_folder: Path,
    place: Place,
    resources: "Resources",
    rates_folder: Path,
    rates_file: Path | None,
    lanes: "Sequence[LaneShape] | None",
) -> "Plan | None":
    """Plan and show it; None where that can't be done, for a reason that is printed: training goes on."""
    from clr_hpc.cli_plan import plan_runs
    from clr_hpc.execution.rates import RatesError
    from clr_hpc.plan_display import show_plan

    try:
        plan = plan_runs(missing, pack_folder, place, resources, rates_folder, rates_file, console, lanes)
    except (RatesError, OSError, ValueError) as error:
        console.print(f"no plan: {error}", highlight=False, soft_wrap=True)
        return None
    show_plan(console, plan)
    return plan


def _run_here(job: Job, processes: int | None) -> bool:
    from clr_hpc.execution.inline import Processes, train_here
    from clr_hpc.execution.plan_file import write_plan
    from clr_hpc.execution.this_machine import resources_here
    from clr_hpc.spec.resources import LaneShape

    sharing, resources = Processes.for_this_machine(processes), resources_here()
    shape = LaneShape(cpus_per_worker=sharing.threads, gpus_per_worker=min(1.0, resources.gpus / sharing.count))
    plan = job.make_plan(Place.HERE, resources, [shape] * sharing.count)
    runs = job.missing
    if plan is not None:
        position = {name: number for number, name in enumerate(plan.in_order())}
        runs = tuple(sorted(runs, key=lambda spec: position[spec.name]))
        write_plan(job.folder.path, plan, Place.HERE)
    job.console.print(f"training {sharing.count} at a time", highlight=False)
    with job.display as display:
        return train_here(
            runs,
            job.pack_folder,
            job.folder.runs,
            sharing,
            job.checkpoint_seconds,
            display.under_way,
            job.on_end,
        )


def _run_on_ray(job: Job, cpus: int | None, gpus: int | None, options: RayOptions) -> bool:
    from clr_hpc.cli_plan import resources_of
    from clr_hpc.execution.lane_worker import LaneTask
    from clr_hpc.execution.lanes import LaneError, queue_without_plan, shapes_without_plan
    from clr_hpc.execution.plan_file import write_plan
    from clr_hpc.execution.ray_cluster import ClusterError
    from clr_hpc.execution.ray_train import cluster, cluster_resources, train_on_ray

    own = resources_of(gpus, cpus)
    try:
        with ExitStack() as stack:
            if options.address is not None:  # what it has is known once it is joined
                dashboard = stack.enter_context(cluster(options.address, None, None))
                own = cluster_resources()
            shapes = None
            if options.lanes or options.workers_per_lane:
                joined = options.address is not None
                shapes = shapes_without_plan(own, options.lanes, options.workers_per_lane, may_grow=joined)
            plan = job.make_plan(Place.RAY, own, shapes)
            if options.address is None:  # what it runs would be in the way of what the plan measures
                dashboard = stack.enter_context(cluster(None, own.cpus, own.gpus))
            if plan is not None:
                shapes, queue = [lane.shape for lane in plan.lanes], plan.queue()
                write_plan(job.folder.path, plan, Place.RAY)
            else:
                shapes = shapes or shapes_without_plan(own, None, None)
                queue = queue_without_plan(job.missing)
            told = f"dashboard: {dashboard}, which asks for the token in {os.environ.get('RAY_AUTH_TOKEN_PATH')}"
            job.console.print(f"starting {len(shapes)} lanes; {told}", highlight=False, soft_wrap=True)
            specs = {spec.name: spec for spec in job.missing}
            task = LaneTask(
                0, shapes[0], job.pack_folder.absolute(), job.folder.runs.absolute(), job.checkpoint_seconds
            )
            with job.display as display:
                return train_on_ray(
                    queue,
                    specs,
                    shapes,
                    grow=options.address is not None and options.lanes is None,
                    task=task,
                    on_poll=lambda names: display.under_way({specs[name] for name in names.values()}),
                    on_end=job.on_end,
                )
    except (ClusterError, LaneError) as error:
        refuse(error)


def _say_how_it_went(
    console: "Console", went_through: bool, failed: int, total: int, study_file: Path, results: Path
) -> None:
    command = shlex.join(["clr-hpc", *sys.argv[1:]])  # with the options that were given
    if not went_through:
        console.print(
            f"stopped; every run under way is saved. Go on with the same command: {command}", soft_wrap=True
        )
        raise typer.Exit(130)
    if failed:
        console.print(
            f"[red]{failed} of {total} runs failed[/]; try them again with the same command: {command}",
            soft_wrap=True,
        )
    report_command = shlex.join(["clr-hpc", "report", str(study_file), "--results", str(results)])
    console.print(f"report: {report_command}", highlight=False, soft_wrap=True)
    if failed:
        raise typer.Exit(1)
