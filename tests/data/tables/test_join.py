from pathlib import Path

import pytest

from clr_hpc.data.source import SourceError
from clr_hpc.data.tables.join import joined
from clr_hpc.data.tables.label_table import LabelTable, read_label_table


def table(path: Path, text: str) -> LabelTable:
    path.write_text(text)
    return read_label_table(path)


def test_labels_of_studies_reach_their_images(tmp_path: Path) -> None:
    images = table(tmp_path / "images.csv", "dicom_id,study_id,view\na,1,PA\nb,1,LATERAL\nc,2,AP\nd,3,AP\n")
    labels = table(tmp_path / "labels.csv", "study_id,Mass\n2,0\n1,1\n")
    split = table(tmp_path / "split.csv", "split,Study ID,dicom_id\ntrain,1,a\ntest,2,c\n")
    both = joined(images, [labels, split])
    assert both.columns == ("dicom_id", "study_id", "view", "Mass", "split")
    assert [row.cells[3:] for row in both.rows] == [("1", "train"), ("1", ""), ("0", "test"), ("", "")]
    assert [row.number for row in both.rows] == [2, 3, 4, 5]
    assert len({each.sha256 for each in (images, joined(images, [labels]), both)}) == 3


def test_what_can_not_be_joined_is_named(tmp_path: Path) -> None:
    images = table(tmp_path / "images.csv", "image,study\na,1\n")
    with pytest.raises(SourceError, match="have no column in common"):
        joined(images, [table(tmp_path / "other.csv", "id,Mass\n1,1\n")])
    agreeing = table(tmp_path / "labels.csv", "study,Mass\n1,1\n1,1\n")
    assert joined(images, [agreeing]).rows[0].cells == ("a", "1", "1")
    with pytest.raises(SourceError, match=r"labels\.csv, row 3: another row for study 1 differs"):
        joined(images, [table(tmp_path / "labels.csv", "study,Mass\n1,1\n1,0\n")])
