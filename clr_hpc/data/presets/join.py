"""The tables of a data set as one: rows below each other, columns of further tables by a key."""

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from clr_hpc.config.base import unknown
from clr_hpc.data.presets.find import Found
from clr_hpc.data.presets.spec import IMAGE_OF_TEMPLATE, SPLIT_OF_FILE, Edition
from clr_hpc.data.source import Rejection, SourceError
from clr_hpc.data.tables.label_table import LabelTable, Row, read_label_table

Cells = dict[str, str]


@dataclass(frozen=True, slots=True)
class JoinedTable:
    """What the tables of an edition say together."""

    table: LabelTable
    rejections: tuple[Rejection, ...]
    """Rows with too few cells, and those that the preset leaves out."""
    sha256: Mapping[str, str]
    """Checksum of each table by its file name."""


def read_joined(edition: Edition, found: Found) -> JoinedTable:
    """Read the tables of an edition.

    Raises:
        SourceError: one can't be read, lacks a column, or says different things of one key.
    """
    sha256: dict[str, str] = {}
    rows: list[tuple[LabelTable, Row, Cells]] = []
    short: list[Rejection] = []
    for preset_table, path in ((one, found[one]) for one in edition.tables if one in found):
        table = _read(path, sha256)
        short += [_short(table, row) for row in table.short_rows]
        extra = {SPLIT_OF_FILE: preset_table.split} if preset_table.split else {}
        rows += [(table, row, dict(zip(table.columns, row.cells, strict=True)) | extra) for row in table.rows]
    for join in (one for one in edition.join if one in found):
        further = _by_key(_read(found[join], sha256), join.on)
        for table, _, cells in rows:
            if join.on not in cells:
                raise SourceError(f"{table.path}: {unknown('column', join.on, list(table.columns))}")
            cells |= {name: text for name, text in further.get(cells[join.on], {}).items() if name not in cells}
    return _assemble(edition, rows, short, sha256)


def _read(path: Path, sha256: dict[str, str]) -> LabelTable:
    table = read_label_table(path)
    sha256[path.name] = table.sha256
    return table


def _by_key(table: LabelTable, on: str) -> dict[str, Cells]:
    """Return the cells of each key; rows that are the same again are one."""
    place = table.column(on)
    found: dict[str, Cells] = {}
    for row in table.rows:
        cells = dict(zip(table.columns, row.cells, strict=True))
        first = found.setdefault(row.cells[place], cells)
        if first != cells:
            differs = next(name for name in cells if first[name] != cells[name])
            raise SourceError(
                f"{table.path}, row {row.number}: {on} {row.cells[place]} has {differs} {cells[differs]!r}, and "
                f"{first[differs]!r} in an earlier row; take out the wrong one"
            )
    return found


def _short(table: LabelTable, row: Row) -> Rejection:
    return Rejection(
        "", f"row {row.number} of {table.path.name} has {len(row.cells)} cells under {len(table.columns)} columns"
    )


def _assemble(
    edition: Edition,
    rows: Sequence[tuple[LabelTable, Row, Cells]],
    short: list[Rejection],
    sha256: Mapping[str, str],
) -> JoinedTable:
    """Make one table of all rows but those that are left out."""
    columns = list(dict.fromkeys(name for _, _, cells in rows for name in cells))
    templated = "{" in edition.image
    kept: list[Row] = []
    left_out: list[Rejection] = []
    patterns = [(rule, re.compile(rule.pattern)) for rule in edition.leave_out]
    for table, row, cells in rows:
        image = _image(edition.image, table, cells)
        reason = next(
            (rule.reason for rule, found in patterns if rule.column in cells and found.search(cells[rule.column])),
            None,
        )
        if reason is not None:
            left_out.append(Rejection(image, reason))
            continue
        values = [cells.get(name, "") for name in columns]
        if edition.findings_column in cells and edition.list_separator:
            place = columns.index(edition.findings_column)
            values[place] = values[place].replace(edition.list_separator, "|")
        kept.append(Row(row.number, (*values, image) if templated else tuple(values)))
    return JoinedTable(
        table=LabelTable(
            path=rows[0][0].path,
            columns=(*columns, IMAGE_OF_TEMPLATE) if templated else tuple(columns),
            rows=tuple(kept),
            sha256=hashlib.sha256("".join(sorted(sha256.values())).encode()).hexdigest(),
        ),
        rejections=(*short, *dict.fromkeys(left_out)),
        sha256=sha256,
    )


def _image(template: str, table: LabelTable, cells: Cells) -> str:
    try:
        return template.format(**cells) if "{" in template else cells[template]
    except KeyError as error:
        raise SourceError(f"{table.path}: {unknown('column', error.args[0], list(table.columns))}") from None
