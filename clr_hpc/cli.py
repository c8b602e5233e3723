"""The command ``clr-hpc``: each command parses what was given and calls one part of the package.

Imports that cost time stand inside the commands, so that ``--help`` answers at once.
"""

import shlex
import sys
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from clr_hpc.cli_pack import pack_app
from clr_hpc.cli_plan import plan
from clr_hpc.cli_refusal import refuse
from clr_hpc.cli_watch import status, tensorboard

if TYPE_CHECKING:
    from clr_hpc.execution.worker import Outcome
    from clr_hpc.spec.run import RunSpec

app = typer.Typer(
    help="Train chest X-ray classifiers under constant, decaying and cyclical learning rates, and compare them.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.add_typer(pack_app, name="pack")
app.command()(plan)

StudyFile = Annotated[Path, typer.Argument(help="Study file; jobs/ has examples.")]
Results = Annotated[Path, typer.Option(help="Folder in which each study has its own.")]
Overrides = Annotated[
    list[str] | None,
    typer.Option("--set", help="Override a key of the study: --set epochs=2", metavar="KEY=VALUE"),
]


class Place(StrEnum):
    """Where a study can be trained."""

    HERE = "here"


@app.command()
def inspect(
    path: Annotated[Path, typer.Argument(help="A pack, or a label table on its own.")],
    verify: Annotated[bool, typer.Option("--verify", help="Read every file and compare its checksum.")] = False,
    chart: Annotated[Path | None, typer.Option(help="Also draw the label counts, as .png or .svg.")] = None,
) -> None:
    """Show what a pack or a label table holds, and how many images have each label."""
    from rich.console import Console

    from clr_hpc.data.inspect import render, save_label_chart, summarise
    from clr_hpc.data.manifest import PackError, damaged_files, read_manifest
    from clr_hpc.data.sources import SourceError

    try:
        summary = summarise(path)
        if chart is not None:
            save_label_chart(summary, chart)
        damages = list(damaged_files(path, read_manifest(path), verify)) if path.is_dir() else []
    except (PackError, SourceError, OSError, ValueError) as error:
        refuse(error)
    Console().print(render(summary))
    for damage in damages:
        typer.secho(f"damaged: {damage}", err=True, fg="red")
    if damages:
        raise typer.Exit(1)
    if verify:
        typer.echo("verified: every file is as it was written")


@app.command()
def run(
    study_file: StudyFile,
    overrides: Overrides = None,
    on: Annotated[Place, typer.Option(help="Where to train: here is this machine.")] = Place.HERE,  # noqa: ARG001
    results: Results = Path("results"),
    processes: Annotated[int | None, typer.Option(min=1, help="Runs at a time; one a GPU, or one a core.")] = None,
    checkpoint_seconds: Annotated[float, typer.Option(min=0, help="Age at which a checkpoint is renewed.")] = 60,
) -> None:
    """Train what is missing of a study, on this machine."""
    from rich.console import Console

    from clr_hpc.data.manifest import PackError, open_manifest
    from clr_hpc.execution.inline import Processes, train_here
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
    sharing = Processes.for_this_machine(processes)
    console.print(
        f"{study.name}: {len(runs)} runs, {len(runs) - len(missing)} done before; "
        f"{sharing.count} at a time in {folder.path}",
        highlight=False,
        soft_wrap=True,
    )
    failed = 0
    with RunDisplay(console, folder.runs, len(runs) - len(missing), len(runs)) as display:

        def on_end(spec: "RunSpec", outcome: "Outcome") -> None:
            nonlocal failed
            failed += outcome != "done"
            display.ended(spec, outcome)

        went_through = train_here(
            missing, pack_folder, folder.runs, sharing, checkpoint_seconds, display.under_way, on_end
        )
    command = shlex.join(["clr-hpc", *sys.argv[1:]])  # with the options that were given
    if not went_through:
        console.print(
            f"stopped; every run under way is saved. Go on with the same command: {command}", soft_wrap=True
        )
        raise typer.Exit(130)
    if failed:
        console.print(
            f"[red]{failed} of {len(runs)} runs failed[/]; try them again with the same command: {command}",
            soft_wrap=True,
        )
    report_command = shlex.join(["clr-hpc", "report", str(study_file), "--results", str(results)])
    console.print(f"report: {report_command}", highlight=False, soft_wrap=True)
    if failed:
        raise typer.Exit(1)


@app.command()
def report(study_file: StudyFile, results: Results = Path("results")) -> None:
    """Write a study's report, of the runs that are there by now."""
    from clr_hpc.reporting.collect import ReportError
    from clr_hpc.reporting.report import write_report
    from clr_hpc.spec.study_file import StudyError, load_study

    try:
        path = write_report(results / load_study(study_file).name)
    except (StudyError, ReportError) as error:
        refuse(error)
    typer.echo(f"report: {path}")


app.command()(status)
app.command()(tensorboard)


if __name__ == "__main__":
    app()
