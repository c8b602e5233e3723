"""Status of a study in the terminal (``clr-hpc status``)."""

from collections import Counter
from collections.abc import Callable
from pathlib import Path

from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from clr_hpc.cli.display.progress import duration, number, progress_line, run_names, running_table
from clr_hpc.monitoring.forecast import forecast, planned_runs
from clr_hpc.monitoring.status import RunStatus, State, count

LONGEST_LIST = 30
"""With more runs, waiting and done ones are counted, not listed."""

COLOURS = {
    State.RUNNING: "cyan",
    State.WAITING: "default",
    State.STOPPED: "yellow",
    State.FAILED: "red",
    State.DONE: "green",
}

Column = tuple[str, Callable[[RunStatus], str]]


def render(folder: Path, statuses: list[RunStatus], folders_of_others: int, console: Console) -> Group:
    """Draw a study: how many runs are in each state, how far it is, and the details of each run."""
    counts = count(statuses)
    headline = Text(f"{len(statuses)} {'run' if len(statuses) == 1 else 'runs'} in {folder}: ", overflow="fold")
    shown = [(state, runs) for state, runs in counts.items() if runs]
    for position, (state, runs) in enumerate(shown):
        headline.append(", " if position else "").append(f"{runs} {state}", style=COLOURS[state])
    parts: list[RenderableType] = [headline]
    if counts[State.RUNNING]:
        parts.append(progress_line(console, forecast(statuses, planned_runs(folder)), counts[State.FAILED]))
    name = run_names([status.spec for status in statuses])
    large = len(statuses) > LONGEST_LIST
    if large:
        parts.append(_summary(statuses))
    for state in State:
        of_state = [status for status in statuses if status.state == state]
        if of_state and state == State.RUNNING:
            parts.append(running_table(of_state, name, console.width))
        elif of_state and not (large and state in (State.WAITING, State.DONE)):
            parts.append(_list(state, of_state, [("", lambda status: name(status.spec)), *COLUMNS[state]]))
    if folders_of_others:
        parts.append(Text(f"not counted: {folders_of_others} run folders of earlier versions of the study", "dim"))
    return Group(*(line for part in parts for line in (part, Text())))


def _list(state: State, statuses: list[RunStatus], columns: list[Column]) -> Table:
    table = Table(box=None, pad_edge=False, show_edge=False, header_style="dim")
    for position, (heading, _) in enumerate(columns):
        first, last = position == 0, position == len(columns) - 1
        words = heading in WORDS
        table.add_column(
            Text(state, style=f"bold {COLOURS[state]}") if first else heading,
            justify="left" if first or words else "right",
            no_wrap=not (words and last),
            overflow="fold" if words and last else "ellipsis",
        )
    for status in statuses:
        table.add_row(*(Text(value(status)) for _, value in columns))
    return table


def _summary(statuses: list[RunStatus]) -> Table:
    """Count the runs of each stage and architecture."""
    rows = Counter((status.spec.stage, status.spec.architecture, status.state) for status in statuses)
    states = [state for state in State if any(key[2] == state for key in rows)]
    table = Table(box=None, pad_edge=False, show_edge=False, header_style="dim")
    table.add_column("stage")
    table.add_column("architecture")
    for state in states:
        table.add_column(Text(state, style=COLOURS[state]), justify="right")
    for stage, architecture in dict.fromkeys((stage, architecture) for stage, architecture, _ in rows):
        table.add_row(stage, architecture, *(str(rows[stage, architecture, state] or "·") for state in states))
    return table


WORDS = {"reason", "progress", "why"}
"""Headings of columns that hold words."""

COLUMNS: dict[State, list[Column]] = {
    State.WAITING: [("why", lambda status: status.reason or "")],
    State.STOPPED: [("progress", lambda status: status.reason or "")],
    State.FAILED: [("reason", lambda status: status.reason or "")],
    State.DONE: [
        ("AUROC", lambda status: number(status.validation_auroc, ".3f")),
        ("loss", lambda status: number(status.loss, ".3f")),
        ("took", lambda status: duration(status.seconds)),
    ],
}
