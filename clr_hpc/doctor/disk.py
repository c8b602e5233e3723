"""The disk of the results: room, and the promises of a disk that run folders and leases need."""

import fcntl
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from clr_hpc.config.base import UserError
from clr_hpc.config.given_file import check_writable, mistake_of
from clr_hpc.doctor.check import Check, failure, ok, warning
from clr_hpc.store.atomic import atomic_write
from clr_hpc.store.lease import LeaseTiming

FEW_BYTES = 5 * 10**9
"""The quickstart's results take a sixth of it."""
SAMPLE = b"\0" * 2**20
"""Written to see that there is room, whatever a quota says."""
ELSEWHERE = "give --results a folder on another disk"


def results(folder: Path) -> Iterator[Check]:
    """Check the disk of a results folder, which may be one that is yet to be made.

    Files are made in a temporary folder, and removed.
    """
    folder = folder.absolute()
    nearest = next(each for each in (folder, *folder.parents) if each.exists())
    try:
        check_writable(folder)
        with tempfile.TemporaryDirectory(prefix=".clr-hpc-doctor-", dir=nearest) as made:
            yield from _room(nearest, Path(made))
            yield from _promises(Path(made))
    except UserError as error:
        yield failure("results", str(error).rpartition("; ")[0], ELSEWHERE)
    except OSError as error:
        yield failure("results", f"{nearest}: {mistake_of(error).rule}", mistake_of(error).remedy)


def _room(folder: Path, made: Path) -> Iterator[Check]:
    (made / "sample").write_bytes(SAMPLE)
    free = shutil.disk_usage(folder).free
    text = f"{free / 1e9:,.1f} GB are free for {folder}"
    yield (
        warning("results", text, "make room; clr-hpc plan says what a study takes")
        if free < FEW_BYTES
        else ok("results", text)
    )


def _promises(made: Path) -> Iterator[Check]:
    """Try what leases and atomic writes rely on."""
    broken = []
    for name, kept, loss in PROMISES:
        try:
            is_kept = kept(made)
        except OSError as error:
            is_kept, loss = False, f"{loss} ({mistake_of(error).rule})"
        if not is_kept:
            broken.append(failure("disk", f"{name}: {loss}", ELSEWHERE))
    yield from broken or [ok("disk", "locks, hard links, renames and times are kept")]
    yield from _clock(made)


def _renames(made: Path) -> bool:
    target = made / "renamed"
    for content in ("old", "new"):
        with atomic_write(target) as temporary:
            temporary.write_text(content)
    return target.read_text() == "new" and len(list(made.glob("*renamed*"))) == 1


def _links(made: Path) -> bool:
    """See that a link to a name that is taken fails, by which one process alone takes a lease."""
    for name in ("first", "second"):
        (made / name).touch()
    os.link(made / "first", made / "lease")
    try:
        os.link(made / "second", made / "lease")
    except FileExistsError:
        return True
    return False


def _locks(made: Path) -> bool:
    with (made / "lock").open("w") as holder, (made / "lock").open("w") as other:
        fcntl.flock(holder, fcntl.LOCK_EX | fcntl.LOCK_NB)
        try:
            fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


def _times(made: Path) -> bool:
    """See that a time can be set, to the second, as a lease's holder does to renew it."""
    file = made / "time"
    file.touch()
    os.utime(file, (1_000_000_001, 1_000_000_001))
    return file.stat().st_mtime == 1_000_000_001


PROMISES: tuple[tuple[str, Callable[[Path], bool], str], ...] = (
    ("rename", _renames, "a file does not take another's place, so results could be half written"),
    ("hard links", _links, "two processes could train one run"),
    ("locks", _locks, "two commands could write one study"),
    ("times", _times, "a process that trains could look dead to others"),
)
"""What is tried, and what goes wrong without it."""


def _clock(made: Path) -> Iterator[Check]:
    """Compare the disk's clock, which leases use, with this machine's."""
    before = time.time()
    (made / "now").write_text("now")
    apart = (made / "now").stat().st_mtime - before
    most = LeaseTiming().skew_seconds
    if abs(apart) > most:
        yield failure(
            "clock", f"the disk's is {apart:+,.0f} s off this machine's, leases bear {most:g}", "set both by NTP"
        )
    elif abs(apart) > LeaseTiming().renew_seconds:
        yield warning("clock", f"the disk's is {apart:+,.0f} s off this machine's", "set both by NTP")
