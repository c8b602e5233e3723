"""What ``clr-hpc status`` shows of a study's jobs on a SLURM cluster."""

from collections import Counter

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from clr_hpc.places.slurm.status import ElementStatus, SlurmStatus

MOST_ENDED = 10
"""Of elements that ended well only so many are listed."""
COLUMNS = ("shape", "state", "node", "elapsed", "limit", "requeues", "runs", "reason")


def render_jobs(slurm: SlurmStatus) -> Group:
    """Draw a study's jobs: each element that waits, runs or failed, and the last lines of those that failed."""
    parts: list[RenderableType] = []
    if slurm.silence is not None:
        told = f"SLURM does not answer: {slurm.silence}. What follows is what the jobs themselves wrote down."
        parts.append(Text(told, "yellow"))
    ended = [element for element in slurm.elements if not element.is_active and not element.log]
    hidden = set(map(id, ended[:-MOST_ENDED]))
    shown = [element for element in slurm.elements if id(element) not in hidden]
    if shown:
        parts.append(_table(shown))
    if hidden:
        counts = Counter(element.state for element in ended[:-MOST_ENDED])
        parts.append(Text("earlier jobs: " + ", ".join(f"{n} {state}" for state, n in counts.items()), "dim"))
    for element in slurm.elements:
        if element.log:
            parts.append(Text(f"the last lines of job {element.job_id}:", "red"))
            parts.append(Text("\n".join(f"  {line}" for line in element.log)))
    for node, reason in slurm.excluded.items():
        parts.append(Text(f"excluded node {node}: {reason}", "red"))
    return Group(*(line for part in parts for line in (part, Text())))


def _table(elements: list[ElementStatus]) -> Table:
    table = Table(box=None, pad_edge=False, show_edge=False, header_style="dim")
    table.add_column(Text("job", style="bold"))
    for name in COLUMNS:
        right = name in ("elapsed", "limit", "requeues", "runs")
        table.add_column(name, justify="right" if right else "left", overflow="fold")
    for element in elements:
        values = (element.shape, element.state, element.node, element.elapsed, element.limit)
        table.add_row(
            element.job_id, *values, str(element.requeues or ""), str(len(element.runs)), Text(element.reason)
        )
    return table
