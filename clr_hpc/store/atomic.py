"""Files that are either complete or not there: written under a temporary name, synced, renamed."""

import json
import os
import pwd
import re
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

_LEFT_OVER = re.compile(r"\..+\.[0-9]+\.(temporary|aside)|\.tmp[A-Za-z0-9]{6}")
"""Names of temporary files, also as they were called before, and those that safetensors gives its own."""
OWNER_ALONE = 0o600
"""Mode of a file that none but its owner reads, whatever the umask: tokens, leases, pickles."""


@contextmanager
def atomic_write(path: Path, mode: int = 0o666) -> Iterator[Path]:
    """Give a path next to ``path`` to write to; on leaving without an error it becomes ``path``.

    Args:
        path: the file.
        mode: its permissions, less the umask.

    Raises:
        OSError: the disk is full, the quota is used up or the folder can't be written; ``path`` is untouched then.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.temporary")
    try:
        permissions = _made(temporary, mode)
        yield temporary
        with temporary.open("rb+") as file:
            # a writer such as safetensors puts a file of its own there, for its owner alone whatever the umask
            if stat.S_IMODE(os.fstat(file.fileno()).st_mode) != permissions:
                os.fchmod(file.fileno(), permissions)
            os.fsync(file.fileno())
        temporary.replace(path)
        sync_folder(path.parent)
    finally:
        temporary.unlink(missing_ok=True)


def _made(path: Path, mode: int) -> int:
    """Make an empty file, and return the permissions that the umask left it."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode)
    try:
        return stat.S_IMODE(os.fstat(descriptor).st_mode)
    finally:
        os.close(descriptor)


def sync_folder(folder: Path) -> None:
    """Make renames and new names in a folder survive a power cut."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_json(path: Path, value: Any, mode: int = 0o666) -> None:
    """Write a value as indented JSON, complete or not at all."""
    with atomic_write(path, mode) as temporary:
        temporary.write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def owner_of(status: os.stat_result) -> str:
    """Return the name of the user whose file it is."""
    try:
        return pwd.getpwuid(status.st_uid).pw_name
    except KeyError:
        return f"user {status.st_uid}"


def own_files(folder: Path, pattern: re.Pattern[str]) -> list[Path]:
    """Return the files in a folder whose names match, sorted; no links, and none where the folder is a link."""
    if folder.is_symlink():
        return []
    with suppress(FileNotFoundError, NotADirectoryError), os.scandir(folder) as entries:
        return sorted(
            Path(entry.path)
            for entry in entries
            if pattern.fullmatch(entry.name) and entry.is_file(follow_symlinks=False)
        )
    return []


def left_over(*folders: Path) -> list[Path]:
    """Return the temporary files in these folders: of writers under way, or of killed ones."""
    return [path for folder in folders for path in own_files(folder, _LEFT_OVER)]


def remove_left_over(*folders: Path) -> None:
    """Remove the temporary files that killed writers have left; only for who alone writes into these folders."""
    for path in left_over(*folders):
        path.unlink(missing_ok=True)
