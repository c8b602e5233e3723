import gzip
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from clr_hpc.config.pathologies import PATHOLOGIES
from clr_hpc.data.source import SourceError, SourceTable
from clr_hpc.data.sources.nih import NihSource, parse_findings, read_nih_boxes, read_nih_records
from clr_hpc.data.tables.label_table import read_label_table

# The header and two rows in the spelling of each edition
EDITION_2020 = """\
Image Index,Finding Labels,Follow-up #,Patient ID,Patient Age,Patient Gender,View Position,\
OriginalImage[Width,Height],OriginalImagePixelSpacing[x,y]
00000001_000.png,Cardiomegaly,0,1,57,M,PA,2682,2749,0.143,0.143
00000002_000.png,No Finding,0,2,80,F,AP,2500,2048,0.171,0.171
"""
EDITION_2017 = """\
Image Index,Finding Labels,Follow-up #,Patient ID,Patient Age,Patient Gender,View Position,\
OriginalImageWidth,OriginalImageHeight,OriginalImagePixelSpacing_x,OriginalImagePixelSpacing_y,
00000001_000.png,Cardiomegaly,000,00000001,057Y,M,PA,2682,2749,0.143,0.143
00000002_000.png,No Finding,000,00000002,080Y,F,AP,2500,2048,0.171,0.171
"""


def reasons(table: SourceTable) -> dict[str, str]:
    return {rejection.image: rejection.reason for rejection in table.rejections}


@pytest.mark.parametrize("zipped", [False, True])
@pytest.mark.parametrize("text", [EDITION_2020, EDITION_2017])
def test_both_editions_say_the_same(tmp_path: Path, text: str, zipped: bool) -> None:
    path = tmp_path / "labels.csv"
    path.write_bytes(gzip.compress(text.encode()) if zipped else text.encode())
    (first, second), rejections = read_nih_records(read_label_table(path), {"00000002_000.png": "test"})
    assert rejections == []
    assert (first.image, first.patient, first.age_years, first.sex, first.view) == (
        "00000001_000.png",
        "1",
        57,
        "M",
        "PA",
    )
    assert [p for p, label in zip(PATHOLOGIES, first.labels, strict=True) if label] == ["cardiomegaly"]
    assert set(second.labels) == {0}
    assert (first.official_split, second.official_split) == (None, "test")


def test_an_age_of_414_is_unknown_and_counted(make_nih_folder: Callable) -> None:
    made = make_nih_folder(3)
    made.labels.write_text(made.labels.read_text().replace(",58,", ",414,", 1))
    table = made.source.table()
    assert [record.age_years for record in table.records] == [None, 58, 58]
    assert table.provenance["unknown_ages"] == 1


def test_findings() -> None:
    assert sum(parse_findings("Pleural_Thickening|Mass | effusion")) == 3
    for text, message in [
        ("", "no label"),
        ("Fracture", "unknown label 'Fracture'"),
        ("Mass|Fracture", "unknown label 'Fracture'"),
        ("No Finding|Mass", "'No Finding' beside a finding"),
    ]:
        with pytest.raises(ValueError, match=message):
            parse_findings(text)


def test_bad_rows_and_stray_files_are_each_rejected_with_their_reason(make_nih_folder: Callable) -> None:
    made = make_nih_folder(6)
    made.add_row("00000009_000.png")
    made.add_row("00000001_000.png")
    text = made.labels.read_text()
    text = text.replace("00000001_001.png,Effusion", "00000001_001.png,Fracture")
    text = text.replace("00000001_002.png,Mass|Nodule", "00000001_002.png,")
    text = text.replace("00000002_000.png,Pneumonia,0,2,", "00000002_000.png,Pneumonia,0,,")
    made.labels.write_text(text)
    (made.images / "00000002_001.png").rename(made.images / "unlabelled.png")
    table = made.source.table()
    assert [record.image for record in table.records] == ["00000002_002.png"]
    assert reasons(table) == {
        "00000001_000.png": "rows 2, 9 of the table contradict one another: patient 1 and 900",
        "00000001_001.png": "unknown label 'Fracture'",
        "00000001_002.png": "no label in the label table",
        "00000002_000.png": "no patient in the label table",
        "00000002_001.png": "no file of this name in the images folder",
        "00000009_000.png": "no file of this name in the images folder",
        "unlabelled.png": "no row in the label table",
    }


def test_a_table_of_another_layout_is_refused_by_its_columns(make_nih_folder: Callable) -> None:
    made = make_nih_folder(3)
    made.labels.write_text("Image_Idx,Labels\na.png,Mass\n")
    with pytest.raises(SourceError, match=r"unknown column: 'Image Index'; did you mean 'Image_Idx'\?"):
        made.source.table()


def test_lists_come_in_pairs_and_share_no_image(make_nih_folder: Callable) -> None:
    made = make_nih_folder(12)
    sides = Counter(record.official_split for record in made.source_with_lists.table().records)
    assert sides == {"test": 3, "train_val": 9}
    with pytest.raises(SourceError, match="test list is given without the train_val list"):
        NihSource(made.images, made.labels, test_list=made.folder / "test_list.txt").table()
    made.write_lists(["00000001_000.png"], ["00000001_000.png"])
    with pytest.raises(SourceError, match="1 images are on both lists"):
        made.source_with_lists.table()


def test_boxes_become_fractions_of_the_image(tmp_path: Path) -> None:
    path = tmp_path / "boxes.csv"
    path.write_text("Image Index,Finding Label,Bbox [x,y,w,h],,,\na.png,Infiltrate,256,512,128,64,,,\n")
    (box,) = read_nih_boxes(read_label_table(path))
    assert (box.pathology, box.left, box.top, box.width, box.height) == ("infiltration", 0.25, 0.5, 0.125, 0.0625)
    for wrong, message in [
        ("Fracture,1,2,3,4", "row 2: unknown finding 'Fracture'"),
        ("Mass,1,2,x,4", "row 2: .*'x'"),
    ]:
        path.write_text(f"Image Index,Finding Label,Bbox [x,y,w,h]\na.png,{wrong}\n")
        with pytest.raises(SourceError, match=message):
            read_nih_boxes(read_label_table(path))


def test_the_published_boxes(nih_mini: Path) -> None:
    boxes = read_nih_boxes(read_label_table(nih_mini / "BBox_List_2017.csv.gz"))
    assert (len(boxes), len({box.image for box in boxes})) == (984, 880)
    assert all(box.left >= 0 and box.left + box.width <= 1 for box in boxes)
    assert all(box.top >= 0 and box.top + box.height <= 1 for box in boxes)
