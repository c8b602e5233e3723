"""The command ``clr-hpc``: each command parses its options and calls one part of the package.

Imports that cost time stand inside the commands, so that ``--help`` answers at once.
"""

import logging
import os
import shlex
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from typing import Annotated, Any, Literal

import typer
from typer.core import TyperGroup

from clr_hpc.cli.clean import clean
from clr_hpc.cli.compare import compare
from clr_hpc.cli.data import pack_app
from clr_hpc.cli.evaluate import evaluate
from clr_hpc.cli.explain import explain
from clr_hpc.cli.export import export
from clr_hpc.cli.jobs import cancel, logs
from clr_hpc.cli.options import Command, Overrides, ResultsOfFile, StudyOrFolder
from clr_hpc.cli.plan import plan
from clr_hpc.cli.predict import predict
from clr_hpc.cli.show import show
from clr_hpc.cli.start.doctor import doctor
from clr_hpc.cli.start.init import init
from clr_hpc.cli.start.manual import manual
from clr_hpc.cli.start.schema import schema
from clr_hpc.cli.start.studies import studies
from clr_hpc.cli.start.version import print_version
from clr_hpc.cli.study import command, find_folder
from clr_hpc.cli.track import mirrored, track
from clr_hpc.cli.train import range_test, run
from clr_hpc.cli.tune import tune
from clr_hpc.cli.watch import status, tensorboard
from clr_hpc.places.signals import TerminatedError, raise_on_terminate

OUR_MISTAKE = 70
"""Exit code of a program with a mistake in it: EX_SOFTWARE of ``sysexits.h``."""

TYPERS_OWN: tuple[type[BaseException], ...] = (
    typer.Exit,
    typer.Abort,
    BrokenPipeError,
    # of the click that this version of typer brings, under whatever name
    *(kind for kind in typer.BadParameter.__mro__ if kind.__name__ == "ClickException"),
)
"""What typer itself prints, or ends a command by."""


RESUMABLE = frozenset({"pack", "run", "range-test", "tune"})
"""Commands that keep what they have done when they are stopped; the others read."""


class Commands(TyperGroup):
    """All commands. What a user can set right is printed as one line; ``-vv`` adds the traceback."""

    def invoke(self, ctx: Any) -> Any:
        """Run the command that was given; exit with 2 after an error, as typer does, and with 70 after ours.

        After Ctrl-C and SIGTERM it exits as a shell counts them: 128 and the signal's number. The command's log
        ends with the exit code.
        """
        code = 0
        try:
            return self._invoke(ctx)
        except typer.Exit as ending:
            code = ending.exit_code
            raise
        except BaseException:
            code = 1
            raise
        finally:
            if "clr_hpc.cli.display.log_file" in sys.modules:  # or there is no log
                from clr_hpc.cli.display.log_file import close_log

                close_log(f"ended with exit code {code}")

    def _invoke(self, ctx: Any) -> Any:
        try:
            with raise_on_terminate():
                return super().invoke(ctx)
        except TYPERS_OWN:
            raise
        except KeyboardInterrupt as error:
            from clr_hpc.cli.display.terminal import complain

            is_terminated = isinstance(error, TerminatedError)
            how = "SIGTERM" if is_terminated else "Ctrl-C"
            again = shlex.join(["clr-hpc", *sys.argv[1:]])
            resume = f"; what was saved by then is kept. Resume with the same command: {again}"
            complain(f"stopped by {how}{resume if ctx.invoked_subcommand in RESUMABLE else ''}")
            raise typer.Exit(128 + (signal.SIGTERM if is_terminated else signal.SIGINT)) from error
        except Exception as error:
            from clr_hpc.cli.display.terminal import complain
            from clr_hpc.cli.failure import in_words, write_down

            logging.getLogger("clr_hpc").debug("traceback of the error below", exc_info=error)
            text = in_words(error)
            complain(f"error: {text}" if text is not None else write_down(error))
            raise typer.Exit(2 if text is not None else OUR_MISTAKE) from error


SETUP, IMAGES, TRAINING, WATCHING, RESULTS = "Set up", "Images", "Train", "Watch", "Results"
"""Panels of the help."""

app = typer.Typer(
    cls=Commands,
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
    pretty_exceptions_enable=False,
)
app.add_typer(pack_app, name="pack", rich_help_panel=IMAGES)


@app.callback()
def main(
    ctx: typer.Context,
    verbose: Annotated[
        int,
        typer.Option("--verbose", "-v", count=True, help="Log to stderr: -v steps, -vv also tracebacks."),
    ] = 0,
    quiet: Annotated[
        bool, typer.Option("--quiet", "-q", help="Print errors and warnings only; the exit code says the rest.")
    ] = False,
    _version: Annotated[
        bool,
        typer.Option("--version", callback=print_version, is_eager=True, help="Show versions and exit."),
    ] = False,
) -> None:
    """Train chest X-ray classifiers under constant, decaying and cyclical learning rates, and compare them."""
    levels = (logging.WARNING, logging.INFO, logging.DEBUG)
    logging.basicConfig(format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    logging.getLogger("clr_hpc").setLevel(levels[min(verbose, 2)])
    if quiet:
        ctx.with_resource(_without_output())


@contextmanager
def _without_output() -> Iterator[None]:
    with Path(os.devnull).open("w", encoding="utf-8") as nowhere, redirect_stdout(nowhere):
        yield


@app.command(rich_help_panel=IMAGES)
def inspect(
    path: Annotated[Path, typer.Argument(help="A pack or a label table.")],
    verify: Annotated[bool, typer.Option("--verify", help="Check of every file against its checksum.")] = False,
    chart: Annotated[Path | None, typer.Option(help="Figure of the label counts to write, .png or .svg.")] = None,
    separator: Annotated[
        str | None, typer.Option(help="Character between a table's cells (default: recognised).")
    ] = None,
    encoding: Annotated[
        str | None, typer.Option(help="Encoding of a table, such as cp1252 (default: UTF-8 or UTF-16).")
    ] = None,
) -> None:
    """Show the contents of a pack or a label table, with the number of images per label.

    For a table, also show how each column is read, and the command that packs it.
    """
    from clr_hpc.cli.display.terminal import complain, terminal
    from clr_hpc.config.base import UserError
    from clr_hpc.config.given_file import check_output
    from clr_hpc.data.inspect import CHARTS, render, save_label_chart, summarise
    from clr_hpc.data.manifest import damaged_files, read_manifest

    if verify and not path.is_dir():
        raise UserError(f"--verify: {path} is no pack, so it has no checksums; leave it out, or name a pack")
    if chart is not None:
        check_output(chart, CHARTS)
    summary = summarise(path, separator, encoding)
    if chart is not None:
        save_label_chart(summary, chart)
    damages = list(damaged_files(path, read_manifest(path), verify)) if path.is_dir() else []
    terminal().print(render(summary))
    if summary.command is not None:
        typer.echo(f"\nTo pack it:\n{summary.command}")
    for damage in damages:
        complain(f"damaged: {damage}")
    if damages:
        raise typer.Exit(1)
    if verify:
        typer.echo("verified: every file is as it was written")


_COMMANDS: dict[str, tuple[Callable[..., None], ...]] = {
    SETUP: (init, studies, doctor, manual, schema),
    TRAINING: (show, plan, run, tune, range_test),
    WATCHING: (status, logs, cancel, tensorboard, track),
    RESULTS: (evaluate, compare, predict, explain, export, clean),
}
for panel, commands in _COMMANDS.items():
    for each in commands:
        app.command(cls=Command, rich_help_panel=panel)(each)


@app.command(rich_help_panel=RESULTS)
def report(
    study: StudyOrFolder,
    figures: Annotated[
        Literal["main", "all", "none"],
        typer.Option(
            help="Figures to write as SVG and PDF files. main: those over all findings, and the curves that "
            "the page shows first."
        ),
    ] = "main",
    results: ResultsOfFile = None,
    overrides: Overrides = None,
) -> None:
    """Write a study's report from the runs that have ended so far."""
    from clr_hpc.cli.display.log_file import open_log
    from clr_hpc.cli.display.terminal import complain, say
    from clr_hpc.reporting.report import write_report
    from clr_hpc.store.results import check_result, is_done

    folder = find_folder(study, results, overrides)
    open_log(folder.path, "report")
    page = write_report(folder.path, figures)
    started = folder.started()
    runs = started.runs
    with mirrored(folder, started.study.track):
        done = sum(is_done(check_result(folder.runs / spec.name, verify=False)) for spec in runs)
    if done < len(runs):
        complain(f"note: {len(runs) - done:,} of {len(runs):,} runs are not done, and not in the report", "yellow")
    if done:
        say(f"score images with its models: {command('predict', folder.path)} IMAGES")
    say(f"report: {page}")  # the last line, which people look for
