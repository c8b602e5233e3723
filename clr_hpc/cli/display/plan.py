"""What ``clr-hpc plan`` shows in the terminal, and ``clr-hpc run`` before it starts."""

from collections import Counter
from datetime import timedelta

from rich.console import Console
from rich.table import Table
from rich.text import Text

from clr_hpc.planning.plan import Plan


def show_plan(console: Console, plan: Plan) -> None:
    """Print networks, lanes and the prediction."""
    if not plan.lanes:
        console.print("no runs remain to be trained")
        return
    console.print(_networks(plan))
    console.print(_lanes(plan))
    console.print(_totals(plan))


def clock(seconds: float) -> str:
    """Write ``1:02:03``, hours first, with as many hours as there are."""
    hours, rest = divmod(round(seconds), 3600)
    return f"{hours:,}:{str(timedelta(seconds=rest))[2:]}"


def _networks(plan: Plan) -> Table:
    table = _table("network", "image size", "runs", "lane hours")
    for each in plan.cohorts:
        hours = f"{each.seconds / 3600:,.2f}"
        table.add_row(each.network, f"{each.image_size} × {each.image_size}", f"{each.runs:,}", hours)
    return table


def _lanes(plan: Plan) -> Table:
    table = _table("lanes", "each", "runs", "first ends", "last ends")
    for shape, lanes in Counter(lane.shape for lane in plan.lanes).items():
        alike = [lane for lane in plan.lanes if lane.shape == shape]
        ends = [lane.runs[-1].end for lane in alike]
        runs = sum(len(lane.runs) for lane in alike)
        table.add_row(f"{lanes:,}", shape.text, f"{runs:,}", clock(min(ends)), clock(max(ends)))
    return table


def _totals(plan: Plan) -> Table:
    unit, resources = plan.resources.trains_on, plan.resources
    used = sum(resources.taken(lane.shape) for lane in plan.lanes)
    bound = plan.lower_bound_seconds
    table = Table.grid(padding=(0, 2))
    table.add_row("predicted makespan", Text(clock(plan.makespan_seconds), "bold"))
    table.add_row(
        "lower bound",
        f"{clock(bound)}  (work / {unit}s {clock(plan.bound.work_seconds)}, longest chain "
        f"{clock(plan.bound.chain_seconds)}); the plan is {plan.makespan_seconds / bound:.2f} × that",
    )
    table.add_row(f"{unit}s", f"{used:,.4g} of {resources.capacity:,} used")
    table.add_row(f"{unit} hours", f"{plan.busy_hours:,.2f} of training, {plan.held_hours:,.2f} held")
    where = "per GPU" if resources.gpus else "in total"
    memory = f"{plan.memory_bytes / 2**30:.2f} GiB {where}" if plan.memory_bytes else "unknown"
    table.add_row("memory", memory)
    return table


def _table(*columns: str) -> Table:
    table = Table(box=None, header_style="bold", pad_edge=False, padding=(0, 3, 0, 0))
    for place, column in enumerate(columns):
        table.add_column(column, justify="right" if place >= 2 else "left")
    return table
