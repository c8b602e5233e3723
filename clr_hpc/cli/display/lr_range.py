"""Results of LR range tests in the terminal (``clr-hpc range-test``)."""

from collections.abc import Iterator, Sequence
from itertools import groupby

from rich.table import Table

from clr_hpc.planning.lr_range import TestedLearner, two_digits
from clr_hpc.schedule.lr_agreement import Agreement


def render(learners: Sequence[TestedLearner]) -> Table:
    """Return a table with one row per task, architecture and optimizer, its rates and their spread over seeds."""
    table = Table(box=None, pad_edge=False)
    for title in ("task", "architecture", "optimizer"):
        table.add_column(title)
    for title in ("lr_min", "lr_max", "without a cycle", "seeds"):
        table.add_column(title, justify="right")
    for one in learners:
        first, verdict = one.tests[0], one.verdict
        names, seeds = (first.task.name, first.architecture, first.optimizer.name), len(one.tests)
        if isinstance(verdict, Agreement):
            rates = [_with_spread(verdict, name) for name in ("lr_min", "lr_max", "lr")]
            table.add_row(*names, *rates, f"{seeds}")
        else:
            table.add_row(*names, "no suggestion", "–", "–", f"{seeds}", style="yellow")
    return table


def reasons(learners: Sequence[TestedLearner]) -> Iterator[str]:
    """Yield a line for each row of the table: why its rates are these, or why there are none."""
    for one in learners:
        found = one.verdict.suggestion if isinstance(one.verdict, Agreement) else one.verdict
        yield f"{one.name}: {found.reason}"


def pasteable(learners: Sequence[TestedLearner]) -> Iterator[str]:
    """Yield the lines of a ``rates:`` for the study file, one for each architecture and task."""
    for (task, architecture), group in groupby(
        learners, lambda one: (one.tests[0].task.name, one.tests[0].architecture)
    ):
        measured = [one.measured for one in group if one.measured is not None]
        if not measured:
            continue
        yield f"# {architecture}, measured on {task}; or auto instead of the numbers, to measure each"
        yield "rates:"
        for one in measured:
            yield f"  {one.optimizer.name}: {{lr_min: {one.lr_min:g}, lr_max: {one.lr_max:g}}}"


def _with_spread(verdict: Agreement, name: str) -> str:
    value, low, high = (
        two_digits(getattr(one, name)) for one in (verdict.suggestion, verdict.lowest, verdict.highest)
    )
    return f"{value:g}" if low == high else f"{value:g} ({low:g} to {high:g})"
