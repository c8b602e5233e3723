"""``clr-hpc status`` and ``clr-hpc tensorboard``: the progress of a study in the terminal and in a browser.

Imports that cost time stand inside the commands, as in ``clr_hpc.cli.app``.
"""

import json
import platform
import time
from pathlib import Path
from typing import Annotated

import typer

from clr_hpc.cli.options import Results, StudyFile

REFRESH_SECONDS = 5


def status(
    study_file: StudyFile,
    results: Results = Path("results"),
    watch: Annotated[bool, typer.Option("--watch", help="Refresh until all runs have ended.")] = False,
    every: Annotated[float, typer.Option(min=0.2, help="Seconds between two refreshes of --watch.")] = 5,
    as_json: Annotated[bool, typer.Option("--json", help="JSON output, for programs.")] = False,
) -> None:
    """Show which runs of a study are running, waiting, stopped, failed or done. Exits with 1 if a run failed."""
    from rich.console import Console, Group
    from rich.live import Live

    from clr_hpc.cli.display.jobs import render_jobs
    from clr_hpc.cli.display.status import render
    from clr_hpc.config.base import UserError
    from clr_hpc.config.load import load_study
    from clr_hpc.monitoring.status import RunStatus, State, StudyStatus, count
    from clr_hpc.places.base import JobStatus, all_places
    from clr_hpc.store.study_folder import StudyFolder

    if watch and as_json:
        raise UserError("--watch draws for people and --json writes once for programs; give one of them")

    def look() -> tuple[list[RunStatus], list[JobStatus]]:
        runs = study.read()
        found = [one for place in places if (one := place.status(study.folder)) is not None]
        for one in found:
            runs = one.explain(runs)
        return runs, found

    def draw() -> Group:
        return Group(render(study.folder.path, runs, study.folders_of_others), *map(render_jobs, jobs))

    study = StudyStatus(StudyFolder(results / load_study(study_file).name))
    places = [place for place in all_places() if place.has_jobs(study.folder)]
    runs, jobs = look()
    console = Console()
    if not console.is_terminal:
        console = Console(width=200)  # a file or a pipe has no width that lines should be cut to
    if as_json:
        shown: dict[str, object] = {"counts": count(runs), "runs": [run.as_dict() for run in runs]}
        typer.echo(json.dumps(shown | {one.place: one.as_dict() for one in jobs}, indent=2))
    elif watch:
        with Live(console=console, auto_refresh=False) as live:
            try:
                while True:
                    live.update(draw(), refresh=True)
                    if all(run.state in (State.DONE, State.FAILED) for run in runs):
                        break
                    time.sleep(every)
                    runs, jobs = look()
            except KeyboardInterrupt:
                pass
    else:
        console.print(draw())
    raise typer.Exit(int(any(run.state == State.FAILED for run in runs)))


def tensorboard(
    study_file: StudyFile,
    results: Results = Path("results"),
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port to listen on; 0: any free one.")] = 6006,
    host: Annotated[str, typer.Option(help="Address to listen on (default: this machine only).")] = "127.0.0.1",
) -> None:
    """Show a study in TensorBoard until Ctrl-C: its runs by pathology, architecture, optimizer and policy."""
    from clr_hpc.config.load import load_study
    from clr_hpc.monitoring.tensorboard import TensorBoardView, serve
    from clr_hpc.store.study_folder import StudyFolder

    view = TensorBoardView(StudyFolder(results / load_study(study_file).name))
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
