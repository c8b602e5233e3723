"""The command ``clr-hpc clean``."""

import sys
from typing import TYPE_CHECKING, Annotated

import typer

from clr_hpc.cli.options import Overrides, ResultsOfFile, StudyOrFolder
from clr_hpc.cli.study import find_folder

if TYPE_CHECKING:
    from rich.table import Table

    from clr_hpc.training.upkeep.freeable import Freeable


def clean(
    study: StudyOrFolder,
    yes: Annotated[bool, typer.Option("--yes", help="Free it; without this option it is only shown.")] = False,
    snapshots: Annotated[
        bool,
        typer.Option("--snapshots", help="Free the weights of the model 'snapshots', whatever the study keeps."),
    ] = False,
    results: ResultsOfFile = None,
    overrides: Overrides = None,
) -> None:
    """Show what can be freed of a study's runs that are done, and free it with --yes.

    What its keep: doesn't name can be freed, files that killed processes left, and the cached scores of the last
    report, which the next one computes again. Remaining runs lose nothing.
    """
    import shlex

    from clr_hpc.cli.display.log_file import open_log
    from clr_hpc.cli.display.terminal import complain, say, terminal
    from clr_hpc.config.base import counted
    from clr_hpc.config.load import load_study
    from clr_hpc.training.upkeep.freeable import find_freeable

    folder = find_folder(study, results, overrides)
    keep = folder.started().study.keep if study.is_dir() else load_study(study, tuple(overrides or ())).keep
    if snapshots:
        keep = keep.model_copy(update={"snapshots": False})
    found = find_freeable(folder, keep)
    if yes:
        open_log(folder.path, "clean")

    if found.runs or found.cache:
        terminal(is_wide=True).print(_table(found))
    else:
        say("nothing can be freed")
    if found.needed:
        say(f"{counted(len(found.needed), 'run')} left alone: runs that are not done yet start from them")
    for path, size in found.others:
        say(f"{path}: {_size(size)}, not of this study as it is now; delete the folder if you don't need it")
    if not found.runs and not found.cache:
        return
    if not yes:
        say(f"free it: {shlex.join(['clr-hpc', *sys.argv[1:], '--yes'])}")
        return
    failed = _free(found)
    for line in failed:
        complain(line)
    left = find_freeable(folder, keep)
    say(f"freed {_size(_total(found) - _total(left))}")
    if failed:
        raise typer.Exit(1)


def _free(found: "Freeable") -> list[str]:
    """Free it; return a line for each run where that could not be done."""
    from clr_hpc.store.run_folder import RunInUseError
    from clr_hpc.training.checkpoint import DamagedCheckpointError
    from clr_hpc.training.upkeep.clean import clean_run

    failed = []
    for run in found.runs:
        try:
            clean_run(run.folder, run.kinds)
        except (RunInUseError, DamagedCheckpointError, OSError) as error:
            failed.append(f"left as it is: {error}")
    for file in found.cache:
        try:
            file.unlink(missing_ok=True)
        except OSError as error:
            failed.append(f"left as it is: {error}")
    return failed


def _table(found: "Freeable") -> "Table":
    from rich.table import Table

    from clr_hpc.training.upkeep.freeable import Kind

    table = Table(box=None, header_style="bold", pad_edge=False, padding=(0, 3, 0, 0))
    table.add_column("can be freed")
    table.add_column("runs", justify="right")
    table.add_column("size", justify="right")
    for kind in Kind:
        if runs := sum(kind in run.size for run in found.runs):
            table.add_row(kind, f"{runs:,}", _size(found.size(kind)))
    if found.cache:
        table.add_row("scores of the last report, which the next one computes again", "", _size(found.cache_size))
    table.add_row("in total", f"{len(found.runs):,}", _size(_total(found)))
    return table


def _total(found: "Freeable") -> int:
    from clr_hpc.training.upkeep.freeable import Kind

    return sum(found.size(kind) for kind in Kind) + found.cache_size


def _size(count: int) -> str:
    return f"{count / 1e6:,.1f} MB"
