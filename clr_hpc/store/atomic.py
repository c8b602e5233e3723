"""Files that are either complete or not there: written under a temporary name, synced, renamed."""

import json
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

_LEFT_OVER = re.compile(r"\..+\.[0-9]+\.(temporary|aside)")
"""Names of temporary files, also as they were called before."""


@contextmanager
def atomic_write(path: Path) -> Iterator[Path]:
    """Give a path next to ``path`` to write to; on leaving without an error it becomes ``path``.

    Raises:
        OSError: the disk is full, the quota is used up or the folder can't be written; ``path`` is untouched then.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.temporary")
    try:
        yield temporary
        with temporary.open("rb+") as file:
            os.fsync(file.fileno())
        temporary.replace(path)
        sync_folder(path.parent)
    finally:
        temporary.unlink(missing_ok=True)


def sync_folder(folder: Path) -> None:
    """Make renames and new names in a folder survive a power cut."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_json(path: Path, value: Any) -> None:
    """Write a value as indented JSON, complete or not at all."""
    with atomic_write(path) as temporary:
        temporary.write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


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


def remove_left_over(*folders: Path) -> None:
    """Remove the temporary files that killed writers have left; only for who alone writes into these folders."""
    for folder in folders:
        for path in own_files(folder, _LEFT_OVER):
            path.unlink(missing_ok=True)
