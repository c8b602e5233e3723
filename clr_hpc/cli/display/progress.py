"""Progress of a study in the terminal: a bar, and one line per run under way. ``run`` and ``status`` share it."""

from collections import Counter
from collections.abc import Callable, Sequence

from rich.console import Console, RenderableType
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from clr_hpc.config.base import counted
from clr_hpc.config.pathologies import title
from clr_hpc.config.run import RunSpec
from clr_hpc.monitoring.forecast import Forecast
from clr_hpc.monitoring.status import RunStatus, State


def progress_line(console: Console, forecast: Forecast, failed: int) -> RenderableType:
    """Return percent, how many runs have ended and the time that is left; in a terminal, a bar fills the line."""
    text = Text(progress_text(forecast, failed))
    if not is_drawn(console):
        return text
    line = Table.grid(expand=True, padding=(0, 2, 0, 0))
    line.add_column(ratio=1)
    line.add_column(no_wrap=True)
    line.add_row(ProgressBar(1.0, min(forecast.fraction, 1.0)), text)
    return line


def is_drawn(console: Console) -> bool:
    """Whether lines can be drawn over others: in a terminal, and in no pipe and no log."""
    return console.is_terminal and not console.is_dumb_terminal


def progress_text(forecast: Forecast, failed: int) -> str:
    """Say it in words: ``54 %, 3 of 6 runs, about 4 min left``."""
    parts = [f"{_percent(forecast)} %", f"{forecast.ended:,} of {counted(forecast.runs, 'run')}"]
    if failed:
        parts.append(f"{failed:,} failed")
    if forecast.seconds_left is not None and forecast.ended < forecast.runs:
        parts.append(f"about {duration(forecast.seconds_left)} left")
    return ", ".join(parts)


def _percent(forecast: Forecast) -> int:
    """Round, but call nothing complete that is not."""
    return 100 if forecast.ended == forecast.runs else min(round(100 * forecast.fraction), 99)


def running_table(statuses: Sequence[RunStatus], name: Callable[[RunSpec], str], width: int) -> Table:
    """Return one line per run under way; in a narrow terminal with fewer columns, and names that are cut.

    Args:
        statuses: of runs that are being trained.
        name: what a run is called.
        width: columns of the terminal.
    """
    table = Table(box=None, pad_edge=False, show_edge=False, header_style="dim", expand=width < WIDE)
    table.add_column(Text(State.RUNNING, style="bold cyan"), ratio=1 if width < WIDE else None, no_wrap=True)
    columns = [(heading, value) for heading, value, needed in COLUMNS if width >= needed]
    for heading, _ in columns:
        table.add_column(heading, justify="left" if heading == "place" else "right", no_wrap=True)
    for status in statuses:
        table.add_row(Text(name(status.spec)), *(Text(value(status)) for _, value in columns))
    return table


def run_names(specs: Sequence[RunSpec]) -> Callable[[RunSpec], str]:
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

    def unique(spec: RunSpec) -> str:
        plain = name(spec)
        return plain if taken[plain] == 1 else f"{plain} · {spec.run_id}"

    return unique


def number(value: float | None, form: str) -> str:
    """Format a value, and what isn't known as nothing."""
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


WIDE = 140
"""Columns from which on names are not cut for the sake of the other columns."""

COLUMNS: tuple[tuple[str, Callable[[RunStatus], str], int], ...] = (
    ("epoch", _epoch, 0),
    ("rate", lambda status: number(status.lr, ".2g"), 110),
    ("loss", lambda status: number(status.loss, ".3f"), 0),
    ("AUROC", lambda status: number(status.validation_auroc, ".3f"), 90),
    ("images/s", lambda status: number(status.images_per_second, ".0f"), 100),
    ("left", _left, 0),
    ("place", _place, WIDE),
)
"""Heading, value, and the width of the terminal from which on there is room for it."""
