import gzip
import io
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from clr_hpc.data.source import SourceError
from clr_hpc.data.tables.text import read_text

TEXT = "image,ort\na.png,Köln\n"


def zipped(**members: bytes) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name, data in members.items():
            archive.writestr(name.replace("_in_", "/").replace("_csv", ".csv"), data)
    return file.getvalue()


def utf_8(text: str) -> bytes:
    return text.encode()


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be"])
@pytest.mark.parametrize("pack", [lambda data: data, gzip.compress, lambda data: zipped(table_csv=data)])
def test_encodings_and_archives_are_recognised(
    tmp_path: Path, encoding: str, pack: Callable[[bytes], bytes]
) -> None:
    path = tmp_path / "table"
    path.write_bytes(pack(TEXT.encode(encoding)))
    assert read_text(path)[1] == TEXT


def test_what_macos_adds_to_an_archive_is_no_table(tmp_path: Path) -> None:
    path = tmp_path / "table.zip"
    path.write_bytes(zipped(table_csv=utf_8(TEXT), __MACOSX_in_table_csv=b"x"))
    assert read_text(path)[1] == TEXT


def test_another_encoding_is_named_and_read_when_asked_for(tmp_path: Path) -> None:
    path = tmp_path / "table.csv"
    path.write_bytes(TEXT.encode("cp1252"))
    with pytest.raises(SourceError, match=r"not UTF-8: byte 0xf6 in line 2; .* --encoding cp1252"):
        read_text(path)
    assert read_text(path, "cp1252")[1] == TEXT
    with pytest.raises(SourceError, match="--encoding 'cp12' is unknown; give"):
        read_text(path, "cp12")
    with pytest.raises(SourceError, match=r"is not ascii: .* give another --encoding"):
        read_text(path, "ascii")


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (zipped(a_csv=b"x", b_csv=b"y"), r"archive of 2 files: a\.csv, b\.csv; unpack it"),
        (zipped(), "archive of 0 files; unpack it"),
        (
            zipped(**{"[Content_Types].xml": b"", "xl/workbook.xml": b""}),
            "Excel workbook, not text; save its sheet",
        ),
        (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1....", "Excel workbook"),
        (zipped(table_csv=utf_8(TEXT) * 50)[:90], "compressed data is damaged"),
        (b"\xff\xfea\x00b", "damaged UTF-16"),
    ],
    ids=["two tables", "none", "xlsx", "xls", "cut", "half a letter"],
)
def test_what_is_no_single_table_is_answered_with_a_remedy(tmp_path: Path, data: bytes, message: str) -> None:
    path = tmp_path / "table.zip"
    path.write_bytes(data)
    with pytest.raises(SourceError, match=message):
        read_text(path)
