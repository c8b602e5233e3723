"""The command ``clr-hpc``: each command parses what was given and calls one part of the package.

Imports that cost time stand inside the commands, so that ``--help`` answers at once.
"""

from pathlib import Path
from typing import Annotated

import typer

from clr_hpc.cli.data import pack_app
from clr_hpc.cli.jobs import cancel, logs
from clr_hpc.cli.lr_range import range_test
from clr_hpc.cli.options import Results, StudyFile, refuse
from clr_hpc.cli.plan import plan
from clr_hpc.cli.run import run
from clr_hpc.cli.tune import tune
from clr_hpc.cli.watch import status, tensorboard

app = typer.Typer(
    help="Train chest X-ray classifiers under constant, decaying and cyclical learning rates, and compare them.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.add_typer(pack_app, name="pack")


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
    from clr_hpc.data.sources.base import SourceError

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


app.command()(plan)
app.command()(run)
app.command()(tune)
app.command()(range_test)
app.command()(status)
app.command()(cancel)
app.command()(logs)
app.command()(tensorboard)


@app.command()
def report(study_file: StudyFile, results: Results = Path("results")) -> None:
    """Write a study's report, of the runs that are there by now."""
    from clr_hpc.config.load import StudyError, load_study
    from clr_hpc.reporting.read.study import ReportError
    from clr_hpc.reporting.report import write_report

    try:
        path = write_report(results / load_study(study_file).name)
    except (StudyError, ReportError) as error:
        refuse(error)
    typer.echo(f"report: {path}")
