"""The commands ``clr-hpc cancel`` and ``clr-hpc logs``: the jobs that a place has submitted for a study."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from clr_hpc.cli.options import Overrides, ResultsOfFile, StudyOrFolder
from clr_hpc.cli.study import find_folder

if TYPE_CHECKING:
    from clr_hpc.places.base import Place
    from clr_hpc.store.study_folder import StudyFolder

Runs = Annotated[list[str] | None, typer.Argument(help="Names or ids of runs, or parts of them (default: all).")]


def cancel(
    study: StudyOrFolder, runs: Runs = None, results: ResultsOfFile = None, overrides: Overrides = None
) -> None:
    """Cancel a study's submitted jobs, or only some of its runs. Progress is checkpointed first."""
    from clr_hpc.monitoring.status import find_runs

    folder, places = _submitted(study, results, overrides)
    chosen = find_runs(folder, folder.started().runs, runs) if runs else None
    for place in places:
        for line in place.cancel(folder, chosen):
            typer.echo(line)


def logs(
    study: StudyOrFolder,
    run: Annotated[str, typer.Argument(help="Name or id of a run, or part of it.")],
    results: ResultsOfFile = None,
    overrides: Overrides = None,
    lines: Annotated[int, typer.Option(min=1, help="Lines from the end of each file.")] = 50,
) -> None:
    """Show the log of the submitted job that trained a run, and the traceback if the run failed."""
    from clr_hpc.monitoring.status import find_runs
    from clr_hpc.places.base import all_places
    from clr_hpc.store import layout
    from clr_hpc.store.study_folder import NothingThereError

    folder = find_folder(study, results, overrides)
    (spec,) = find_runs(folder, folder.started().runs, [run], only_one=True)
    places = [place for place in all_places() if place.has_jobs(folder)]
    for place in places:
        for line in place.logs(folder, spec, lines):
            typer.echo(line)
    result = folder.result(spec)
    if result is not None and result["status"] == "failed":
        typer.echo("==> why the run failed <==")
        for line in str(result["traceback"]).rstrip().splitlines()[-lines:]:
            typer.echo(line)
    elif not places:
        raise NothingThereError(
            f"{spec.name}: no job was submitted for it, and it has not failed; what commands printed is in "
            f"{folder.path / layout.LOGS}"
        )


def _submitted(
    study: Path, results: Path | None, overrides: list[str] | None
) -> "tuple[StudyFolder, list[Place]]":
    """Return a study's folder and the places that have jobs of it."""
    from clr_hpc.places.base import all_places
    from clr_hpc.store.study_folder import NothingThereError

    folder = find_folder(study, results, overrides)
    folder.started()
    places = list(all_places())
    if found := [place for place in places if place.has_jobs(folder)]:
        return folder, found
    submitting = " or ".join(f"--on {place.name}" for place in places if not place.waits)
    raise NothingThereError(
        f"{folder.path}: the study was never submitted; clr-hpc run STUDY {submitting} does that"
    )
