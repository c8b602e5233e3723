"""What was submitted to SLURM: ``slurm/`` in a study's folder, readable by its owner alone.

A submission is one job array, or one allocation. Its file is written before sbatch is called, under a name that no
other job has, and once more with the job's id afterwards. So a command that is killed in between leaves an intent,
and the next one asks SLURM for that name. A submission that counts as abandoned does nothing, should it start all
the same.

| path | what |
|---|---|
| `lock` | held by the command that submits or cancels |
| `submissions/<token>.json` | a job: which runs each of its elements has, and what code and pack it is for |
| `elements/<token>.<index>.json` | an element's starts, what it trained, how it ended; the element writes it |
| `cancelled/<run>` | a run that nobody is to train any more |
| `faults/<run>.<node>` | a run that failed on a node for a reason that is the node's |
| `excluded/<node>` | a node that no element is to start on any more, and why |
| `allocations/<job>.<restarts>/` | where the nodes of an allocation meet (`allocation/rendezvous.py`) |
| `logs/` | submitit's folder: what the elements printed |
"""

import fcntl
import json
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from clr_hpc.config.base import UserError
from clr_hpc.places.slurm.records import ElementRecord, Start, Submission, now
from clr_hpc.store.atomic import write_json
from clr_hpc.training.run import RunSettings

OWNER_ALONE = 0o077
"""The umask for all this."""


class LedgerError(UserError):
    """The ledger is in use by another command, or can't be read."""


@dataclass(frozen=True)
class Ledger:
    """The records of one study."""

    study_folder: Path
    folder: Path = field(init=False)

    def __post_init__(self) -> None:
        """Name the folder; ``prepare`` makes it."""
        object.__setattr__(self, "folder", self.study_folder / "slurm")

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
        """Make the folders, for their owner alone."""
        for path in (self.folder, *(self.folder / name for name in FOLDERS)):
            path.mkdir(mode=0o700, parents=True, exist_ok=True)

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Keep other commands from submitting or cancelling meanwhile.

        Raises:
            LedgerError: one does so at this moment.
        """
        descriptor = os.open(self.folder / "lock", os.O_RDWR | os.O_CREAT, 0o600)
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
        """Record a submission, or what has become of it."""
        values = asdict(submission)
        write_json(self.folder / "submissions" / f"{submission.token}.json", values | values.pop("settings"))

    def read(self, token: str) -> Submission:
        """Return one submission.

        Raises:
            LedgerError: it isn't there or can't be read.
        """
        path = self.folder / "submissions" / f"{token}.json"
        try:
            values = json.loads(path.read_text())
            values["elements"] = tuple(tuple(runs) for runs in values["elements"])
            known = [field.name for field in fields(RunSettings) if field.name in values]
            return Submission(settings=RunSettings(**{name: values.pop(name) for name in known}), **values)
        except (OSError, ValueError, TypeError, KeyError) as error:
            raise LedgerError(f"{path}: {error}; cancel the job, remove the file and submit again") from error

    def submissions(self) -> list[Submission]:
        """Return all submissions, the oldest first.

        Raises:
            LedgerError: one can't be read.
        """
        tokens = [path.stem for path in (self.folder / "submissions").glob("[0-9a-f]*.json")]
        return sorted((self.read(token) for token in tokens), key=lambda one: (one.made, one.token))

    def record(self, token: str, index: int) -> ElementRecord:
        """Return what an element says of itself; of one that never started an empty record."""
        values = _read(self._record_path(token, index)) or {}
        starts = tuple(Start(**start) for start in values.pop("starts", ()))
        return ElementRecord(starts, tuple(values.pop("trained", ())), **values)

    def write_record(self, token: str, index: int, record: ElementRecord) -> None:
        """Record what an element says of itself."""
        write_json(self._record_path(token, index), asdict(record))

    def _record_path(self, token: str, index: int) -> Path:
        return self.folder / "elements" / f"{token}.{index}.json"

    def cancelled(self) -> set[str]:
        """Return the names of the runs that nobody is to train any more."""
        return {path.name for path in self.cancelled_folder.glob("*")}

    def cancel(self, runs: Sequence[str]) -> None:
        """Have nobody train these runs any more; those under way save a checkpoint and stop."""
        for name in runs:
            (self.cancelled_folder / name).touch()

    def allow(self, runs: Sequence[str]) -> None:
        """Take the cancelling of runs back, and forget on which nodes they failed."""
        names = set(runs)
        for path in self.cancelled_folder.glob("*"):
            if path.name in names:
                path.unlink(missing_ok=True)
        for path in (self.folder / "faults").glob("*"):
            if any(path.name.startswith(f"{name}.") for name in names):
                path.unlink(missing_ok=True)

    def add_fault(self, run: str, node: str, reason: str) -> None:
        """Note that a run failed on a node for a reason that is the node's."""
        (self.folder / "faults" / f"{run}.{node}").write_text(reason + "\n")

    def nodes_at_fault(self, run: str) -> set[str]:
        """Return the nodes on which a run has failed so."""
        return {path.name[len(run) + 1 :] for path in (self.folder / "faults").glob(f"{run}.*")}

    def exclude(self, node: str, reason: str) -> None:
        """Have no element start on a node any more."""
        write_json(self.folder / "excluded" / node, {"reason": reason, "time": now()})

    def excluded(self) -> dict[str, str]:
        """Return the nodes that are excluded, and why."""
        found = {path.name: _read(path) for path in sorted((self.folder / "excluded").glob("[!.]*"))}
        return {node: str(values["reason"]) for node, values in found.items() if values is not None}


FOLDERS = ("submissions", "elements", "cancelled", "faults", "excluded", "allocations", "logs")


def _read(path: Path) -> dict[str, Any] | None:
    try:
        values: dict[str, Any] = json.loads(path.read_text())
    except FileNotFoundError:
        return None
    return values
