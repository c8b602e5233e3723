"""The command ``clr-hpc plan``."""

from pathlib import Path
from typing import Annotated

import typer

from clr_hpc.cli.options import Overrides, Results, StudyFile
from clr_hpc.cli.study import note_change, on_its_pack
from clr_hpc.places.options import THROUGHPUT, TrainingOptions


def plan(
    study_file: StudyFile,
    overrides: Overrides = None,
    on: Annotated[
        str, typer.Option(help="Place to plan for: here, ray, slurm or one that a package adds.")
    ] = "here",
    results: Results = Path("results"),
    gpus: Annotated[int | None, typer.Option(min=0, help="Total GPUs (default: all on this machine).")] = None,
    cpus: Annotated[
        int | None, typer.Option(min=1, help="Total CPU cores (default: all on this machine).")
    ] = None,
    nodes: Annotated[int, typer.Option(min=1, help="Number of identical machines that have these together.")] = 1,
    throughput: Annotated[Path | None, typer.Option(help=THROUGHPUT)] = None,
    chart: Annotated[Path | None, typer.Option(help="Chart of the plan to write, .png, .svg or .html.")] = None,
) -> None:
    """Predict what training the remaining runs takes: lanes, makespan, GPU hours, memory and disk."""
    from clr_hpc.cli.display.run import RunDisplay
    from clr_hpc.cli.display.terminal import terminal
    from clr_hpc.config.base import counted
    from clr_hpc.config.expand import expand, runs_of_one_seed
    from clr_hpc.config.given_file import check_output
    from clr_hpc.config.load import load_study
    from clr_hpc.config.tuned_study import CHECKSUM_OF_NO_PACK
    from clr_hpc.data.manifest import open_manifest
    from clr_hpc.places.base import TrainingJob, find_place
    from clr_hpc.places.disk import disk_line
    from clr_hpc.places.machine import resources_of
    from clr_hpc.places.prepare import check_beforehand
    from clr_hpc.places.processes.measured_plan import plan_of_job
    from clr_hpc.planning.gantt import FORMATS, save_chart
    from clr_hpc.planning.lr_range import with_measured
    from clr_hpc.store.study_folder import StudyFolder

    if chart is not None:
        check_output(chart, FORMATS)
    place = find_place(on)
    study = load_study(study_file, tuple(overrides or ()))
    folder = StudyFolder.of(results, study.name)
    study, manifest = on_its_pack(study, study_file)
    check_beforehand(manifest, runs_of_one_seed(study, CHECKSUM_OF_NO_PACK), results)
    checksum = open_manifest(Path(study.pack), verify=False).checksum
    study = with_measured(study, checksum, results)
    note_change(study_file, folder, study, checksum)
    options = TrainingOptions(results=results, throughput=throughput)
    job = TrainingJob(study, checksum, folder, expand(study, checksum), options)
    resources = resources_of(gpus, cpus, nodes)
    display = RunDisplay(terminal(), job.folder, job.runs)
    job.show(display)
    display.say(disk_line(job))
    made = plan_of_job(job, place.ray_lanes, resources, None, display)
    if chart is not None:
        hardware = counted(resources.capacity, resources.trains_on)
        save_chart(made, chart, f"{study.name}: {counted(len(job.missing), 'run')} on {hardware}")
        display.say(f"chart: {chart}")
