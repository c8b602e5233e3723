"""The files below the images folders: those of a kind that is read, and the others."""

import glob
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from clr_hpc.data.images.kinds import is_image
from clr_hpc.data.source import SourceError


class ImageFile(NamedTuple):
    """One file below an images folder."""

    root: Path
    """The images folder; of a pattern, the part in front of its first ``*``."""
    name: str
    """Path from there, with ``/``."""


@dataclass(frozen=True, slots=True)
class Listing:
    """All files below one or several images folders, each once."""

    images: tuple[ImageFile, ...]
    """Files that are read, sorted."""
    others: tuple[ImageFile, ...]
    """Files of other kinds, sorted."""


def list_files(images: Path | Sequence[Path]) -> Listing:
    """Return the files below a folder, below several, or of patterns such as ``nih/images_*``; links are followed.

    Raises:
        SourceError: one is neither a folder nor a pattern that something fits.
    """
    visited: set[tuple[int, int]] = set()
    found: set[ImageFile] = set()
    for given in [images] if isinstance(images, Path) else sorted(set(images)):
        root, starts = _expand(given)
        for start in starts:
            found.update(ImageFile(root, name) for name in _walk(root, start, visited))
    read = {file for file in found if is_image(f"{file.root}/{file.name}")}
    return Listing(images=tuple(sorted(read)), others=tuple(sorted(found - read)))


def suffix(name: str) -> str:
    """Return the suffix of a name in small letters, ``""`` where it has none."""
    return os.path.splitext(name)[1].lower()  # noqa: PTH122


def _expand(given: Path) -> tuple[Path, list[Path]]:
    """Return the folder that names start from, and what to list in it."""
    if given.is_dir():
        return given, [given]
    if not glob.has_magic(str(given)):
        raise SourceError(f"{given} is not a folder; give the one that holds the images")
    fixed = next(place for place, part in enumerate(given.parts) if glob.has_magic(part))
    starts = [Path(path) for path in glob.glob(str(given), recursive=True)]  # noqa: PTH207
    if not starts:
        raise SourceError(f"nothing fits {given}; give the folder that holds the images, or correct the pattern")
    return Path(*given.parts[:fixed]), sorted(starts)


def _walk(root: Path, start: Path, visited: set[tuple[int, int]]) -> Iterator[str]:
    """Yield the files of a folder, or the one file, as paths from ``root``; a folder of ``visited`` has none."""
    if not start.is_dir():
        yield start.relative_to(root).as_posix()
        return
    for parent, folders, files in os.walk(start, followlinks=True):
        found = os.stat(parent)  # noqa: PTH116
        if (found.st_dev, found.st_ino) in visited:  # a link to a folder above would otherwise be an endless walk
            folders.clear()
            continue
        visited.add((found.st_dev, found.st_ino))
        folders.sort()
        inside = Path(parent).relative_to(root).as_posix()
        prefix = "" if inside == "." else f"{inside}/"
        yield from (prefix + file for file in files)
