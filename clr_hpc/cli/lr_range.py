"""The command ``clr-hpc range-test``, and the tests that ``clr-hpc run`` begins with where rates are auto."""

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from clr_hpc.cli.options import (
    Address,
    CheckpointSeconds,
    Cpus,
    DryRun,
    Gpus,
    Overrides,
    Parallel,
    Place,
    ProcessCount,
    Results,
    Site,
    StudyFile,
    refuse,
)

if TYPE_CHECKING:
    from rich.console import Console

    from clr_hpc.config.study import Study
    from clr_hpc.planning.lr_range import LearnerTested
    from clr_hpc.store.study_folder import StudyFolder


def range_test(
    study_file: StudyFile,
    overrides: Overrides = None,
    on: Annotated[Place, typer.Option(help="As of clr-hpc run.")] = Place.HERE,
    results: Results = Path("results"),
    processes: ProcessCount = None,
    address: Address = None,
    cpus: Cpus = None,
    gpus: Gpus = None,
    lanes: Annotated[int | None, typer.Option(min=1, help="With --on ray: lanes; as planned.")] = None,
    workers_per_lane: Annotated[
        int | None, typer.Option(min=1, help="With --on ray: processes that train a test together; as planned.")
    ] = None,
    with_plan: Annotated[bool, typer.Option("--plan/--no-plan", help="Plan, and show the plan first.")] = True,
    checkpoint_seconds: CheckpointSeconds = 60,
    site: Site = None,
    parallel: Parallel = None,
    dry_run: DryRun = False,
) -> None:
    """Measure between which rates each architecture and optimizer of a study learns; exit with 1 if it can't say.

    What is measured already, for this study or another, is not measured again.
    """
    from rich.console import Console

    from clr_hpc.cli.run import run
    from clr_hpc.cli.train import RayOptions, TrainingOptions, say_what_to_do, train_study
    from clr_hpc.config.expand import expand, range_test_study
    from clr_hpc.config.load import StudyError, load_study
    from clr_hpc.data.manifest import PackError, open_manifest
    from clr_hpc.planning.lr_range import folder_of_tests, what_tests_say

    console = Console()
    try:
        tests = range_test_study(load_study(study_file, tuple(overrides or ())))
        pack_folder = Path(tests.pack)
        checksum = open_manifest(pack_folder, verify=on is not Place.SLURM).checksum
        folder = folder_of_tests(results, tests.name)
        specs = expand(tests, checksum)
        missing = folder.unfinished(specs)
        folder.prepare(tests, pack_folder)
    except (StudyError, PackError, OSError, ValueError) as error:
        refuse(error)
    if missing and on is Place.SLURM:
        run(
            folder.path / "study.yaml",
            on=on,
            results=folder.path.parent,
            checkpoint_seconds=checkpoint_seconds,
            site=site,
            parallel=parallel,
            dry_run=dry_run,
        )
        console.print("when they have ended, the same command shows what they say", highlight=False)
        return
    ray = RayOptions(address, lanes, workers_per_lane)
    options = TrainingOptions(on, processes, ray, cpus, gpus, with_plan, None, checkpoint_seconds)
    ended = train_study(console, tests, checksum, folder, results / "rates", options)
    say_what_to_do(console, ended)
    learners = list(what_tests_say(specs, folder))
    _show(console, tests, folder, learners)
    if ended.failed or any(one.measured is None for one in learners):
        raise typer.Exit(1)


def _show(console: "Console", tests: "Study", folder: "StudyFolder", learners: "list[LearnerTested]") -> None:
    from rich.console import Console

    from clr_hpc.cli.display.lr_range import pasteable, reasons, render
    from clr_hpc.planning.lr_range import FILE, write_verdicts
    from clr_hpc.reporting.page.lr_range import write_page

    write_verdicts(folder.path / FILE, learners)
    page = write_page(folder.path)
    wide = console if console.is_terminal else Console(width=200)  # a pipe has no width to be cut to
    wide.print(render(learners))
    for line in (*reasons(learners), *pasteable(learners)):
        console.print(line, highlight=False, soft_wrap=True, markup=False)
    show = shlex.join(
        ["clr-hpc", "tensorboard", str(folder.path / "study.yaml"), "--results", str(folder.path.parent)]
    )
    console.print(f"curves of {tests.name}: {page}\nin TensorBoard: {show}", highlight=False, soft_wrap=True)
