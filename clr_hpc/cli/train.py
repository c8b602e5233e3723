"""How a command trains the runs of a study's folder: on this machine or in the lanes of a Ray cluster."""

import os
import shlex
import sys
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from clr_hpc.cli.options import Place, refuse

if TYPE_CHECKING:
    from rich.console import Console

    from clr_hpc.cli.display.run import RunDisplay
    from clr_hpc.config.resources import LaneShape, Resources
    from clr_hpc.config.run import RunSpec
    from clr_hpc.config.study import Study
    from clr_hpc.places.job import WorkerTask
    from clr_hpc.planning.plan import Plan
    from clr_hpc.store.study_folder import StudyFolder
    from clr_hpc.training.run import ExitStatus


@dataclass(frozen=True)
class RayOptions:
    """What was asked for with --on ray; None where the plan decides."""

    address: str | None
    lanes: int | None
    workers_per_lane: int | None


@dataclass(frozen=True)
class TrainingOptions:
    """Where runs are trained and how, as it was asked for with --on here or --on ray."""

    place: Place
    processes: int | None
    ray: RayOptions
    cpus: int | None
    gpus: int | None
    with_plan: bool
    rates: Path | None
    checkpoint_seconds: float
    cohort: int = 1
    with_profile: bool = False


@dataclass(frozen=True)
class Ended:
    """What became of the runs of a study."""

    went_through: bool
    """False: Ctrl-C stopped it."""
    failed: int
    total: int


@dataclass(frozen=True)
class Job:
    """What is to be trained, and who is told about it."""

    console: "Console"
    folder: "StudyFolder"
    missing: "tuple[RunSpec, ...]"
    task: "WorkerTask"
    make_plan: "Callable[[Place, Resources, Sequence[LaneShape] | None], Plan | None]"
    display: "RunDisplay"
    on_end: "Callable[[RunSpec, ExitStatus], None]"


def train_study(
    console: "Console",
    study: "Study",
    pack_checksum: str,
    folder: "StudyFolder",
    rates_folder: Path,
    options: TrainingOptions,
) -> Ended:
    """Train what is missing of a study in its folder, here or on a Ray cluster.

    Args:
        console: to show it on.
        study: all of whose rates are numbers.
        pack_checksum: of its pack, which was verified.
        folder: made where it isn't there.
        rates_folder: where measured speeds are kept, for plans.
        options: where and how.
    """
    from clr_hpc.cli.display.run import RunDisplay
    from clr_hpc.config.expand import expand
    from clr_hpc.places.job import WorkerTask
    from clr_hpc.training.run import RunSettings

    pack_folder = Path(study.pack)
    runs = expand(study, pack_checksum)
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

    def on_end(spec: "RunSpec", outcome: "ExitStatus") -> None:
        nonlocal failed
        failed += outcome != "done"
        display.ended(spec, outcome)

    def make_plan(place: Place, resources: "Resources", shapes: "Sequence[LaneShape] | None") -> "Plan | None":
        if not options.with_plan:
            return None
        return _plan(console, missing, pack_folder, place, resources, rates_folder, options.rates, shapes)

    settings = RunSettings(options.checkpoint_seconds, options.with_profile)
    task = WorkerTask(pack_folder.absolute(), folder.runs.absolute(), settings)
    job = Job(console, folder, missing, task, make_plan, display, on_end)
    went_through = True
    if missing and options.place is Place.RAY:
        went_through = _run_on_ray(job, options.cpus, options.gpus, options.ray)
    elif missing:
        went_through = _run_here(job, options.processes, options.cohort)
    if options.with_profile:
        from clr_hpc.cli.display.profile import show_profiles

        show_profiles(console, [folder.runs / spec.name for spec in missing])
    return Ended(went_through, failed, len(runs))


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
    from clr_hpc.cli.display.plan import show_plan
    from clr_hpc.cli.plan import plan_runs
    from clr_hpc.planning.throughput import RatesError

    try:
        plan = plan_runs(missing, pack_folder, place, resources, rates_folder, rates_file, console, lanes)
    except (RatesError, OSError, ValueError) as error:
        console.print(f"no plan: {error}", highlight=False, soft_wrap=True)
        return None
    show_plan(console, plan)
    return plan


def _run_here(job: Job, processes: int | None, cohort: int) -> bool:
    from clr_hpc.config.resources import LaneShape
    from clr_hpc.places.local.place import Processes, resources_here, train_here
    from clr_hpc.planning.plan import write_plan

    sharing, resources = Processes.for_this_machine(processes, cohort), resources_here()
    shape = LaneShape(cpus_per_worker=sharing.threads, gpus_per_worker=min(1.0, resources.gpus / sharing.count))
    plan = job.make_plan(Place.HERE, resources, [shape] * sharing.count)
    runs = job.missing
    if plan is not None:
        position = {name: number for number, name in enumerate(plan.in_order())}
        runs = tuple(sorted(runs, key=lambda spec: position[spec.name]))
        write_plan(job.folder.path, plan, Place.HERE)
    each = f", up to {cohort} side by side in each process" if cohort > 1 else ""
    job.console.print(f"training {sharing.count * cohort} at a time{each}", highlight=False)
    with job.display as display:
        return train_here(runs, job.task, sharing, display.under_way, job.on_end)


def _run_on_ray(job: Job, cpus: int | None, gpus: int | None, options: RayOptions) -> bool:
    from clr_hpc.cli.plan import resources_of
    from clr_hpc.places.lanes import LaneError, shapes_without_plan
    from clr_hpc.places.queue import ListedRuns, PlannedRuns, Queue
    from clr_hpc.places.ray.cluster import ClusterError
    from clr_hpc.places.ray.place import cluster, cluster_resources, train_on_ray
    from clr_hpc.planning.plan import write_plan

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
                shapes = [lane.shape for lane in plan.lanes]
                queue: Queue = PlannedRuns(plan.queue(), job.missing)
                write_plan(job.folder.path, plan, Place.RAY)
            else:
                shapes = shapes or shapes_without_plan(own, None, None)
                queue = ListedRuns(job.missing)
            told = f"dashboard: {dashboard}, which asks for the token in {os.environ.get('RAY_AUTH_TOKEN_PATH')}"
            job.console.print(f"starting {len(shapes)} lanes; {told}", highlight=False, soft_wrap=True)
            with job.display as display:
                return train_on_ray(
                    queue,
                    shapes,
                    grow=options.address is not None and options.lanes is None,
                    task=job.task,
                    on_poll=display.under_way,
                    on_end=job.on_end,
                )
    except (ClusterError, LaneError) as error:
        refuse(error)


def say_what_to_do(console: "Console", ended: Ended) -> None:
    """Say how to go on where runs failed; where Ctrl-C stopped them, also exit."""
    command = shlex.join(["clr-hpc", *sys.argv[1:]])  # with the options that were given
    if not ended.went_through:
        console.print(
            f"stopped; every run under way is saved. Go on with the same command: {command}", soft_wrap=True
        )
        raise typer.Exit(130)
    if ended.failed:
        console.print(
            f"[red]{ended.failed} of {ended.total} runs failed[/]; "
            f"try them again with the same command: {command}",
            soft_wrap=True,
        )


def with_auto_rates(
    console: "Console", study: "Study", pack_checksum: str, results: Path, options: TrainingOptions
) -> "Study":
    """Return a study with numbers in place of ``auto``, after the range tests for them that are missing."""
    from clr_hpc.config.expand import auto_optimizers, expand, range_test_study
    from clr_hpc.planning.lr_range import (
        UnsuggestedRateError,
        folder_of_tests,
        leave_what_was_measured,
        with_measured,
    )

    wanted = auto_optimizers(study)
    if not wanted:
        return study
    folder = folder_of_tests(results, study.name)
    tests = range_test_study(study, wanted)
    missing = folder.unfinished(expand(tests, pack_checksum))
    names = ", ".join(dict.fromkeys(optimizer.name for optimizer in wanted))
    first = f"{len(missing)} range tests come first" if missing else "measured before"
    console.print(f"rates of {names} are auto: {first}", highlight=False, soft_wrap=True)
    if missing:
        ended = train_study(console, tests, pack_checksum, folder, results / "rates", options)
        say_what_to_do(console, ended)
        if ended.failed:
            raise typer.Exit(1)
    try:
        study = with_measured(study, pack_checksum, results)
        leave_what_was_measured(study, pack_checksum, results)
    except (UnsuggestedRateError, OSError) as error:
        refuse(error)
    for one in study.measured:
        console.print(
            f"  {one.task.name}, {one.architecture}, {one.optimizer.name}: lr_min {one.lr_min:g}, "
            f"lr_max {one.lr_max:g}, without a cycle {one.lr:g}",
            highlight=False,
            soft_wrap=True,
        )
    return study
