"""The one writer of CSV files: text that came from elsewhere stays text where a spreadsheet opens them.

A cell such as ``=HYPERLINK(...)`` is a formula to a spreadsheet, which runs it. Names of images, views, reasons
and keys come from tables and folders of others.
"""

import csv
import re
from collections.abc import Iterable, Mapping, Sequence
from types import SimpleNamespace

_FORMULA = re.compile(r"[=+\-@\t\r\n＝＋－＠]")
_NUMBER = re.compile(r"[-+]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][-+]?[0-9]+)?")


def csv_text(rows: Iterable[Mapping[str, object]], columns: Sequence[str] = ()) -> str:
    """Return a table: the given columns, then those of the rows in the order in which they come up.

    Nothing stands where a row has no value, None or NaN. Text that a spreadsheet would take for a formula has an
    apostrophe before it, by which spreadsheets know text. Numbers stay what they are.
    """
    rows = list(rows)
    names = list(dict.fromkeys([*columns, *(name for row in rows for name in row)]))
    lines: list[str] = []
    # a terminator with a carriage return has cells with one quoted: it would end the row for a spreadsheet
    writer = csv.writer(SimpleNamespace(write=lines.append), lineterminator="\r\n")
    writer.writerow([_cell(name) for name in names])
    writer.writerows([_cell(row.get(name)) for name in names] for row in rows)
    return "".join(line.removesuffix("\r\n") + "\n" for line in lines)


def _cell(value: object) -> str:
    if value is None or value != value:
        return ""
    text = str(value)
    if isinstance(value, int | float) or not _FORMULA.match(text) or _NUMBER.fullmatch(text):
        return text
    return f"'{text}"
