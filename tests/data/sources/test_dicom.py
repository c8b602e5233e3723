import csv
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from made_dicom import picture, write_dicom
from numpy.testing import assert_array_equal

from clr_hpc.config.plugins import MissingExtraError
from clr_hpc.data.build import build_pack
from clr_hpc.data.manifest import PackError
from clr_hpc.data.pack import Pack
from clr_hpc.data.source import SourceError
from clr_hpc.data.sources.dicom import DicomSource
from clr_hpc.data.sources.table import TableSource
from clr_hpc.data.splits import SeededSplit

UID = "1.2.3."
"""Of image 7: ``1.2.3.7``; of its study ``1.2.4.7``, shared by two images."""


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    """Eight radiographs of four patients, two a study, in folders that name them."""
    folder = tmp_path / "archive"
    for number in range(8):
        (folder / f"DOE^JOHN{number // 2}").mkdir(parents=True, exist_ok=True)
        write_dicom(
            folder / f"DOE^JOHN{number // 2}" / f"IM{number}",
            picture(8, seed=number),
            bits=8,
            SOPInstanceUID=f"1.2.3.{number}",
            StudyInstanceUID=f"1.2.4.{number // 2}",
            AccessionNumber=f"A{number // 2}",
            PatientID=f"MRN{number // 2}",
            PatientAge="095Y" if number == 0 else "058Y",
            ViewPosition=("PA", "AP")[number % 2],
        )
    return folder


def pack(tmp_path: Path, source: DicomSource) -> tuple[pd.DataFrame, dict[str, str], Path]:
    """Return the index, the reasons for what was rejected, and the pack."""
    output = tmp_path / "pack"
    build_pack(source, output, 64, SeededSplit(), workers=1)
    with (output / "rejected.csv").open(newline="") as file:
        reasons = {row["image"]: row["reason"] for row in csv.DictReader(file)}
    return Pack.open(output).index, reasons, output


def write_table(tmp_path: Path, *rows: str) -> dict[str, Any]:
    (tmp_path / "labels.csv").write_text("key,effusion\n" + "".join(f"{row}\n" for row in rows))
    return {"labels": tmp_path / "labels.csv", "image_column": "key"}


def test_patient_view_age_and_sex_are_those_of_the_files(archive: Path, tmp_path: Path) -> None:
    index, reasons, output = pack(tmp_path, DicomSource(archive, unlabelled=True))
    assert reasons == {}
    assert list(index["image"]) == [f"1.2.3.{number}" for number in range(8)]
    assert list(index["patient"]) == [f"MRN{number // 2}" for number in range(8)]
    assert list(index["view"]) == ["PA", "AP"] * 4
    assert list(index["age_years"]) == [95, *[58] * 7]
    assert set(index["sex"]) == {"F"}
    assert index["effusion"].isna().all()
    assert_array_equal(Pack.open(output).gather(np.array([3]))[0], picture(8, seed=3))
    source = Pack.open(output).manifest.source
    assert (source["kind"], source["window"], source["patients"]) == ("dicom", "first", "PatientID")


@pytest.mark.parametrize(
    ("rows", "joined_by"),
    [
        ([f"1.2.3.{number},{number // 2 % 2}" for number in range(8)], "SOP instance UID"),
        ([f"1.2.4.{number},{number % 2}" for number in range(4)], "study instance UID"),
        ([f"A{number},{number % 2}" for number in range(4)], "accession number"),
        ([f"IM{number},{number // 2 % 2}" for number in range(8)], "file name"),
        ([f"DOE^JOHN{number // 2}\\IM{number},{number // 2 % 2}" for number in range(8)], "file name"),
    ],
)
def test_labels_are_joined_by_what_the_table_names(
    archive: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture, rows: list[str], joined_by: str
) -> None:
    index, reasons, output = pack(tmp_path, DicomSource(archive, **write_table(tmp_path, *rows)))
    assert list(index["effusion"]) == [0, 0, 1, 1, 0, 0, 1, 1]
    assert reasons == {}
    assert Pack.open(output).manifest.source["joined_by"] == joined_by
    assert f"labels are joined by {joined_by}: 8 of 8 files have a row, and 0 rows have no file" in caplog.text


def test_files_without_a_row_and_rows_that_cannot_be_used_are_rejected(archive: Path, tmp_path: Path) -> None:
    table = write_table(tmp_path, "A0,1", "A1,", "A2,0", "A2,1", "A9,1")
    index, reasons, output = pack(tmp_path, DicomSource(archive, **table))
    assert list(index["image"]) == ["1.2.3.0", "1.2.3.1"]
    assert reasons["1.2.3.2"] == "no label in the label table"
    assert "contradict" in reasons["1.2.3.4"]
    assert reasons["1.2.3.6"] == "no row in the label table, or one that fits several files"
    assert Pack.open(output).manifest.source["rows_without_file"] == 1


def test_a_table_of_other_names_is_an_error_that_quotes_one(archive: Path, tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"no row belongs to a DICOM file: column 'key', such as 'x.png'"):
        DicomSource(archive, **write_table(tmp_path, "x.png,1")).table()


def test_what_is_no_frontal_chest_radiograph_of_a_patient_is_rejected(archive: Path, tmp_path: Path) -> None:
    write_dicom(archive / "lateral.dcm", SOPInstanceUID="1.9.1", ViewPosition="LL")
    write_dicom(archive / "ct.dcm", SOPInstanceUID="1.9.2", Modality="CT")
    write_dicom(archive / "nobody.dcm", SOPInstanceUID="1.9.3", PatientID="")
    write_dicom(archive / "frames.dcm", np.stack([picture()] * 2), SOPInstanceUID="1.9.4", NumberOfFrames=2)
    write_dicom(archive / "nameless.dcm", picture(seed=9), SOPInstanceUID=None)
    (archive / "broken.dcm").write_bytes((archive / "ct.dcm").read_bytes()[:300])
    (archive / "photo.png").write_bytes(b"")
    (archive / "DICOMDIR").write_bytes((archive / "ct.dcm").read_bytes())
    index, reasons, _ = pack(tmp_path, DicomSource(archive, unlabelled=True))
    by_reason = {reason: image for image, reason in reasons.items()}
    assert by_reason.pop("view LATERAL, not PA or AP; --lateral admits other views") == "1.9.1"
    assert by_reason.pop("modality CT; CR or DX is needed") == "1.9.2"
    assert by_reason.pop("no patient in the DICOM file; --image-is-patient packs it as one of its own") == "1.9.3"
    assert by_reason.pop("holds 2 frames instead of one image") == "1.9.4"
    assert by_reason.pop("not a DICOM file; 'clr-hpc pack table' packs images of other formats").startswith(
        "file-"
    )
    assert [*by_reason] == ["a DICOM file without pixels"]
    assert sum(image.startswith("file-") for image in index["image"]) == 1
    assert len(index) == 9


def test_lateral_views_and_images_without_a_patient_are_packed_where_that_is_asked(
    archive: Path, tmp_path: Path
) -> None:
    write_dicom(archive / "lateral.dcm", SOPInstanceUID="1.9.1", ViewPosition="LL", PatientID="")
    source = DicomSource(archive, unlabelled=True, lateral=True, image_is_patient=True)
    index, reasons, _ = pack(tmp_path, source)
    assert reasons == {}
    assert list(index["view"])[-1] == "LATERAL"
    assert index["patient"].nunique() == 9


def test_copies_of_an_image_are_used_once_or_not_at_all(archive: Path, tmp_path: Path) -> None:
    write_dicom(archive / "again.dcm", picture(seed=9), SOPInstanceUID="1.2.3.0", PatientID="MRN0")
    write_dicom(archive / "other.dcm", picture(seed=8), SOPInstanceUID="1.2.3.2", PatientID="MRN7")
    index, reasons, _ = pack(tmp_path, DicomSource(archive, unlabelled=True))
    assert sorted(reasons.values()) == [
        "another file has its SOP instance UID, and is used",
        "several files of its SOP instance UID are of different patients",
        "several files of its SOP instance UID are of different patients",
    ]
    assert "1.2.3.0" in set(index["image"])
    assert "1.2.3.2" not in set(index["image"])


def write_key(tmp_path: Path, content: bytes = b"0123456789abcdef", mode: int = 0o600) -> Path:
    key = tmp_path / "key"
    key.write_bytes(content)
    key.chmod(mode)
    return key


def everything_in(folder: Path) -> bytes:
    return b"".join(file.read_bytes() for file in folder.iterdir())


def test_nothing_but_the_patient_id_names_anybody(archive: Path, tmp_path: Path) -> None:
    (archive / "DOE^JOHN0" / "broken.dcm").write_bytes(b"\0" * 128 + b"DICM" + b"DOE^JOHN" * 9)
    _, reasons, output = pack(tmp_path, DicomSource(archive, unlabelled=True))
    assert len(reasons) == 1
    held = everything_in(output)
    assert b"DOE" not in held
    assert b"Doe" not in held
    assert str(archive).encode() not in held


def test_pseudonyms_hide_patients_images_and_high_ages_and_depend_on_the_key_alone(
    archive: Path, tmp_path: Path
) -> None:
    listing = tmp_path / "list.csv"
    source = DicomSource(archive, unlabelled=True, pseudonymise=write_key(tmp_path), file_list=listing)
    index, _, output = pack(tmp_path, source)
    assert index["patient"].str.fullmatch("[0-9a-f]{20}").all()
    assert index["image"].str.fullmatch("[0-9a-f]{20}").all()
    assert index["patient"].nunique() == 4
    assert index["age_years"].max() == 90
    import pyarrow.parquet as pq

    values = {
        str(value) for column in pq.read_table(output / "index.parquet").to_pydict().values() for value in column
    }
    assert not any(value.startswith(("MRN", UID)) for value in values)
    manifest = (output / "manifest.json").read_text()
    assert "MRN" not in manifest
    assert "0123456789abcdef" not in manifest
    assert source.table() == DicomSource(archive, unlabelled=True, pseudonymise=write_key(tmp_path)).table()
    other = DicomSource(archive, unlabelled=True, pseudonymise=write_key(tmp_path, b"fedcba9876543210")).table()
    assert not {record.patient for record in other.records} & {*index["patient"]}
    with listing.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert {row["image"] for row in rows} == {*index["image"]}
    assert {row["patient_id"] for row in rows} == {f"MRN{number}" for number in range(4)}
    assert listing.stat().st_mode & 0o077 == 0


@pytest.mark.parametrize(
    ("key", "message"),
    [
        ((b"short", 0o600), "a key of 5 bytes can be guessed, 16 are needed; make one"),
        ((b"0123456789abcdef", 0o640), "others may read this key; run: chmod 600"),
    ],
)
def test_a_key_that_gives_nothing_is_an_error(
    archive: Path, tmp_path: Path, key: tuple[bytes, int], message: str
) -> None:
    with pytest.raises(SourceError, match=message):
        DicomSource(archive, unlabelled=True, pseudonymise=write_key(tmp_path, *key)).table()


@pytest.mark.parametrize("given", [{}, {"labels": Path("a.csv"), "unlabelled": True}, {"labels": Path("a.csv")}])
def test_labels_are_given_with_their_column_or_expressly_not(given: dict[str, Any]) -> None:
    with pytest.raises(SourceError, match=r"give --labels TABLE|--labels needs --image-column"):
        DicomSource(Path("archive"), **given)


def without_pydicom(monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    for name in [name for name in sys.modules if name.startswith(("pydicom", "clr_hpc.data.images.dicom"))]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "pydicom", None)


def test_without_pydicom_the_extra_is_named(archive: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("clr_hpc.config.plugins.find_spec", lambda _: None)
    with pytest.raises(MissingExtraError, match=r"pip install 'clr-hpc\[dicom\]'"):
        DicomSource(archive, unlabelled=True).table()


def table_source(tmp_path: Path) -> TableSource:
    write_dicom(tmp_path / "img" / "b.dcm", bits=8)
    (tmp_path / "labels.csv").write_text("file,effusion\nb.dcm,1\n")
    return TableSource(tmp_path / "img", tmp_path / "labels.csv", image_column="file", image_is_patient=True)


def test_a_dicom_file_that_a_table_names_is_read(tmp_path: Path) -> None:
    (tmp_path / "img").mkdir()
    manifest = build_pack(table_source(tmp_path), tmp_path / "pack", 64, workers=1)
    assert manifest.source["window"] == "first"
    assert_array_equal(Pack.open(tmp_path / "pack").gather(np.array([0]))[0], picture(8))


def test_without_pydicom_a_dicom_file_that_a_table_names_is_rejected_with_the_remedy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rejected: Callable[[Path], dict[str, str]]
) -> None:
    (tmp_path / "img").mkdir()
    source = table_source(tmp_path)
    without_pydicom(monkeypatch)
    with pytest.raises(PackError):
        build_pack(source, tmp_path / "pack", 64, workers=1)
    assert rejected(tmp_path / "pack.partial" / "pack") == {
        "b.dcm": 'a DICOM file, which needs pydicom; install it: pip install "clr-hpc[dicom]"'
    }
