"""``clr-hpc status`` and ``clr-hpc tensorboard``: what a study is at, in the terminal and in a browser.

Imports that cost time stand inside the commands, as in ``clr_hpc.cli.app``.
"""

import json
import os
import platform
import time
from pathlib import Path
from typing import Annotated

import typer

from clr_hpc.cli.options import Results, StudyFile, refuse

REFRESH_SECONDS = 5


def status(
    study_file: StudyFile,
    results: Results = Path("results"),
    watch: Annotated[
        bool, typer.Option("--watch", help="Draw it again and again until all runs have ended.")
    ] = False,
    every: Annotated[float, typer.Option(min=0.2, help="Seconds between two drawings of --watch.")] = 5,
    as_json: Annotated[bool, typer.Option("--json", help="Print a JSON object for programs.")] = False,
) -> None:
    """Show what runs, waits, stopped, failed and is done of a study; exit with 1 if a run failed."""
    from rich.console import Console, Group
    from rich.live import Live

    from clr_hpc.cli.display.slurm import render_jobs
    from clr_hpc.cli.display.status import render
    from clr_hpc.config.load import StudyError, load_study
    from clr_hpc.monitoring.status import NothingThereError, RunStatus, State, StudyStatus, count
    from clr_hpc.places.slurm.ledger import OWNER_ALONE, Ledger, LedgerError
    from clr_hpc.places.slurm.status import SlurmStatus, read_slurm_status, with_jobs
    from clr_hpc.store.study_folder import StudyFolder

    if watch and as_json:
        refuse(ValueError("--watch draws for people and --json writes once for programs; give one of them"))

    def look() -> "tuple[list[RunStatus], SlurmStatus | None]":
        runs = study.read()
        if not ledger.exists:
            return runs, None
        slurm = read_slurm_status(ledger)
        return with_jobs(runs, slurm), slurm

    def draw() -> Group:
        jobs = [] if slurm is None else [render_jobs(slurm)]
        return Group(render(study.folder.path, runs, study.folders_of_others), *jobs)

    try:
        study = StudyStatus(StudyFolder(results / load_study(study_file).name))
        os.umask(OWNER_ALONE)  # SLURM's answer is kept in the study's folder
        ledger = Ledger(study.folder.path.absolute())
        runs, slurm = look()
    except (StudyError, NothingThereError, LedgerError, OSError) as error:
        refuse(error)
    console = Console()
    if not console.is_terminal:
        console = Console(width=200)  # a file or a pipe has no width that lines should be cut to
    if as_json:
        shown: dict[str, object] = {"counts": count(runs), "runs": [run.as_dict() for run in runs]}
        if slurm is not None:
            shown["slurm"] = slurm.as_dict()
        typer.echo(json.dumps(shown, indent=2))
    elif watch:
        with Live(console=console, auto_refresh=False) as live:
            try:
                while True:
                    live.update(draw(), refresh=True)
                    if all(run.state in (State.DONE, State.FAILED) for run in runs):
                        break
                    time.sleep(every)
                    runs, slurm = look()
            except KeyboardInterrupt:
                pass
    else:
        console.print(draw())
    raise typer.Exit(int(any(run.state == State.FAILED for run in runs)))


def tensorboard(
    study_file: StudyFile,
    results: Results = Path("results"),
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 takes a free one.")] = 6006,
    host: Annotated[
        str, typer.Option(help="Address to listen on; the default is for this machine alone.")
    ] = "127.0.0.1",
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
