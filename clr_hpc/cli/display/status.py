"""Status of a study in the terminal (``clr-hpc status``)."""

from collections import Counter
from collections.abc import Callable
from pathlib import Path

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from clr_hpc.config.pathologies import title
from clr_hpc.config.run import RunSpec
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


def render(folder: Path, statuses: list[RunStatus], folders_of_others: int) -> Group:
    """Draw a study: how many runs are in each state, and the details of each."""
    counts = count(statuses)
    headline = Text(f"{len(statuses)} {'run' if len(statuses) == 1 else 'runs'} in {folder}: ", overflow="fold")
    shown = [(state, number) for state, number in counts.items() if number]
    for position, (state, number) in enumerate(shown):
        headline.append(", " if position else "").append(f"{number} {state}", style=COLOURS[state])
    parts: list[RenderableType] = [headline]
    name = _names([status.spec for status in statuses])
    large = len(statuses) > LONGEST_LIST
    if large:
        parts.append(_summary(statuses))
    for state in State:
        of_state = [status for status in statuses if status.state == state]
        if of_state and not (large and state in (State.WAITING, State.DONE)):
            parts.append(_list(state, of_state, [("", name), *COLUMNS[state]]))
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


def _names(specs: list[RunSpec]) -> Callable[[RunStatus], str]:
    """Return a function that names a run by what distinguishes it in the study."""
    varies = {
        "architecture": len({spec.architecture for spec in specs}) > 1,
        "optimizer": len({spec.optimizer.name for spec in specs}) > 1,
        "seed": len({spec.seed for spec in specs}) > 1,
    }

    def name(spec: RunSpec) -> str:
        parts = [title(spec.task.name).replace("-", ", ")]
        parts += [spec.architecture] * varies["architecture"] + [spec.optimizer.name] * varies["optimizer"]
        parts += [spec.stage, spec.policy.name] + [f"seed {spec.seed}"] * varies["seed"]
        return " · ".join(parts)

    taken = Counter(map(name, specs))

    def unique(status: RunStatus) -> str:
        plain = name(status.spec)
        return plain if taken[plain] == 1 else f"{plain} · {status.spec.run_id}"

    return unique


def _number(value: float | None, form: str) -> str:
    return "" if value is None else format(value, form)


def _epoch(status: RunStatus) -> str:
    return "" if status.epoch is None else f"{status.epoch:.1f} of {status.spec.training.epochs}"


def duration(seconds: float | None) -> str:
    """Write seconds in the two largest units that matter."""
    if seconds is None:
        return ""
    if seconds < 100:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    if minutes < 100:
        return f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    if hours < 48:
        return f"{hours} h {minutes} min"
    return f"{hours // 24} d {hours % 24} h"


def _left(status: RunStatus) -> str:
    return "ending" if status.seconds_left == 0 else duration(status.seconds_left)


def _place(status: RunStatus) -> str:
    return f"{status.place}, {status.host}" if status.host else ""


WORDS = {"place", "reason", "progress", "why"}
"""Headings of columns that hold words."""

COLUMNS: dict[State, list[Column]] = {
    State.RUNNING: [
        ("epoch", _epoch),
        ("rate", lambda status: _number(status.lr, ".2g")),
        ("loss", lambda status: _number(status.loss, ".3f")),
        ("AUROC", lambda status: _number(status.validation_auroc, ".3f")),
        ("images/s", lambda status: _number(status.images_per_second, ".0f")),
        ("left", _left),
        ("place", _place),
    ],
    State.WAITING: [("why", lambda status: status.reason or "")],
    State.STOPPED: [("progress", lambda status: status.reason or "")],
    State.FAILED: [("reason", lambda status: status.reason or "")],
    State.DONE: [
        ("AUROC", lambda status: _number(status.validation_auroc, ".3f")),
        ("loss", lambda status: _number(status.loss, ".3f")),
        ("took", lambda status: duration(status.seconds)),
    ],
}
