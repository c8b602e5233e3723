"""What was submitted to SLURM: ``slurm/`` in a study's folder, writable by its owner alone.

Others read what the umask lets them; pickles, tokens and the lock are for the owner, whose jobs run the pickles.

A submission is one job array, or one allocation. Its file is written before sbatch is called, under a name that no
other job has, and once more with the job's id afterwards. So a command that is killed in between leaves an intent,
and the next one asks SLURM for that name. A submission that counts as abandoned does nothing, should it start all
the same.

| path | what |
|---|---|
| `lock` | held by the command that submits or cancels |
| `submissions/<token>.json` | a job: which runs each of its array tasks has, and its code and pack |
| `elements/<token>.<index>.json` | an array task's starts, what it trained, how it ended; it writes this itself |
| `cancelled/<run>` | a cancelled run |
| `faults/<run>.<node>` | a run that failed on a node through the node's fault |
| `excluded/<node>` | a node on which no further array task is to start, and why |
| `allocations/<job>.<restarts>/` | where the nodes of an allocation meet (`allocation/rendezvous.py`) |
| `logs/` | submitit's folder: what the array tasks printed |
"""

import fcntl
import os
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, fields, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar
from uuid import uuid4

from pydantic import BeforeValidator, TypeAdapter
from typing_extensions import TypedDict

from clr_hpc.config.base import UserError
from clr_hpc.store import layout
from clr_hpc.store.atomic import OWNER_ALONE, owner_of, write_json
from clr_hpc.store.records import Damaged, Time, read_record, record
from clr_hpc.training.run import RunSettings

Shape = Literal["array", "allocation"]
"""Shape of a job: an array whose tasks train independently, or several nodes with a Ray cluster."""


@dataclass(frozen=True)
class Submission:
    """One job array, or one allocation, which has one element."""

    token: str
    name: str
    """Of the job; no other job has it."""
    made: Time
    state: Literal["intended", "submitted", "abandoned"]
    elements: tuple[tuple[str, ...], ...]
    """(array tasks,) the names of the runs of each, in the order of training."""
    failed_before: dict[str, int]
    """For each run that had failed before, the modification time of its result in ns: it is retried."""
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
    """None: not known yet."""
    shape: Shape = "array"
    nodes: int = 1
    """Of an allocation, as are the following; None where the plan, or the room that there is, decides."""
    lanes: int | None = None
    workers_per_lane: int | None = None
    rates: str | None = None
    """A file of recorded rates to plan with."""

    def job_id(self, index: int) -> str | None:
        """Return an array task's id as SLURM writes it."""
        if self.job is None:
            return None
        return f"{self.job}_{index}" if len(self.elements) > 1 else str(self.job)


@dataclass(frozen=True)
class Start:
    """One start of an array task or allocation."""

    time: str
    node: str
    job: str
    restarts: int
    """Requeues by SLURM before it."""
    done_runs: int
    samples: int
    """Sum over the newest checkpoints of the remaining runs."""


@dataclass(frozen=True)
class JobRecord:
    """What an array task or allocation records of itself."""

    starts: tuple[Start, ...] = ()
    trained: tuple[str, ...] = ()
    ended: str | None = None
    """Why it ended, as text; None while it runs or waits to resume."""
    failed: bool = False

    @property
    def starts_without_progress(self) -> int:
        """Number of last starts that found the study at the same point as the start before."""
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


class LedgerError(UserError):
    """The ledger is in use by another command, or can't be read."""


@dataclass(frozen=True)
class Ledger:
    """The records of one study."""

    study_folder: Path
    folder: Path = field(init=False)

    def __post_init__(self) -> None:
        """Name the folder; ``prepare`` makes it."""
        object.__setattr__(self, "folder", self.study_folder / layout.SLURM)

    @property
    def exists(self) -> bool:
        """Whether the study was ever submitted."""
        return (self.folder / "submissions").is_dir()

    @property
    def is_mine(self) -> bool:
        """Whether this user may write into it."""
        return os.access(self.folder, os.W_OK)

    @property
    def logs(self) -> Path:
        """Return submitit's folder."""
        return self.folder / "logs"

    @property
    def cancelled_folder(self) -> Path:
        """Return where a file with a run's name has that run stop."""
        return self.folder / "cancelled"

    def prepare(self) -> None:
        """Make the folders."""
        for path in (self.folder, *(self.folder / name for name in FOLDERS)):
            path.mkdir(mode=0o755, parents=True, exist_ok=True)

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Keep other commands from submitting or cancelling meanwhile.

        Raises:
            LedgerError: one does so at this moment, or the jobs are another user's.
        """
        try:
            descriptor = os.open(self.folder / "lock", os.O_RDWR | os.O_CREAT, OWNER_ALONE)
        except PermissionError:
            owner = owner_of(self.folder.stat())
            raise LedgerError(
                f"{self.folder} is of {owner}, who alone submits and cancels its jobs; ask {owner}, or train what "
                "is left with --on here"
            ) from None
        try:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise LedgerError(
                    f"{self.folder}: another command submits or cancels; try again when it has ended"
                ) from None
            except OSError:  # a disk without locks; two jobs for a run are kept apart by its lease all the same
                pass
            yield
        finally:
            os.close(descriptor)

    def write(self, submission: Submission) -> None:
        """Record a submission or its new state."""
        values = asdict(submission)
        write_json(self.folder / "submissions" / f"{submission.token}.json", values | values.pop("settings"))

    def read(self, token: str) -> Submission:
        """Return one submission.

        Raises:
            LedgerError: it isn't there or can't be read.
        """
        path = self.folder / "submissions" / f"{token}.json"
        found = _read(path, _SUBMISSION, "cancel the job, remove the file and submit again")
        if found is None:
            raise LedgerError(f"{path} does not exist; submit again")
        return found

    def submissions(self) -> list[Submission]:
        """Return all submissions, the oldest first.

        Raises:
            LedgerError: one can't be read.
        """
        tokens = [path.stem for path in (self.folder / "submissions").glob("[0-9a-f]*.json")]
        return sorted((self.read(token) for token in tokens), key=lambda one: (one.made, one.token))

    def record(self, token: str, index: int) -> JobRecord:
        """Return the record of an array task; an empty one if it never started.

        Raises:
            LedgerError: it can't be read.
        """
        return (
            _read(self._record_path(token, index), _JOB_RECORD, "remove it; the starts in it are forgotten")
            or JobRecord()
        )

    def write_record(self, token: str, index: int, record: JobRecord) -> None:
        """Write the record of an array task."""
        write_json(self._record_path(token, index), asdict(record))

    def _record_path(self, token: str, index: int) -> Path:
        return self.folder / "elements" / f"{token}.{index}.json"

    def cancelled(self) -> set[str]:
        """Return the names of the cancelled runs."""
        return {path.name for path in self.cancelled_folder.glob("*")}

    def cancel(self, runs: Sequence[str]) -> None:
        """Cancel runs; those under way save a checkpoint and stop."""
        for name in runs:
            (self.cancelled_folder / name).touch()

    def allow(self, runs: Sequence[str]) -> None:
        """Undo the cancelling of runs, and forget on which nodes they failed."""
        names = set(runs)
        for path in self.cancelled_folder.glob("*"):
            if path.name in names:
                path.unlink(missing_ok=True)
        for path in (self.folder / "faults").glob("*"):
            if any(path.name.startswith(f"{name}.") for name in names):
                path.unlink(missing_ok=True)

    def add_fault(self, run: str, node: str, reason: str) -> None:
        """Record that a run failed through the fault of a node."""
        (self.folder / "faults" / f"{run}.{node}").write_text(reason + "\n")

    def nodes_at_fault(self, run: str) -> set[str]:
        """Return the nodes whose faults made a run fail."""
        return {path.name[len(run) + 1 :] for path in (self.folder / "faults").glob(f"{run}.*")}

    def exclude(self, node: str, reason: str) -> None:
        """Exclude a node from further starts."""
        write_json(self.folder / "excluded" / node, {"reason": reason, "time": now()})

    def excluded(self) -> dict[str, str]:
        """Return the excluded nodes, and why.

        Raises:
            LedgerError: a file of one can't be read.
        """
        files = sorted((self.folder / "excluded").glob("[!.]*"))
        found = {file.name: _read(file, _EXCLUSION, "remove it to use the node again") for file in files}
        return {node: exclusion["reason"] for node, exclusion in found.items() if exclusion is not None}


FOLDERS = ("submissions", "elements", "cancelled", "faults", "excluded", "allocations", "logs")


T = TypeVar("T")


@record
class _Exclusion(TypedDict):
    reason: str


def _with_settings(values: Any) -> Any:
    """Put the settings of runs, which stand among the rest in the file, into one value."""
    if not isinstance(values, dict):
        return values
    names = {setting.name for setting in fields(RunSettings)}
    rest = {name: value for name, value in values.items() if name not in names}
    return rest | {"settings": {name: value for name, value in values.items() if name in names}}


_SUBMISSION: TypeAdapter[Submission] = TypeAdapter(Annotated[Submission, BeforeValidator(_with_settings)])
_JOB_RECORD = TypeAdapter(JobRecord)
_EXCLUSION: TypeAdapter[_Exclusion] = TypeAdapter(_Exclusion)


def _read(path: Path, kind: TypeAdapter[T], remedy: str) -> T | None:
    """Return the record of a file; None where there is no such file."""
    found = read_record(path, kind, remedy)
    if isinstance(found, Damaged):
        raise LedgerError(str(found))
    return found
