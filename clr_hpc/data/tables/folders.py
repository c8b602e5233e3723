"""Rows that name a folder, such as that of a study, as a row for each image in it."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import PurePosixPath

from clr_hpc.data.tables.label_table import LabelTable, Row


def spread(table: LabelTable, image: int, files: Iterable[str]) -> LabelTable:
    """Return a table with a row for each image below the folder that a row names; other rows stay as they are.

    Args:
        table: with folders in its column of images: paths, or the end of a path where one folder alone fits.
        image: position of that column.
        files: paths of all images, with ``/``.
    """
    files_in = _files_by_folder(files)
    folders_of = _folders_by_end(files_in)
    return replace(table, rows=tuple(_spread_rows(table.rows, image, files_in, folders_of)))


def _spread_rows(
    rows: Iterable[Row], image: int, files_in: Mapping[str, Sequence[str]], folders_of: Mapping[str, Sequence[str]]
) -> Iterator[Row]:
    for row in rows:
        name = row.cells[image].replace("\\", "/").strip("/").removeprefix("./")
        folders = [name] if name in files_in else folders_of.get(name, ())
        if len(folders) != 1:
            yield row
            continue
        for file in files_in[folders[0]]:
            yield Row(row.number, (*row.cells[:image], file, *row.cells[image + 1 :]))


def _files_by_folder(files: Iterable[str]) -> dict[str, list[str]]:
    """Return the files below each folder, at any depth."""
    found: dict[str, list[str]] = defaultdict(list)
    for file in files:
        for parent in PurePosixPath(file).parents:
            found[str(parent)].append(file)
    return found


def _folders_by_end(folders: Iterable[str]) -> dict[str, list[str]]:
    """Return the folders whose path ends so, for each end of a path."""
    found: dict[str, list[str]] = defaultdict(list)
    for folder in folders:
        parts = folder.split("/")
        for start in range(len(parts)):
            found["/".join(parts[start:])].append(folder)
    return found
