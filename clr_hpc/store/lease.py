"""Who trains a run, on a disk that several machines share: ``lease.json`` in the run's folder.

The protocol:

- A lease names its holder by a random id. It is made under another name and linked to its own: it is complete, and
  made once.
- Its file's modification time says when it was renewed. A thread of the holder sets it every ``renew_seconds``, on
  the file that it made: of a lease that took its place it never touches the time.
- Another machine's lease that was renewed less than ``stale_seconds`` ago holds. One that looks older is watched
  for ``stale_seconds`` and is dead if nothing renews it meanwhile, whatever the clocks of the machines say. Only
  one that looks older by more than ``skew_seconds`` besides is dead without being watched. Ages are taken from the
  disk's own clock.
- A dead holder has one successor: a taker links its lease to ``.lease.after.<id of the dead>``, which only one can
  do, and then puts it in the place of ``lease.json``. A taker that dies between the two is the holder by then, and
  is succeeded like one.
- The holder reads ``lease.json`` at each renewal, and before it records anything when the last renewal is long
  past. So a process that was suspended learns that it has lost its run before it writes, not some seconds after.
- Before each record the holder also sees whether its open file still has a name. It has none where the run's
  folder was removed: a result would then lack what was recorded before.

What it can't promise: between the moment that a holder finds its lease in place and the end of the write that
follows, the process can still be suspended and succeeded, since no shared disk refuses a former holder's write.
That is one line or one checkpoint, and checkpoints of one run have the same bytes whoever writes them. Clocks that
differ by more than ``skew_seconds``, on a disk that takes times from its clients, can make a live lease look dead.
A disk without hard links can't hold a lease.

Processes of one machine don't need all this: they hold a lock that the kernel gives up with them
(``clr_hpc.store.run_folder``), so whoever has the lock knows that a lease of the same machine is dead.
"""

import errno
import os
import platform
import re
import threading
import time
import uuid
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Annotated

from pydantic import ConfigDict, Field, TypeAdapter, ValidationError, with_config

from clr_hpc.store import layout
from clr_hpc.store.atomic import OWNER_ALONE, own_files, owner_of, write_json
from clr_hpc.store.records import Count


@with_config(ConfigDict(strict=True))
@dataclass(frozen=True)
class LeaseHolder:
    """What ``lease.json`` says."""

    holder: Annotated[str, Field(pattern=r"^[\w-]{1,64}$")]
    """A random id."""
    host: str
    machine: str
    """The kernel's boot id: the same in all containers of a machine, another after it was started anew."""
    pid: Count
    pid_namespace: Count
    place: str
    """For people: ``lane 2``."""
    started: str

    @classmethod
    def this_process(cls, place: str) -> "LeaseHolder":
        """Describe this process, with a new id."""
        started = datetime.now(UTC).isoformat(timespec="seconds")
        return cls(
            uuid.uuid4().hex, platform.node(), this_machine(), os.getpid(), _pid_namespace(), place, started
        )

    @property
    def is_known_dead(self) -> bool:
        """Whether it is a process that this one would see, and doesn't."""
        if (self.machine, self.pid_namespace) != (this_machine(), _pid_namespace()):
            return False
        return not Path(f"/proc/{self.pid}").exists()


_HOLDER = TypeAdapter(LeaseHolder)
_ON_THE_WAY = re.compile(r"\.lease\.(claim|after)\.[\w-]+")
"""Names of leases that are about to take their place."""
_UNREADABLE = LeaseHolder("unreadable", "an unknown host", "", 0, 0, "unreadable lease", "")


@dataclass(frozen=True)
class SeenLease:
    """A lease as another process finds it."""

    by: LeaseHolder
    renewed: float
    """In seconds since 1970, by the disk's clock."""


@cache
def this_machine() -> str:
    """Return an id of this machine since its start, the same in all its containers."""
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()


@cache
def _pid_namespace() -> int:
    return Path("/proc/self/ns/pid").stat().st_ino


def successor_path(folder: Path, of: LeaseHolder) -> Path:
    """Return where the lease of the one that takes over from a dead holder is linked first."""
    return folder / f".lease.after.{of.holder}"


def read_lease(folder: Path, until: LeaseHolder | None = None) -> SeenLease | None:
    """Return the lease of a run's folder; None where nobody holds it.

    Follows the leases that are about to take the place of ``lease.json``, short of that of ``until``.
    """
    current = read_file(folder / layout.LEASE)
    passed = {until}
    while current is not None:
        passed.add(current.by)
        successor = read_file(successor_path(folder, current.by))
        if successor is None or successor.by in passed:  # damaged ones may follow each other in a circle
            break
        current = successor
    return current


def read_file(path: Path) -> SeenLease | None:
    """Return the lease in a file; None where there is no such file."""
    try:
        # the time is asked of the open file: opening makes a network disk look, a mere stat may be minutes old
        with path.open("rb") as file:
            renewed = os.fstat(file.fileno()).st_mtime
            text = file.read()
    except FileNotFoundError:
        return None
    except PermissionError:
        return _of_another_user(path)
    except IsADirectoryError:
        return SeenLease(_UNREADABLE, path.stat().st_mtime)
    try:
        return SeenLease(_HOLDER.validate_json(text), renewed)
    except ValidationError:  # of another version, or a disk's damage: it ends like any other
        return SeenLease(_UNREADABLE, renewed)


def _of_another_user(path: Path) -> SeenLease | None:
    """Return what is known of a lease that its owner alone can read: whose it is and when it was renewed."""
    try:
        found = path.stat()
    except FileNotFoundError:
        return None
    place = f"unreadable lease of {owner_of(found)}"
    return SeenLease(replace(_UNREADABLE, place=place), found.st_mtime)


class RunInUseError(Exception):
    """Another process trains this run."""


class LeaseLostError(RunInUseError):
    """Another process has taken this run over, since this one did not renew its lease."""


@dataclass(frozen=True)
class LeaseTiming:
    """How often a lease is renewed and when it counts as dead."""

    renew_seconds: float = 10.0
    stale_seconds: float = 60.0
    skew_seconds: float = 300.0
    """Above what the clocks of a cluster differ by: Munge, which SLURM needs, refuses what is 300 s old."""


class Lease:
    """This process's lease on a run's folder."""

    def __init__(self, folder: Path, holder: LeaseHolder, timing: LeaseTiming) -> None:
        """Name the holder; ``acquire`` makes the lease."""
        self._folder, self._holder, self._timing = folder, holder, timing
        self._path = folder / layout.LEASE
        self._file = -1
        self._renewed = 0.0
        self._ended = threading.Event()
        self._heart = threading.Thread(target=self._beat, name=f"lease of {folder.name}", daemon=True)

    def acquire(self, alone_on_machine: bool) -> None:
        """Make the lease and begin to renew it; watch for ``stale_seconds`` where another may be dead.

        Args:
            alone_on_machine: no other process of this machine has the folder open, so that its leases are dead.

        Raises:
            RunInUseError: another process holds the run.
        """
        claim = self._folder / f".lease.claim.{self._holder.holder}"
        write_json(claim, asdict(self._holder), OWNER_ALONE)
        try:
            self._file = os.open(claim, os.O_RDONLY)
            current = read_lease(self._folder)
            if current is None:
                self._take_what_is_free(claim)
            else:
                if not (alone_on_machine and current.by.machine == self._holder.machine):
                    self._make_sure_it_is_dead(current)
                self._succeed(current, claim)
        except BaseException:
            self._close()
            raise
        finally:
            claim.unlink(missing_ok=True)
        self._remove_left_over()
        self._renewed = _now()
        self._heart.start()

    def confirm(self) -> None:
        """Make sure that the run is still this process's, before something is written.

        Costs next to nothing as long as the renewals keep time; reads the disk where they don't.

        Raises:
            LeaseLostError: it is another's, or its folder was removed.
        """
        is_late = _now() - self._renewed > 2 * self._timing.renew_seconds
        if is_late or self._ended.is_set() or self._has_no_name():
            self._renew()

    def release(self) -> None:
        """Stop renewing and give the run up, if it is still this process's."""
        self._ended.set()
        if self._heart.is_alive():
            self._heart.join()
        with suppress(OSError):  # a lease that can't be removed ends by not being renewed
            if self._file >= 0 and self._is_in_place():
                self._path.unlink(missing_ok=True)
        self._close()

    def _take_what_is_free(self, claim: Path) -> None:
        try:
            os.link(claim, self._path)
        except FileExistsError:
            raise self._in_use(read_lease(self._folder)) from None

    def _make_sure_it_is_dead(self, found: SeenLease) -> None:
        """Return when nothing renews it.

        Raises:
            RunInUseError: it is alive, or was so recently that it can't be told.
        """
        timing = self._timing
        self._touch()
        age = os.fstat(self._file).st_mtime - found.renewed
        if age < timing.stale_seconds:
            raise self._in_use(found)
        if age > timing.stale_seconds + timing.skew_seconds:
            return
        watched_since = _now()
        while _now() - watched_since < timing.stale_seconds:
            time.sleep(min(1.0, timing.renew_seconds / 2))
            if (seen := read_lease(self._folder)) != found:
                raise self._in_use(seen)

    def _succeed(self, dead: SeenLease, claim: Path) -> None:
        begun = _now()
        self._touch()
        succession = successor_path(self._folder, dead.by)
        try:
            os.link(claim, succession)
        except FileExistsError:
            raise self._in_use(read_lease(self._folder)) from None
        try:
            # a faster taker may have done all this before our link was made, and a process that was suspended here
            # may have been succeeded itself
            current = read_lease(self._folder, until=self._holder)
            if current != dead or _now() - begun > self._timing.stale_seconds / 2:
                raise self._in_use(current)
            claim.replace(self._path)
        finally:
            succession.unlink(missing_ok=True)

    def _remove_left_over(self) -> None:
        """Remove what takers left that were killed on the way: no other can still succeed to whom they would."""
        oldest = os.fstat(self._file).st_mtime - self._timing.stale_seconds - self._timing.skew_seconds
        for path in own_files(self._folder, _ON_THE_WAY):
            left = read_file(path)
            if left is not None and (left.by.is_known_dead or left.renewed < oldest):
                path.unlink(missing_ok=True)

    def _beat(self) -> None:
        while not self._ended.wait(self._timing.renew_seconds):
            try:
                self._renew()
            except LeaseLostError:
                self._ended.set()
            except OSError:  # the disk is away: the next renewal or record tells whether the lease survived that
                continue

    def _renew(self) -> None:
        before = _now()  # where the process is suspended in what follows, the renewal counts as old
        if not self._is_in_place():
            seen = read_lease(self._folder)
            why = (
                f"{layout.LEASE} was removed, perhaps with the folder, while this process trained the run"
                if seen is None
                else f"{_describe(seen)} has taken this run over, since this process was away for more than "
                f"{self._timing.stale_seconds:g} s"
            )
            raise LeaseLostError(f"{self._folder}: {why}; nothing more is written here")
        self._touch()
        self._renewed = before

    def _is_in_place(self) -> bool:
        seen = read_file(self._path)
        return seen is not None and seen.by.holder == self._holder.holder

    def _has_no_name(self) -> bool:
        """Say whether the open file was removed or replaced; that needs no look at the disk."""
        try:
            return os.fstat(self._file).st_nlink == 0
        except OSError as error:  # of a file server; any other error says that the disk is away for now
            return error.errno == errno.ESTALE

    def _touch(self) -> None:
        os.utime(self._file)

    def _close(self) -> None:
        if self._file >= 0:
            os.close(self._file)
            self._file = -1

    def _in_use(self, by: SeenLease | None) -> RunInUseError:
        return RunInUseError(f"{self._folder}: {_describe(by)} trains this run; wait for it or end it")


def _now() -> float:
    """Seconds that also pass while the machine sleeps."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def holder_of(folder: Path) -> str | None:
    """Name for people the process that trains a run: ``process 17 on node3 (lane 2)``; None where none does."""
    seen = read_lease(folder)
    return None if seen is None else _describe(seen)


def _describe(seen: SeenLease | None) -> str:
    return "another process" if seen is None else f"process {seen.by.pid} on {seen.by.host} ({seen.by.place})"
