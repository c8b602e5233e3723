"""The tables of a data set in the folder that was downloaded."""

import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from clr_hpc.data.presets.spec import Edition, Preset, PresetTable
from clr_hpc.data.source import SourceError

_PACKED = ("", ".gz", ".zip")
_DEEPEST = 2
"""Folders between the given one and a table: deeper ones hold a data set's images."""
Found = Mapping[PresetTable, Path]


def find_edition(preset: Preset, folder: Path) -> tuple[Edition, Found]:
    """Return the edition whose tables lie in a folder, and where each is.

    Raises:
        SourceError: the folder isn't there, lacks a table, or holds one twice.
    """
    if not folder.is_dir():
        raise SourceError(f"{folder} is not a folder; give the one that {preset.title} was downloaded to")
    files = list(_files(folder))
    lacking: list[tuple[Edition, list[PresetTable]]] = []
    for edition in preset.editions:
        tables: Sequence[PresetTable] = (*edition.tables, *edition.join)
        found = {table: path for table in tables if (path := _find(table, files, folder)) is not None}
        missing = [table for table in tables if table not in found and not table.optional]
        if not missing:
            return edition, found
        lacking.append((edition, missing))
    wanted = "; or ".join(
        f"{edition.title}: {', '.join(' or '.join(table.names) for table in missing)}"
        for edition, missing in lacking
    )
    raise SourceError(
        f"{folder} lacks tables of {preset.title}: {wanted}; name the folder that holds them, or get them "
        f"from {preset.url}"
    )


def _files(folder: Path) -> Iterator[str]:
    """Yield the files near the top, as paths from the folder."""
    for parent, folders, files in os.walk(folder, followlinks=True):
        inside = Path(parent).relative_to(folder)
        if len(inside.parts) >= _DEEPEST:
            folders.clear()
        yield from ((inside / file).as_posix() for file in files)


def _find(table: PresetTable, files: Sequence[str], folder: Path) -> Path | None:
    for name in table.names:
        ends = {f"/{name}{packed}".lower() for packed in _PACKED}
        found = sorted(file for file in files if any(f"/{file}".lower().endswith(end) for end in ends))
        plain = {file.lower().removesuffix(".gz").removesuffix(".zip") for file in found}
        if len(plain) > 1:
            raise SourceError(
                f"{folder} holds {name} more than once: {', '.join(found)}; name the folder of one of them"
            )
        if found:
            return folder / found[0]  # the unpacked file stands before its own .gz
    return None
