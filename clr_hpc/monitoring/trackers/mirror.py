"""A study's folder mirrored into a tracker in rounds; each makes up for what the ones before did not do."""

import errno
import fcntl
import hashlib
import logging
import uuid
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from clr_hpc.config.base import UserError, counted, shortened
from clr_hpc.monitoring.status import RunStatus, State, StudyStatus
from clr_hpc.monitoring.trackers.base import Mark, Tracker
from clr_hpc.monitoring.trackers.read import ENDED, key_of, read_tracked
from clr_hpc.store import layout
from clr_hpc.store.atomic import atomic_write
from clr_hpc.store.records import sha256_of
from clr_hpc.store.study_folder import StudyFolder

PATIENCE = 3
"""Runs in a row that a tracker may not take before it counts as away until the next round."""
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Mirrored:
    """What a tracker has of a study after a round."""

    tracker: str
    runs: int
    """That it should have by now."""
    complete: int
    """That it has, as far as they were trained."""
    has_report: bool | None
    """None: no report was written yet."""
    reason: str | None
    """The first thing that failed in this round."""
    address: str = ""

    @property
    def is_complete(self) -> bool:
        """Whether nothing is missing."""
        return self.reason is None and self.complete == self.runs and self.has_report is not False

    def __str__(self) -> str:
        """Return it in one line."""
        report = {None: "", True: " and the report", False: ", not the report"}[self.has_report]
        runs = f"{self.complete:,} of {counted(self.runs, 'run')}{report}"
        parts = [f"{self.tracker}: {runs}", self.address, self.reason or ""]
        return "; ".join(part for part in parts if part)


class Mirror:
    """The mirror of one study in one tracker; one process at a time has it."""

    def __init__(self, folder: StudyFolder, tracker: Tracker) -> None:
        """Name both; the first round connects."""
        self._folder, self._tracker = folder, tracker
        self._study = ""
        self._status: StudyStatus | None = None
        self._seen: tuple[int, int] | None = None
        self._files = folder.path / layout.TRACKERS
        self._exit = ExitStack()
        self._marks: dict[str, Mark] | None = None
        self._has_report: str | None = None
        self._last_reason = ""

    def __enter__(self) -> Self:
        """Keep other processes from mirroring the same.

        Raises:
            UserError: one does, or the tracker can't be used here.
            OSError: the study's folder can't be written.
        """
        self._tracker.check()
        self._files.mkdir(exist_ok=True)
        self._exit.enter_context(_alone(self._files / f"{self._tracker.name}.lock"))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Leave the connection."""
        with self._exit:
            self._tracker.close()

    @property
    def is_over(self) -> bool:
        """Whether all runs have ended, so that only another start of the study brings more."""
        return all(status.state in ENDED for status in self._runs())

    def _runs(self) -> list[RunStatus]:
        """Read the runs; the study itself again when it was started anew."""
        file = self._folder.path / layout.STUDY
        seen = (file.stat().st_mtime_ns, file.stat().st_ino) if file.exists() else None
        if self._status is None or seen != self._seen:
            self._study = self._folder.started().study.name
            self._status, self._seen = StudyStatus(self._folder), seen
        return self._status.read()

    def round(self) -> Mirrored:
        """Mirror what is new since the last round, and what failed in it.

        Raises:
            NothingThereError: the study was never started.
            StudyError: a file of it is damaged.
        """
        begun = [status for status in self._runs() if status.state != State.WAITING]
        wanted = [status for status in begun if not self._tracker.only_ended or status.state in ENDED]
        complete, in_a_row, reason = 0, 0, None
        for status in wanted:
            try:
                self._mirror(status)
                complete, in_a_row = complete + 1, 0
            except Exception as error:  # whatever a tracker's client raises, training and later runs continue
                reason = reason or self._failed(error)
                in_a_row += 1
                if self._marks is None or in_a_row == PATIENCE:
                    break
        has_report = None
        if self._report and reason is None:
            try:
                self._mirror_report()
                has_report = True
            except Exception as error:
                reason = self._failed(error)
        if self._report and reason is not None:
            has_report = False
        if reason is not None:
            self._marks = self._has_report = None  # asked for again: what of a failed request arrived is not known
        name, address = self._tracker.name, self._tracker.address
        return Mirrored(name, len(wanted), complete, has_report, reason, address)

    def _failed(self, error: Exception) -> str:
        cause = _cause_of(error)
        reason = shortened(f"{type(cause).__name__}: {cause}", 200)
        if reason != self._last_reason:  # once for a server that is away for a day
            log.info("%s: %s", self._tracker.name, error, exc_info=log.isEnabledFor(logging.DEBUG))
            self._last_reason = reason
        return reason

    def _mirror(self, status: RunStatus) -> None:
        marks = self._opened()
        folder = self._folder.runs / status.spec.name
        key = key_of(status.spec, folder)
        mark = marks.get(key)
        if mark is not None and mark.state == status.state == State.DONE:
            return
        after = -1 if mark is None or self._tracker.only_ended else mark.samples
        run = read_tracked(status, folder, after)
        if (reached := Mark(run.samples, run.state)) != mark:
            self._tracker.write(run)
            marks[key] = reached

    def _opened(self) -> dict[str, Mark]:
        if self._marks is None:
            self._marks = self._tracker.open(self._study, self._study_id(), self._files)
        return self._marks

    @property
    def _report(self) -> dict[str, Path]:
        """The files of the report, by name; none before it is written."""
        folder = self._folder.path / layout.REPORT
        if not (folder / "report.html").exists():
            return {}
        return {path.name: path for path in sorted(folder.iterdir()) if path.is_file() and path.name[0] != "."}

    def _mirror_report(self) -> None:
        files = self._report
        text = "".join(f"{sha256_of(path)} {name}\n" for name, path in files.items())
        digest = hashlib.sha256(text.encode()).hexdigest()
        if digest != self._has_report:
            self._opened()
            self._tracker.write_report(files, digest)
            self._has_report = digest

    def _study_id(self) -> str:
        """Return what tells this folder from others of the same study, wherever it is moved."""
        file = self._files / "id"
        try:
            return file.read_text(encoding="utf-8").strip()
        except FileNotFoundError:
            made = uuid.uuid4().hex
            with atomic_write(file) as temporary:
                temporary.write_text(f"{made}\n", encoding="utf-8")
            return made


def _cause_of(error: BaseException) -> BaseException:
    """Return what the system said, such as that a connection was refused; else the error itself."""
    found, each = error, error.__cause__ or error.__context__
    while each is not None:
        found, each = (each if isinstance(each, OSError) else found), each.__cause__ or each.__context__
    return found


@contextmanager
def _alone(path: Path) -> Iterator[None]:
    """Hold a lock, where the disk has locks.

    Raises:
        UserError: another process holds it.
    """
    with path.open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UserError(
                f"{path}: another process mirrors this study, such as its clr-hpc run; wait for its end"
            ) from None
        except OSError as error:
            if error.errno not in (errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP):
                raise
        yield
