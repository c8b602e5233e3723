"""What the terminal shows while a place trains: one line per finished run, live lines for running ones."""

from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from clr_hpc.cli.display.plan import show_plan
from clr_hpc.cli.display.terminal import plain
from clr_hpc.config.pathologies import title
from clr_hpc.config.run import RunSpec
from clr_hpc.planning.plan import Plan
from clr_hpc.store.lease import holder_of
from clr_hpc.store.results import would_fail_again
from clr_hpc.store.run_folder import RunFolder, latest_metrics
from clr_hpc.training.run import ExitStatus


class RunDisplay:
    """The ``Events`` of a place on the terminal; it follows runs by reading their folders.

    It draws from the first run that is under way to the end of its context.
    """

    def __init__(self, console: Console, runs_folder: Path, already_done: int, total: int) -> None:
        """Show ``total`` runs, ``already_done`` of which were done before."""
        self._console, self._runs_folder = console, runs_folder
        self._progress = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TextColumn("{task.fields[detail]}", markup=False),
            TimeElapsedColumn(),
            console=console,
            transient=True,
            disable=not console.is_terminal,
        )
        self._whole = self._progress.add_task("all runs", total=total, completed=already_done, detail="")
        self._lines: dict[RunSpec, TaskID] = {}
        self.failed = 0
        self.hopeless = 0
        """How many runs have ended without a result."""

    def say(self, line: str) -> None:
        """Print a line, as it is and as long as it is."""
        self._console.print(plain(line), soft_wrap=True)

    @contextmanager
    def busy(self, text: str) -> Iterator[Callable[[str], None]]:
        """Show a spinner with a text while the context lasts."""
        with self._console.status(plain(text)) as status:
            yield lambda changed: status.update(plain(changed))

    def planned(self, plan: Plan) -> None:
        """Print a plan."""
        show_plan(self._console, plan)

    def __enter__(self) -> Self:
        """Return itself; nothing is drawn yet."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop drawing and leave the lines of the runs that ended."""
        self._progress.stop()

    def under_way(self, runs: Collection[RunSpec]) -> None:
        """Redraw the lines of the runs that are being trained."""
        self._progress.start()
        for spec in [spec for spec in self._lines if spec not in runs]:
            self._progress.remove_task(self._lines.pop(spec))
        for spec in runs:
            if spec not in self._lines:
                self._lines[spec] = self._progress.add_task(
                    describe_run(spec), total=spec.training.epochs, detail="starting"
                )
            newest = latest_metrics(self._runs_folder / spec.name)
            if "step" in newest:
                epochs = round(newest["step"]["progress"], 1)
                self._progress.update(self._lines[spec], completed=epochs, detail=_detail(newest))

    def ended(self, spec: RunSpec, outcome: ExitStatus) -> None:
        """Print the line of a run that ended, or that another process trains."""
        folder = self._runs_folder / spec.name
        if spec in self._lines:
            self._progress.remove_task(self._lines.pop(spec))
        result: Mapping[str, Any] = RunFolder(folder).result() or {}
        if outcome == "done":
            opening, rest = plain("done    ", "green"), _summary(result)
        elif outcome == "failed":
            opening, rest = plain("failed  ", "red"), str(result.get("reason", f"{folder} could not be written"))
            self.hopeless += would_fail_again(result)
        else:
            holder = holder_of(folder)
            gone = "another process had it, or its folder was removed; it is tried again"
            opening = plain("in use  ", "yellow")
            rest = gone if holder is None else f"{holder} trains it; waiting for it"
        if outcome in ("done", "failed"):
            self.failed += outcome == "failed"
            self._progress.advance(self._whole)
        self._console.print(opening + plain(f"{describe_run(spec)}  {rest}"), soft_wrap=True)


def describe_run(spec: RunSpec) -> str:
    """Name a run for people."""
    parts = (
        title(spec.task.name).replace("-", ", "),
        spec.architecture,
        spec.optimizer.name,
        spec.stage,
        spec.policy.name,
        f"seed {spec.seed}",
    )
    return " · ".join(parts)


def _detail(newest: dict[str, dict[str, Any]]) -> str:
    step = newest["step"]
    text = f"lr {step['lr']:.2g}  loss {step['loss']:.3f}  {step['images_per_second']:.0f} images/s"
    auroc = newest.get("validation", {}).get("auroc")
    return text if auroc is None else f"{text}  validation AUROC {auroc:.3f}"


def _summary(result: Mapping[str, Any]) -> str:
    validation = result["validation"]
    if validation is None:  # an LR range test
        how = "the loss diverged" if result["diverged"] else "the loss did not diverge"
        return f"{how} by epoch {result['epochs']:.1f}, {result['seconds']:.0f} s"
    shown = {"AUROC": validation["auroc"], "accuracy": validation["accuracy"]}
    values = ", ".join(f"{name} {'not defined' if v is None else format(v, '.3f')}" for name, v in shown.items())
    return f"validation {values}, {result['seconds']:.0f} s"
