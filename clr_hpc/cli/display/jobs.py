"""A study's submitted jobs, as ``clr-hpc status`` shows them in the terminal."""

from collections import Counter

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from clr_hpc.places.base import JobState, JobStatus

MOST_ENDED = 10
"""Of jobs that ended well only so many are listed."""
COLUMNS = ("shape", "state", "node", "elapsed", "limit", "requeues", "runs", "reason")


def render_jobs(status: JobStatus) -> Group:
    """Draw each job that waits, runs or failed, and the last lines of those that failed."""
    parts: list[RenderableType] = []
    if status.silence is not None:
        silent = f"{status.place.upper()} does not answer: {status.silence}. "
        note = f"{silent}What follows was recorded by the jobs themselves."
        parts.append(Text(note, "yellow"))
    ended = [job for job in status.jobs if not job.is_active and not job.log]
    hidden = set(map(id, ended[:-MOST_ENDED]))
    shown = [job for job in status.jobs if id(job) not in hidden]
    if shown:
        parts.append(_table(shown))
    if hidden:
        counts = Counter(job.state for job in ended[:-MOST_ENDED])
        parts.append(Text("earlier jobs: " + ", ".join(f"{n} {state}" for state, n in counts.items()), "dim"))
    for job in status.jobs:
        if job.log:
            parts.append(Text(f"the last lines of job {job.job_id}:", "red"))
            parts.append(Text("\n".join(f"  {line}" for line in job.log)))
    for node, reason in status.excluded.items():
        parts.append(Text(f"excluded node {node}: {reason}", "red"))
    return Group(*(line for part in parts for line in (part, Text())))


def _table(jobs: list[JobState]) -> Table:
    table = Table(box=None, pad_edge=False, show_edge=False, header_style="dim")
    table.add_column(Text("job", style="bold"))
    for name in COLUMNS:
        right = name in ("elapsed", "limit", "requeues", "runs")
        table.add_column(name, justify="right" if right else "left", overflow="fold")
    for job in jobs:
        values = (job.shape, job.state, job.node, job.elapsed, job.limit)
        table.add_row(job.job_id, *values, str(job.requeues or ""), str(len(job.runs)), Text(job.reason))
    return table
