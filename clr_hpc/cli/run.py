"""The command ``clr-hpc run``: train what is missing of a study, here, on a Ray cluster or on a SLURM cluster."""

import shlex
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from clr_hpc.cli.options import (
    Address,
    CheckpointSeconds,
    Cpus,
    DryRun,
    Gpus,
    JobShape,
    Overrides,
    Parallel,
    Place,
    ProcessCount,
    Results,
    Site,
    StudyFile,
    refuse,
)


def run(
    study_file: StudyFile,
    overrides: Overrides = None,
    on: Annotated[
        Place, typer.Option(help="here: this machine; ray: the lanes of a Ray cluster; slurm: jobs of a cluster.")
    ] = Place.HERE,
    results: Results = Path("results"),
    processes: ProcessCount = None,
    cohort: Annotated[
        int, typer.Option(min=1, help="With --on here: runs per process; docs/how-to/train-side-by-side.md.")
    ] = 1,
    address: Address = None,
    cpus: Cpus = None,
    gpus: Gpus = None,
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
    rates: Annotated[
        Path | None, typer.Option(help="Recorded rates to plan with; see docs/reference/plan.md.")
    ] = None,
    profile: Annotated[
        bool,
        typer.Option(
            "--profile", help="With --on here: report each run's time by part; docs/reference/profile.md."
        ),
    ] = False,
    checkpoint_seconds: CheckpointSeconds = 60,
    site: Site = None,
    shape: Annotated[
        JobShape,
        typer.Option(help="With --on slurm: a job array, one allocation of several nodes, or what ends sooner."),
    ] = JobShape.AUTO,
    nodes: Annotated[
        int | None, typer.Option(min=1, help="With --on slurm: nodes of an allocation; as the site file says.")
    ] = None,
    parallel: Parallel = None,
    dry_run: DryRun = False,
    accept_changes: Annotated[
        bool,
        typer.Option("--accept-changes", help="With --on slurm: go on with runs that other code has begun."),
    ] = False,
) -> None:
    """Train what is missing of a study, on this machine or on a Ray cluster, or submit it to a SLURM cluster."""
    if profile and (on is not Place.HERE or cohort > 1):
        other = f"--on {on.value}" if on is not Place.HERE else "--cohort, whose runs share their time"
        refuse(
            ValueError(
                f"--profile is for --on here, not for {other}: profile a study of a few such runs with --on here "
                "on the hardware in question, or leave --profile out"
            )
        )
    if cohort > 1 and on is not Place.HERE:
        otherwise = (
            "let lanes share a GPU with --lanes" if on is Place.RAY else "set runs_at_once in the site file"
        )
        refuse(
            ValueError(
                f"--cohort {cohort} goes with --on here: lanes and jobs take one run at a time; {otherwise}"
            )
        )
    if on is Place.SLURM:
        from clr_hpc.cli.jobs import SlurmOptions, submit_study
        from clr_hpc.places.slurm.shape import AskedShape

        asked_shape = AskedShape(shape.value, nodes, lanes, workers_per_lane, parallel)
        asked = SlurmOptions(site, asked_shape, dry_run, accept_changes, checkpoint_seconds, rates)
        submit_study(study_file, tuple(overrides or ()), results, asked)
        return
    from rich.console import Console

    from clr_hpc.cli.train import RayOptions, TrainingOptions, say_what_to_do, train_study, with_auto_rates
    from clr_hpc.config.load import StudyError, load_study
    from clr_hpc.data.manifest import PackError, open_manifest
    from clr_hpc.store.study_folder import StudyFolder

    console = Console()
    try:
        study = load_study(study_file, tuple(overrides or ()))
        pack_folder = Path(study.pack)
        with console.status(f"checking {pack_folder}"):
            manifest = open_manifest(pack_folder, verify=True)
    except (StudyError, PackError) as error:
        refuse(error)
    options = TrainingOptions(
        on,
        processes,
        RayOptions(address, lanes, workers_per_lane),
        cpus,
        gpus,
        with_plan,
        rates,
        checkpoint_seconds,
        cohort,
    )
    study = with_auto_rates(console, study, manifest.checksum, results, options)
    options = replace(options, with_profile=profile)  # of the study's runs, not of the range tests before
    folder = StudyFolder(results / study.name)
    ended = train_study(console, study, manifest.checksum, folder, results / "rates", options)
    say_what_to_do(console, ended)
    report_command = shlex.join(["clr-hpc", "report", str(study_file), "--results", str(results)])
    console.print(f"report: {report_command}", highlight=False, soft_wrap=True)
    if ended.failed:
        raise typer.Exit(1)
