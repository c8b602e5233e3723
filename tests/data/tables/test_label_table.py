import gzip
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clr_hpc.data.source import SourceError
from clr_hpc.data.tables.label_table import SEPARATORS, read_label_table, read_names


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


def test_a_last_column_without_a_name_may_be_absent_and_further_cells_are_an_error(tmp_path: Path) -> None:
    assert read_label_table(written(tmp_path, "a,b,\n1,2\n")).rows[0].cells == ("1", "2", "")
    with pytest.raises(SourceError, match=r"row 3: 3 cells under 2 columns; quote cells .* --separator"):
        read_label_table(written(tmp_path, "a,b\n1,2\n1,2,3\n"))


def test_rows_with_too_few_cells_are_kept_apart(tmp_path: Path) -> None:
    table = read_label_table(written(tmp_path, "a,b,c\n1,2,3\n4,5\n6,7,8\n"))
    assert [row.cells for row in table.rows] == [("1", "2", "3"), ("6", "7", "8")]
    assert [(row.number, row.cells) for row in table.short_rows] == [(3, ("4", "5"))]


def test_rows_of_nothing_are_no_rows(tmp_path: Path) -> None:
    assert len(read_label_table(written(tmp_path, "a,b\n1,2\n,\n , \n")).rows) == 1


@pytest.mark.parametrize(
    ("data", "message"),
    [
        pytest.param(b"", "is empty, 0 bytes", id="empty"),
        pytest.param(b"image,label\n", "no rows below its header", id="a header alone"),
        pytest.param(b"\x89PNG\r\n\x1a\n\xff\xfe", "is a PNG image, not a table", id="an image"),
        pytest.param(b"PAR1\x15\x04", "is a Parquet file, not a table of text", id="Parquet"),
        pytest.param(b"\x89\xff\xfe", "not UTF-8: byte 0x89 in line 1", id="other bytes"),
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


@pytest.mark.parametrize("separator", SEPARATORS)
def test_the_separator_is_recognised(tmp_path: Path, separator: str) -> None:
    text = separator.join(("image", "Mass", "Effusion")) + "\n" + separator.join(("a.png", "1", "0")) + "\n"
    table = read_label_table(written(tmp_path, text))
    assert table.columns == ("image", "Mass", "Effusion")
    assert table.separator == separator


@pytest.mark.parametrize(
    ("text", "columns"),
    [
        ("image;Finding, all\na.png;Mass, Effusion\nb.png;Mass\n", ("image", "Finding, all")),
        ('"image, name";labels\na.png;1\n', ("image, name", "labels")),
        ("image,labels\na.png,Mass|Effusion\n", ("image", "labels")),
        ("image,size [x|y],labels\na.png,1|2,1\nb.png,3|4,1\n", ("image", "size [x|y]", "labels")),
        ("image\na.png\n", ("image",)),
    ],
)
def test_a_choice_of_separators_is_made_by_the_rows(tmp_path: Path, text: str, columns: tuple[str, ...]) -> None:
    assert read_label_table(written(tmp_path, text)).columns == columns


def test_a_separator_may_be_given(tmp_path: Path) -> None:
    path = written(tmp_path, "image/Mass\na.png/1\n")
    with pytest.raises(SourceError, match="if another character separates its cells, give it as --separator"):
        read_label_table(path).column("Mass")
    assert read_label_table(path, separator="/").columns == ("image", "Mass")
    assert read_label_table(written(tmp_path, "a\tb\n1\t2\n"), separator="tab").columns == ("a", "b")
    with pytest.raises(SourceError, match="--separator 'ab' is not one character"):
        read_label_table(path, separator="ab")


CELL = st.text(st.characters(codec="utf-8", exclude_categories=("C", "Z")), max_size=6)


@settings(max_examples=15)
@given(st.lists(st.tuples(CELL, CELL), min_size=1, max_size=5))
def test_all_forms_of_a_table_hold_the_same_rows(
    tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[str, str]]
) -> None:
    path = tmp_path_factory.mktemp("forms") / "table.csv"

    def cell(text: str) -> str:
        doubled = text.replace('"', '""')
        return f'"{doubled}"'

    seen = set()
    for separator in SEPARATORS:
        lines = [separator.join(map(cell, ("x", *row))) for row in rows]
        text = separator.join(("key", "first", "second")) + "\n" + "\n".join(lines) + "\n"
        for encoding in ("utf-8", "utf-8-sig", "utf-16", "utf-16-le"):
            for end in ("\n", "\r\n"):
                path.write_bytes(text.replace("\n", end).encode(encoding))
                seen.add(tuple(row.cells for row in read_label_table(path).rows))
    assert seen == {tuple(("x", *row) for row in rows)}


def test_names_of_a_list(tmp_path: Path) -> None:
    assert read_names(written(tmp_path, "a.png\r\nb.png\n"))[0] == ("a.png", "b.png")
    with pytest.raises(SourceError, match="holds no image names"):
        read_names(written(tmp_path, "\n"))
