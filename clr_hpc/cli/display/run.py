"""What the terminal shows while a place trains: a line per run that ended, and below it how the study comes on."""

import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from types import TracebackType
from typing import Any, Self

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.text import Text

from clr_hpc.cli.display.plan import show_plan
from clr_hpc.cli.display.progress import is_drawn, progress_line, progress_text, run_names, running_table
from clr_hpc.cli.display.terminal import plain
from clr_hpc.config.run import RunSpec
from clr_hpc.monitoring.forecast import Forecast, forecast, planned_runs
from clr_hpc.monitoring.status import RunStatus, State, StudyStatus
from clr_hpc.planning.plan import Plan
from clr_hpc.store.lease import holder_of
from clr_hpc.store.results import would_fail_again
from clr_hpc.store.run_folder import RunFolder
from clr_hpc.store.study_files import PlannedRun
from clr_hpc.store.study_folder import StudyFolder
from clr_hpc.training.run import ExitStatus

READ_SECONDS = 1.0
"""Between two looks at the run folders, which may lie on a shared disk."""
LOG_SECONDS = 300.0
"""Between two lines of progress where nothing is drawn."""
ROWS_KEPT = 4
"""Rows of the terminal for the bar, the heading, the line that counts further runs, and the prompt."""


class RunDisplay:
    """The ``Events`` of a place on the terminal; it follows runs by reading their folders.

    It draws from the first run that is under way to the end of its context. In a pipe or a log nothing is drawn:
    there is a line per run that ended, with how far the study is, and one every five minutes.
    """

    def __init__(self, console: Console, folder: StudyFolder, runs: Sequence[RunSpec]) -> None:
        """Show these runs, all of the study's."""
        self._console, self._folder = console, folder
        self._name = run_names(runs)
        self._study = StudyStatus.of(folder, runs)
        self._live = Live(console=console, auto_refresh=False, transient=True)
        self._is_drawn = is_drawn(console)
        self._read_at = self._logged_at = 0.0
        self._statuses: list[RunStatus] = []
        self._planned: dict[str, PlannedRun] | None = None
        self._ended: set[str] = set()
        self._fraction = 0.0
        self.failed = 0
        """How many runs have ended without a result."""
        self.hopeless = 0
        """How many of these would fail again."""

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
        self._live.stop()

    def under_way(self, runs: Collection[RunSpec]) -> None:  # noqa: ARG002 - their folders say more
        """Draw how the study comes on, or print a line of it now and then."""
        now = time.monotonic()
        if self._is_drawn and now - self._read_at >= READ_SECONDS:
            self._read()
            self._live.start()
            self._live.update(self._picture(), refresh=True)
        elif not self._is_drawn and now - self._logged_at >= LOG_SECONDS:
            if self._logged_at:
                self._read()
                self.say(self._progress_text())
            self._logged_at = now

    def ended(self, spec: RunSpec, outcome: ExitStatus) -> None:
        """Print the line of a run that ended, or that another process trains."""
        folder = self._folder.runs / spec.name
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
        self.failed += outcome == "failed"
        self._ended |= {spec.name} if outcome in ("done", "failed") else set()
        line = opening + plain(f"{self._name(spec)}  {rest}")
        if not self._is_drawn and outcome in ("done", "failed"):
            self._read()
            line += plain(f"  ({self._progress_text()})")
            self._logged_at = time.monotonic()
        self._console.print(line, soft_wrap=True)
        self._read_at = 0.0

    def _read(self) -> None:
        self._statuses, self._read_at = [*map(self._as_it_is_now, self._study.read())], time.monotonic()

    def _as_it_is_now(self, status: RunStatus) -> RunStatus:
        """Return a run that failed in an earlier command as one that waits, since this one tries it again."""
        is_earlier = status.state == State.FAILED and status.spec.name not in self._ended
        return RunStatus(status.spec, State.WAITING) if is_earlier else status

    def _forecast(self) -> Forecast:
        if self._planned is None:  # the plan is written before the first run starts
            self._planned = planned_runs(self._folder.path)
        found = forecast(self._statuses, self._planned)
        # what a run has taken corrects the weights of the others, which would move the bar back
        self._fraction = max(self._fraction, found.fraction)
        return replace(found, fraction=self._fraction)

    def _progress_text(self) -> str:
        return progress_text(self._forecast(), self.failed)

    def _picture(self) -> RenderableType:
        running = [status for status in self._statuses if status.state == State.RUNNING]
        most = max(1, self._console.height - ROWS_KEPT)
        parts: list[RenderableType] = [progress_line(self._console, self._forecast(), self.failed)]
        if running:
            parts.append(running_table(running[:most], self._name, self._console.width))
        if running[most:]:
            parts.append(Text(f"and {len(running) - most:,} more", "dim"))
        return Group(*parts)


def _summary(result: Mapping[str, Any]) -> str:
    validation = result["validation"]
    if validation is None:  # an LR range test
        how = "the loss diverged" if result["diverged"] else "the loss did not diverge"
        return f"{how} by epoch {result['epochs']:.1f}, {result['seconds']:.0f} s"
    auroc = validation["auroc"]
    return (
        f"validation AUROC {'not defined' if auroc is None else format(auroc, '.3f')}, {result['seconds']:.0f} s"
    )
