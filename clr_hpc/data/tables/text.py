"""The text of a table's file: unpacked, and decoded by its byte order mark, as UTF-8, or as it was asked for."""

import io
import zipfile
import zlib
from pathlib import Path

from clr_hpc.config.base import shown
from clr_hpc.config.given_file import FileError, as_text, read_given, unpacked
from clr_hpc.data.source import SourceError

_ZIP = (b"PK\x03\x04", b"PK\x05\x06")
"""How an archive begins, and how an empty one does."""
_OLD_EXCEL = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"
_MARKS = {b"\xff\xfe": "utf-16", b"\xfe\xff": "utf-16"}
_NO_TABLES = {
    b"\x89PNG": "a PNG image",
    b"\xff\xd8\xff": "a JPEG image",
    b"PAR1": "a Parquet file",
    b"%PDF": "a PDF",
}
_SAMPLE = 1024
"""Bytes of the header by which UTF-16 without a mark is recognised."""


def read_text(path: Path, encoding: str | None = None) -> tuple[bytes, str]:
    """Return what a file holds, unpacked from gzip or zip, and as text.

    Args:
        path: of the file.
        encoding: as Python calls it; None recognises UTF-8 and UTF-16.

    Raises:
        SourceError: it can't be opened, is a workbook or an archive of several files, or has another encoding.
    """
    try:
        data = unpacked(read_given(path))
        if data.startswith(_ZIP):
            data = _only_member(path, data)
        if data.startswith(_OLD_EXCEL):
            raise SourceError(_workbook(path))
        if (kind := _other_kind(data)) is not None:
            raise SourceError(f"{path} is {kind}, not a table of text; name the label table")
        return data, _decoded(path, data, encoding)
    except FileError as error:
        raise SourceError(f"{path}: {error}") from error


def _other_kind(data: bytes) -> str | None:
    """Return what a file is that can't be a table, by its first bytes."""
    if not data:
        return "empty, 0 bytes"
    return next((kind for start, kind in _NO_TABLES.items() if data.startswith(start)), None)


def _workbook(path: Path) -> str:
    return f"{path} is an Excel workbook, not text; save its sheet as CSV (UTF-8), and give that file"


def _only_member(path: Path, data: bytes) -> bytes:
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            names = archive.namelist()
            if "[Content_Types].xml" in names:
                raise SourceError(_workbook(path))
            # macOS adds a file of its own for each
            names = [name for name in names if not name.endswith("/") and not name.startswith("__MACOSX/")]
            if len(names) != 1:
                listed = f": {', '.join(names[:5])}" if names else ""
                raise SourceError(
                    f"{path} is an archive of {len(names)} files{listed}; unpack it, and name the table itself"
                )
            return unpacked(archive.read(names[0]))
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError) as error:
        raise SourceError(f"{path}: its compressed data is damaged ({error}); copy it again") from error
    except RuntimeError as error:  # it asks for a password
        raise SourceError(f"{path}: {error}; unpack it, and name the table itself") from error


def _decoded(path: Path, data: bytes, encoding: str | None) -> str:
    if encoding is not None:
        try:
            return data.decode(encoding).removeprefix("\ufeff")
        except LookupError as error:
            raise SourceError(
                f"--encoding {shown(encoding)} is unknown; give utf-8, utf-16, cp1252 or another of Python's names"
            ) from error
        except UnicodeError as error:
            raise SourceError(f"{path} is not {encoding}: {error}; give another --encoding") from error
    if (utf_16 := _MARKS.get(data[:2]) or _unmarked(data[:_SAMPLE].partition(b"\n")[0])) is not None:
        try:
            return data.decode(utf_16)
        except UnicodeError as error:
            raise SourceError(f"{path} is damaged UTF-16: {error}; save the table as UTF-8") from error
    try:
        return as_text(data)
    except FileError as error:
        raise SourceError(
            f"{path}: {error.mistake.rule}; save the file as UTF-8, or give its encoding to 'clr-hpc pack table', "
            "such as --encoding cp1252 for Windows in Western Europe"
        ) from error


def _unmarked(sample: bytes) -> str | None:
    """Return the kind of UTF-16 in which Latin letters leave every other byte zero."""
    even, odd = sample[::2], sample[1::2]
    if odd and not any(odd) and 0 not in even:
        return "utf-16-le"
    return "utf-16-be" if even and not any(even) and 0 not in odd else None
