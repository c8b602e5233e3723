"""What the ledger of a study's submissions holds."""

import re
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Literal
from uuid import uuid4

from clr_hpc.training.run import RunSettings

Shape = Literal["array", "allocation"]
"""What a job is: an array whose elements train for themselves, or several nodes with a Ray cluster."""


@dataclass(frozen=True)
class Submission:
    """One job array, or one allocation: then its runs are those of one element."""

    token: str
    name: str
    """Of the job; no other job has it."""
    made: str
    state: Literal["intended", "submitted", "abandoned"]
    elements: tuple[tuple[str, ...], ...]
    """(elements,) the names of the runs of each, in the order in which it is to train them."""
    failed_before: dict[str, int]
    """Of each run that had failed before, the modification time of its result in ns: it is tried again."""
    commit: str | None
    source_sha256: str
    pack_checksum: str
    pack_folder: str
    settings: RunSettings
    accept_changes: bool
    processes: int
    threads: int
    baseline_wait_seconds: int
    job: int | None = None
    """None: not known (yet)."""
    shape: Shape = "array"
    nodes: int = 1
    """Of an allocation, as are the following; None where the plan, or the room that there is, decides."""
    lanes: int | None = None
    workers_per_lane: int | None = None
    rates: str | None = None
    """A file of recorded rates to plan with."""

    def job_id(self, index: int) -> str | None:
        """Return an element's id as SLURM writes it."""
        if self.job is None:
            return None
        return f"{self.job}_{index}" if len(self.elements) > 1 else str(self.job)


@dataclass(frozen=True)
class Start:
    """One start of an element."""

    time: str
    node: str
    job: str
    restarts: int
    """How often SLURM had queued the job again by then."""
    done_runs: int
    samples: int
    """Of the newest checkpoints of the study's other runs together."""


@dataclass(frozen=True)
class ElementRecord:
    """What an element says of itself."""

    starts: tuple[Start, ...] = ()
    trained: tuple[str, ...] = ()
    ended: str | None = None
    """Why it ended, for people; None while it runs or waits to go on."""
    failed: bool = False

    @property
    def starts_without_progress(self) -> int:
        """How many of the last starts found the study where the one before had found it."""
        found = [(start.done_runs, start.samples) for start in self.starts]
        same = 0
        while same + 1 < len(found) and found[-2 - same] == found[-1]:
            same += 1
        return same


def new_token(study_name: str) -> tuple[str, str]:
    """Return a token that no submission has had, and the name of its job."""
    token = uuid4().hex[:12]
    return token, f"clr-{re.sub('[^A-Za-z0-9_-]', '-', study_name)[:40]}-{token}"


def with_job(submission: Submission, job: int) -> Submission:
    """Return a submission as it stands in the ledger once SLURM has taken it."""
    return replace(submission, state="submitted", job=job)


def abandoned(submission: Submission) -> Submission:
    """Return a submission that does nothing, should SLURM start it all the same."""
    return replace(submission, state="abandoned")


def now() -> str:
    """Return the time as the ledger writes it."""
    return datetime.now(UTC).isoformat(timespec="seconds")
