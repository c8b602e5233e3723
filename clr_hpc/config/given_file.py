"""A path that somebody gave: what it holds, or what is wrong with it and what to do, in words.

The one place that knows what the errors of disks and decoders mean to a user.
"""

import errno
import gzip
import os
import stat
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from clr_hpc.config.base import UserError, shortened

GZIP = b"\x1f\x8b"


class Mistake(NamedTuple):
    """What is wrong with a path, and what to do about it."""

    rule: str
    remedy: str

    def __str__(self) -> str:
        """Return both."""
        return f"{self.rule}; {self.remedy}"


class FileError(UserError):
    """A path can't be used; the message gives the rule and the remedy, without the path."""

    def __init__(self, mistake: Mistake) -> None:
        """Keep both apart for callers who know a better remedy."""
        super().__init__(str(mistake))
        self.mistake = mistake

    @property
    def is_absent(self) -> bool:
        """Whether there is nothing of this name."""
        return isinstance(self.__cause__, FileNotFoundError)

    @property
    def is_folder(self) -> bool:
        """Whether a folder is there, where a file is meant."""
        return self.mistake == _MISTAKES[errno.EISDIR]


_ELSEWHERE = "make room, or give a folder on another disk"
_MISTAKES = {
    errno.ENOENT: Mistake("there is no such file or folder", "check the path"),
    errno.ENOTDIR: Mistake("a part of the path is a file, where a folder is meant", "correct the path"),
    errno.EISDIR: Mistake("it is a folder, not a file", "name the file itself"),
    errno.EEXIST: Mistake("it is there already", "give another name"),
    errno.EACCES: Mistake("this user may not", "change its permissions with chmod, or give another path"),
    errno.EPERM: Mistake("this user may not", "change its permissions with chmod, or give another path"),
    errno.ENAMETOOLONG: Mistake("the name is too long", "shorten it"),
    errno.ELOOP: Mistake("its links lead in a circle", "name the file that they should lead to"),
    errno.EROFS: Mistake("the disk is read-only", "give a folder on another disk"),
    errno.ENOSPC: Mistake("the disk is full", _ELSEWHERE),
    errno.EDQUOT: Mistake("the quota of the disk is used up", _ELSEWHERE),
    errno.ESTALE: Mistake("the disk has lost it while it was open", "see that the disk is there, and try again"),
    errno.EIO: Mistake("the disk reports an error in it", "copy it again, or take another disk"),
}
_DAMAGED = "copy it again from where it came"


def mistake_of(error: Exception) -> Mistake:
    """Return what an error of a disk, a decoder or a decompressor means."""
    if isinstance(error, FileError):
        return error.mistake
    if isinstance(error, UnicodeError):
        return Mistake("it is not UTF-8", "save the file as UTF-8")
    if isinstance(error, EOFError):
        return Mistake("it ends before its compressed data does", _DAMAGED)
    if isinstance(error, zlib.error | gzip.BadGzipFile):
        return Mistake(f"its compressed data is damaged ({error})", _DAMAGED)
    if isinstance(error, OSError) and error.errno is not None:
        text = error.strerror or os.strerror(error.errno)
        unknown = Mistake(f"{text[:1].lower()}{text[1:]}", "check the path and its disk")
        return _MISTAKES.get(error.errno, unknown)
    if isinstance(error, MemoryError):
        return Mistake("it does not fit into memory", "is it another file?")
    if "embedded null" in str(error):  # "null byte", and since Python 3.13 "null character"
        return Mistake("the name holds a NUL", "correct the path")
    return Mistake(shortened(str(error)) or type(error).__name__, "check the path and its disk")


def read_given(path: Path, largest: int | None = None) -> bytes:
    """Return what a file holds. No pipe is waited for, and no device read.

    Args:
        path: of the file.
        largest: bytes; a file that has more is another than was meant.

    Raises:
        FileError: it can't be read.
    """
    with _opened(path) as descriptor:
        size = os.fstat(descriptor).st_size
        if largest is not None and size > largest:
            raise FileError(Mistake(f"it has {size:,} bytes, more than {largest:,}", "is it another file?"))
        try:
            with os.fdopen(descriptor, "rb", closefd=False) as opened:
                return opened.read()
        except (OSError, MemoryError) as error:
            raise FileError(mistake_of(error)) from error


def check_readable(path: Path) -> None:
    """See that a file can be read, and read nothing of it.

    Raises:
        FileError: it can't be.
    """
    with _opened(path):
        pass


def check_output(file: Path, endings: Sequence[str]) -> None:
    """See that a figure can be written to a file, before what it shows is worked out.

    Raises:
        UserError: its ending is none of ``endings``, or a folder or a file is in its way.
    """
    if file.suffix.lower() not in endings:
        known = " or ".join(filter(None, (", ".join(endings[:-1]), endings[-1])))
        raise UserError(f"{file}: it ends in {file.suffix or 'nothing'}; give a name that ends in {known}")
    if file.is_dir():
        raise UserError(f"{file}: it is a folder, not a file; give the name of a file in it")
    check_writable(file.parent)


def check_writable(folder: Path) -> None:
    """See that something can be written to a folder, which may be one that is yet to be made.

    Raises:
        UserError: a file is in its way, its disk is read-only, or its permissions don't allow it.
    """
    nearest = next((each for each in (folder, *folder.parents) if each.exists()), folder)
    if not nearest.is_dir():
        raise UserError(f"{folder}: {nearest} is a file, where a folder is meant; give another folder")
    if not os.access(nearest, os.W_OK | os.X_OK):
        raise UserError(
            f"{folder}: {nearest} can't be written to by this user, or its disk is read-only; give another folder"
        )


@contextmanager
def _opened(path: Path) -> Iterator[int]:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    except (OSError, ValueError) as error:  # ValueError: the name holds a NUL
        raise FileError(mistake_of(error)) from error
    try:
        mode = os.fstat(descriptor).st_mode
        if stat.S_ISDIR(mode):
            raise FileError(_MISTAKES[errno.EISDIR])
        if not stat.S_ISREG(mode):
            raise FileError(Mistake("it is a pipe or a device, not a file", "name a file"))
        yield descriptor
    finally:
        os.close(descriptor)


def unpacked(content: bytes) -> bytes:
    """Return the content of a file, decompressed where it is gzip.

    Raises:
        FileError: it is cut short or damaged.
    """
    if not content.startswith(GZIP):
        return content
    try:
        return gzip.decompress(content)
    except (OSError, EOFError, zlib.error, MemoryError) as error:
        raise FileError(mistake_of(error)) from error


def as_text(content: bytes) -> str:
    """Return the content of a file as text, without a byte order mark.

    Raises:
        FileError: it is not UTF-8; the byte and its line are named.
    """
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        rule = f"not UTF-8: byte 0x{content[error.start]:02x} in line {line}"
        raise FileError(Mistake(rule, "save the file as UTF-8")) from None
