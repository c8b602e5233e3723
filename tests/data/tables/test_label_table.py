import gzip
from pathlib import Path

import pytest

from clr_hpc.data.source import SourceError
from clr_hpc.data.tables.label_table import (
    read_label_table,
    read_names,
    unique_rows,
)


def written(folder: Path, text: str) -> Path:
    path = folder / "table.csv"
    path.write_text(text, encoding="utf-8")
    return path


def test_plain_gzipped_and_windows_files_read_the_same(tmp_path: Path) -> None:
    text = 'image,label\r\n"a, b.png",1\r\n\r\nc.png, 0\r\n'
    plain = read_label_table(written(tmp_path, text))
    assert plain.columns == ("image", "label")
    assert [row.cells for row in plain.rows] == [("a, b.png", "1"), ("c.png", "0")]
    assert [row.number for row in plain.rows] == [2, 4]
    zipped = tmp_path / "table.csv.gz"
    zipped.write_bytes(gzip.compress(text.encode()))
    assert read_label_table(zipped).sha256 == plain.sha256
    assert read_label_table(written(tmp_path, "\ufeff" + text)).columns == ("image", "label")


def test_missing_last_cells_are_blank_and_further_ones_an_error(tmp_path: Path) -> None:
    assert read_label_table(written(tmp_path, "a,b,\n1,2\n")).rows[0].cells == ("1", "2", "")
    with pytest.raises(SourceError, match="row 3: 3 cells under 2 columns"):
        read_label_table(written(tmp_path, "a,b\n1,2\n1,2,3\n"))


@pytest.mark.parametrize(
    ("data", "message"),
    [
        pytest.param(b"", "no rows below its header", id="empty"),
        pytest.param(b"image,label\n", "no rows below its header", id="a header alone"),
        pytest.param(b"\x89PNG\r\n\x1a\n\xff\xfe", "not UTF-8: byte 0x89 in line 1", id="an image"),
        pytest.param(b'image,label\n"a.png,1\n', "line 2: it is not CSV", id="a quote left open"),
        # gzip writes the time into what it packs: without a name, test workers would collect different tests
        pytest.param(gzip.compress(b"image\na.png\n" * 100)[:-20], "ends before its compressed", id="cut short"),
    ],
)
def test_what_is_no_table_is_refused(tmp_path: Path, data: bytes, message: str) -> None:
    path = tmp_path / "table.csv"
    path.write_bytes(data)
    with pytest.raises(SourceError, match=message):
        read_label_table(path)


def test_columns_are_found_whatever_their_case_and_the_nearest_is_named(tmp_path: Path) -> None:
    table = read_label_table(written(tmp_path, "Image Index,Patient_ID\na.png,1\n"))
    assert table.column("image index") == 0
    assert table.column("PatientID") == 1
    with pytest.raises(SourceError, match=r"unknown column: 'Image Indx'; did you mean 'Image Index'\?"):
        table.column("Image Indx")


def test_repeated_and_contradictory_rows(tmp_path: Path) -> None:
    table = read_label_table(written(tmp_path, "image,label\na,1\nb,1\nb,1\nc,1\nc,0\n,1\n"))
    unique, rejections = unique_rows(table, 0)
    assert list(unique) == ["a", "b"]
    assert {(rejection.image, rejection.reason) for rejection in rejections} == {
        ("", "row 7 of the table names no image"),
        ("b", "row 4 of the table repeats row 3, which is used"),
        ("c", "rows 5, 6 of the table contradict one another"),
    }


def test_names_of_a_list(tmp_path: Path) -> None:
    assert read_names(written(tmp_path, "a.png\r\nb.png\n"))[0] == ("a.png", "b.png")
    with pytest.raises(SourceError, match="holds no image names"):
        read_names(written(tmp_path, "\n"))
