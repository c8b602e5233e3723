"""``clr-hpc status`` and ``clr-hpc tensorboard``: the progress of a study in the terminal and in a browser.

Imports that cost time stand inside the commands, as in ``clr_hpc.cli.app``.
"""

import json
import platform
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Annotated

import typer

from clr_hpc.cli.options import Overrides, ResultsOfFile, StudyOrFolder
from clr_hpc.cli.study import find_folder

if TYPE_CHECKING:
    from rich.console import Console, Group

    from clr_hpc.store.study_folder import StudyFolder

REFRESH_SECONDS = 5


def status(
    study: StudyOrFolder,
    results: ResultsOfFile = None,
    overrides: Overrides = None,
    watch: Annotated[bool, typer.Option("--watch", help="Refresh until all runs have ended.")] = False,
    every: Annotated[float, typer.Option(min=0.2, help="Seconds between two refreshes of --watch.")] = 5,
    as_json: Annotated[bool, typer.Option("--json", help="JSON output, for programs.")] = False,
) -> None:
    """Show which runs of a study are running, waiting, stopped, failed or done. Exits with 1 if a run failed."""
    from rich.live import Live

    from clr_hpc.cli.display.terminal import terminal
    from clr_hpc.config.base import UserError

    if watch and as_json:
        raise UserError("--watch draws for people and --json writes once for programs; give one of them")
    console = terminal(is_wide=True)
    view = _View(find_folder(study, results, overrides), console)
    if as_json:
        typer.echo(json.dumps(view.as_dict(), indent=2))
    elif watch:
        with Live(console=console, auto_refresh=False) as live, suppress(KeyboardInterrupt):
            while True:
                live.update(view.render(), refresh=True)
                if view.is_over:
                    break
                time.sleep(every)
                view.read()
    else:
        console.print(view.render())
    raise typer.Exit(int(view.has_failures))


class _View:
    """A study's runs and the jobs that places have of it, as they were last read."""

    def __init__(self, folder: "StudyFolder", console: "Console") -> None:
        from clr_hpc.monitoring.status import StudyStatus
        from clr_hpc.places.base import all_places

        self._study, self._console = StudyStatus(folder), console
        self._places = [place for place in all_places() if place.has_jobs(folder)]
        self.read()

    def read(self) -> None:
        folder = self._study.folder
        self._runs = self._study.read()
        self._jobs = [status for place in self._places if (status := place.status(folder)) is not None]
        for status in self._jobs:
            self._runs = status.explain(self._runs)

    def render(self) -> "Group":
        from rich.console import Group

        from clr_hpc.cli.display.jobs import render_jobs
        from clr_hpc.cli.display.status import render

        runs = render(self._study.folder.path, self._runs, self._study.folders_of_others, self._console)
        return Group(runs, *map(render_jobs, self._jobs))

    def as_dict(self) -> dict[str, object]:
        from clr_hpc.monitoring.status import count

        shown = {"counts": count(self._runs), "runs": [run.as_dict() for run in self._runs]}
        return shown | {status.place: status.as_dict() for status in self._jobs}

    @property
    def is_over(self) -> bool:
        return all(run.state in ("done", "failed") for run in self._runs)

    @property
    def has_failures(self) -> bool:
        return any(run.state == "failed" for run in self._runs)


def tensorboard(
    study: StudyOrFolder,
    results: ResultsOfFile = None,
    overrides: Overrides = None,
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port to listen on; 0: any free one.")] = 6006,
    host: Annotated[str, typer.Option(help="Address to listen on (default: this machine only).")] = "127.0.0.1",
) -> None:
    """Show a study in TensorBoard until Ctrl-C: its runs by pathology, architecture, optimizer and policy."""
    from clr_hpc.monitoring.tensorboard import TensorBoardView, serve

    view = TensorBoardView(find_folder(study, results, overrides))
    view.refresh()
    address = serve(view.path, host, port)
    typer.echo(f"TensorBoard: {address} (Ctrl-C ends it)")
    chosen = address.rstrip("/").rpartition(":")[2]
    if host in ("127.0.0.1", "localhost"):
        tunnel = f"ssh -N -L {chosen}:{host}:{chosen} {platform.node()}"
        typer.echo(f"from your own computer: {tunnel}, then open http://127.0.0.1:{chosen}/")
    try:
        while True:
            time.sleep(REFRESH_SECONDS)
            view.refresh()
    except KeyboardInterrupt:
        pass
