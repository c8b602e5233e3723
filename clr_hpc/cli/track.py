"""``clr-hpc track``: mirror a study into experiment trackers; ``clr-hpc run`` does it while it trains.

Imports that cost time stand inside the functions, as in ``clr_hpc.cli.app``.
"""

import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from typing import TYPE_CHECKING, Annotated

import typer

from clr_hpc.cli.options import Overrides, ResultsOfFile, StudyOrFolder
from clr_hpc.cli.study import command, find_folder

if TYPE_CHECKING:
    from clr_hpc.monitoring.trackers.mirror import Mirrored
    from clr_hpc.store.study_folder import StudyFolder


def track(
    study: StudyOrFolder,
    to: Annotated[
        list[str] | None, typer.Option(help="Tracker: mlflow or wandb (default: those of the study's track key).")
    ] = None,
    watch: Annotated[bool, typer.Option("--watch", help="Continue until all runs have ended.")] = False,
    every: Annotated[float, typer.Option(min=1, help="Seconds between two rounds of --watch.")] = 30,
    results: ResultsOfFile = None,
    overrides: Overrides = None,
) -> None:
    """Mirror a study's runs and its report into MLflow or Weights & Biases.

    What is there already is not written again. Exits with 1 if something could not be mirrored.
    """
    from clr_hpc.config.base import UserError
    from clr_hpc.monitoring.trackers.base import find_tracker
    from clr_hpc.monitoring.trackers.mirror import Mirror

    folder = find_folder(study, results, overrides)
    names = dict.fromkeys(to or folder.started().study.track)
    if not names:
        raise UserError(f"{folder.path}: the study names no tracker; add --to mlflow, or track: [mlflow] to it")
    with ExitStack() as stack:
        mirrors = [stack.enter_context(Mirror(folder, find_tracker(name))) for name in names]
        found = [mirror.round() for mirror in mirrors]
        with suppress(KeyboardInterrupt):
            while watch and not all(mirror.is_over for mirror in mirrors):
                time.sleep(every)
                found = [mirror.round() for mirror in mirrors]
    if not show(found, folder):
        raise typer.Exit(1)


def check_trackers(names: Iterable[str]) -> None:
    """See in the first second that a study's trackers can be used here.

    Raises:
        UserError: one can't.
    """
    if names:
        from clr_hpc.monitoring.trackers.base import find_tracker

        for name in names:
            find_tracker(name).check()


@contextmanager
def mirrored(folder: "StudyFolder", names: Sequence[str]) -> Iterator[None]:
    """Mirror a study while the context lasts; without an error, wait for the last round and show it."""
    if not names:
        yield
        return
    from clr_hpc.cli.display.terminal import plain, terminal
    from clr_hpc.monitoring.trackers.follow import followed

    with followed(folder.path, names) as follower:
        yield
        with terminal(stderr=True).status(plain(f"mirroring to {' and '.join(names)}")):
            found = follower.finish()
    show(found, folder)


def show(found: "Iterable[Mirrored]", folder: "StudyFolder") -> bool:
    """Print a line for each tracker; return whether nothing is missing."""
    from clr_hpc.cli.display.terminal import complain, plain, terminal

    is_complete = True
    for each in found:
        if each.is_complete:
            terminal().print(plain(str(each)), soft_wrap=True)
        else:
            again = f"{command('track', folder.path)} --to {each.tracker}"
            complain(f"{each}; the study is not affected. Make up for it with: {again}", "yellow")
            is_complete = False
    return is_complete
