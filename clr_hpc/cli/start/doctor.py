"""The command ``clr-hpc doctor``: what stands in the way of training here, before anything is trained."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from rich.console import RenderableType

    from clr_hpc.doctor.check import Check, Examination


def doctor(
    site: Annotated[
        Path | None,
        typer.Option(help="Site file to check (default: ~/.config/clr-hpc/site.yaml, if it is there)."),
    ] = None,
    results: Annotated[Path, typer.Option(help="Folder of all studies' results, whose disk is checked.")] = Path(
        "results"
    ),
    submit: Annotated[
        bool, typer.Option("--submit", help="Submit a tiny job, to compare the clocks of nodes.")
    ] = False,
) -> None:
    """Check what training needs: packages, torch, cores, memory, disk, SLURM. Exits with 1 after a failure."""
    from clr_hpc.cli.display.terminal import plain, terminal
    from clr_hpc.config.base import counted
    from clr_hpc.doctor.check import Level, examine

    console = terminal()
    levels = []
    with console.status(plain("examining")):
        for check in examine(examinations(site, results, submit)):
            console.print(rendered(check))
            levels.append(check.level)
    failures, warnings = (levels.count(level) for level in (Level.FAILURE, Level.WARNING))
    console.print(plain(f"\n{counted(failures, 'failure')}, {counted(warnings, 'warning')}"))
    raise typer.Exit(int(failures > 0))


def examinations(site: Path | None, results: Path, submit: bool) -> "Sequence[Examination]":
    """Return all that is looked at: here, and by each place."""
    from clr_hpc.config.resources import usable_cores
    from clr_hpc.doctor import disk, machine, software
    from clr_hpc.places.base import all_places
    from clr_hpc.places.machine import visible_gpus

    gpus = visible_gpus()
    return [
        software.python,
        software.packages,
        lambda: software.torch(gpus),
        software.tensorboard,
        machine.cores,
        lambda: machine.memory(gpus or usable_cores()),
        machine.ports,
        lambda: disk.results(results),
        *(one for place in all_places() for one in place.examinations(site, results, submit)),
    ]


def rendered(check: "Check") -> "RenderableType":
    """Return a line with its level in colour, and the remedy below it; both are wrapped and indented."""
    from rich.table import Table

    from clr_hpc.cli.display.terminal import plain
    from clr_hpc.doctor.check import Level

    style = {Level.OK: "green", Level.WARNING: "yellow", Level.FAILURE: "red"}[check.level]
    line = Table.grid(padding=(0, 2, 0, 0), pad_edge=False)
    line.add_column(width=len(Level.WARNING))
    line.add_column(width=12)
    line.add_column(overflow="fold")
    line.add_row(plain(check.level, style), plain(check.subject), plain(check.text))
    if check.remedy:
        line.add_row("", "", plain(f"→ {check.remedy}"))
    return line
