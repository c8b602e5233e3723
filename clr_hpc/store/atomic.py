"""Files that are either whole or not there: written aside, synced, renamed."""

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any


@contextmanager
def written_whole(path: Path) -> Iterator[Path]:
    """Give a path beside ``path`` to write to; on leaving without an error it becomes ``path``.

    Raises:
        OSError: the disk is full, the quota is used up or the folder can't be written; ``path`` is untouched then.
    """
    aside = path.with_name(f".{path.name}.{os.getpid()}.aside")
    try:
        yield aside
        with aside.open("rb+") as file:
            os.fsync(file.fileno())
        aside.replace(path)
        sync_folder(path.parent)
    finally:
        aside.unlink(missing_ok=True)


def sync_folder(folder: Path) -> None:
    """Make renames and new names in a folder survive a power cut."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_json(path: Path, value: Any) -> None:
    """Write a value as indented JSON, whole or not at all."""
    with written_whole(path) as aside:
        aside.write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n")
