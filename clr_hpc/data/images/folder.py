"""Which file belongs to which row of a table, what has no file, and which files have no row."""

import os
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from clr_hpc.data.source import ImageRecord, Rejection, SourceError

IMAGE_SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp", ".gif", ".webp"})
"""Files with other suffixes are ignored."""


@dataclass(frozen=True, slots=True)
class LocatedRecords:
    """Records whose files are there, and what else the table and the folder hold."""

    records: tuple[ImageRecord, ...]
    """Records with a ``path``, sorted by image name."""
    rejections: tuple[Rejection, ...]
    rows_without_file: int


def locate(
    records: Iterable[ImageRecord],
    row_rejections: Sequence[Rejection],
    names: Collection[str],
    folder: Path,
    subset: bool,
) -> LocatedRecords:
    """Give each record its file.

    Args:
        records: what the table's usable rows say.
        row_rejections: the table's other rows; one without a file is rejected for that alone.
        names: every image the table names: paths relative to ``folder``, or file names found anywhere below it.
        folder: where the images are.
        subset: whether rows without a file are expected and only counted.

    Raises:
        SourceError: ``folder`` isn't a folder.
    """
    paths = image_paths(folder)
    path_of, file_rejections = _match(names, paths)
    missing = sorted(name for name in names if name not in path_of)
    rejections = [rejection for rejection in row_rejections if not rejection.image or rejection.image in path_of]
    rejections += file_rejections
    if not subset:
        rejections += [Rejection(name, "no file of this name in the images folder") for name in missing]
    return LocatedRecords(
        records=tuple(
            replace(record, path=folder / path_of[record.image])
            for record in sorted(records, key=lambda record: record.image)
            if record.image in path_of
        ),
        rejections=tuple(rejections),
        rows_without_file=len(missing),
    )


def image_paths(folder: Path) -> list[str]:
    """Return the image files below ``folder``, links followed: relative, with ``/``, sorted.

    Raises:
        SourceError: ``folder`` isn't a folder.
    """
    if not folder.is_dir():
        raise SourceError(f"{folder} is not a folder; give the one that holds the images")
    paths: list[str] = []
    visited: set[str] = set()
    for parent, folders, files in os.walk(folder, followlinks=True):
        real = os.path.realpath(parent)
        if real in visited:  # a link to a folder above would otherwise be an endless walk
            folders.clear()
            continue
        visited.add(real)
        folders.sort()
        inside = Path(parent).relative_to(folder).as_posix()
        prefix = "" if inside == "." else f"{inside}/"
        paths += [prefix + file for file in files if os.path.splitext(file)[1].lower() in IMAGE_SUFFIXES]  # noqa: PTH122
    return sorted(paths)


def _match(names: Collection[str], paths: Sequence[str]) -> tuple[Mapping[str, str], list[Rejection]]:
    """Return the path of each name that has one, and a rejection for each path without a name."""
    known = set(paths)
    first_of_name: dict[str, str] = {}
    for path in paths:
        first_of_name.setdefault(path.rpartition("/")[2], path)
    path_of: dict[str, str] = {}
    for name in names:
        if (found := name if name in known else first_of_name.get(name)) is not None:
            path_of[name] = found
    used = set(path_of.values())
    rejections = []
    for path in paths:
        if path not in used:
            namesake = path_of.get(path.rpartition("/")[2])
            reason = f"same file name as {namesake}, which is used" if namesake else "no row in the label table"
            rejections.append(Rejection(path, reason))
    return path_of, rejections
