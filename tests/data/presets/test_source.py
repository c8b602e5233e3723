import pickle
import shutil
from pathlib import Path

import made_collections
import pandas as pd
import pytest
from pydantic import ValidationError

from clr_hpc.data.presets.source import PresetSource, preset_source
from clr_hpc.data.presets.spec import Edition
from clr_hpc.data.source import SourceError


def source(name: str, folder: Path, **options: object) -> PresetSource:
    return preset_source(name)(folder, **options)


def test_a_source_travels_to_worker_processes(tmp_path: Path) -> None:
    made = source("chexpert", tmp_path, blank="negative", views=("PA",))
    copy = pickle.loads(pickle.dumps(made))
    assert copy == made
    assert (copy.preset, copy.blank, type(copy)) == ("chexpert", "negative", type(made))


def test_provenance_is_the_same_wherever_the_folder_lies(tmp_path: Path) -> None:
    made_collections.rsna(tmp_path / "here")
    shutil.copytree(tmp_path / "here", tmp_path / "there/deeper")
    here, there = (source("rsna", tmp_path / folder).table() for folder in ("here", "there"))
    assert {name: here.provenance[name] for name in here.provenance if name != "names"} == {
        name: there.provenance[name] for name in there.provenance if name != "names"
    }
    assert [record.labels for record in here.records] == [record.labels for record in there.records]


@pytest.mark.parametrize("packed", [".gz", ".zip"])
def test_tables_may_be_packed(tmp_path: Path, packed: str) -> None:
    made_collections.siim(tmp_path)
    table = pd.read_csv(tmp_path / "train-rle.csv")
    (tmp_path / "train-rle.csv").unlink()
    table.to_csv(tmp_path / f"train-rle.csv{packed}", index=False)
    assert len(source("siim", tmp_path).table().records) == 24


def test_tables_that_are_missing_are_named(tmp_path: Path) -> None:
    made_collections.mimic_cxr(tmp_path)
    (tmp_path / "mimic-cxr-2.0.0-split.csv.gz").unlink()
    with pytest.raises(SourceError) as error:
        source("mimic-cxr", tmp_path).table()
    assert str(error.value) == (
        f"{tmp_path} lacks tables of MIMIC-CXR-JPG: MIMIC-CXR-JPG: mimic-cxr-2.0.0-split.csv or "
        "mimic-cxr-2.1.0-split.csv; name the folder that holds them, or get them from "
        "https://physionet.org/content/mimic-cxr-jpg/"
    )


def test_each_edition_is_named_where_none_is_there(tmp_path: Path) -> None:
    with pytest.raises(
        SourceError, match=r"PhysioNet's edition: image_labels_train.csv.*Kaggle's edition: train.csv"
    ):
        source("vindr-cxr", tmp_path).table()


def test_both_editions_of_chexpert_in_one_folder_are_an_error(tmp_path: Path) -> None:
    for folder in ("CheXpert-v1.0", "CheXpert-v1.0-small"):
        made_collections.chexpert(tmp_path, folder)
    with pytest.raises(SourceError, match=r"holds train.csv more than once: .*; name the folder of one"):
        source("chexpert", tmp_path).table()


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("siim", {"frontal": True}, "--frontal: the tables of stage 1 or 2 don't tell views"),
        ("siim", {"readers": "any"}, "--readers: stage 1 or 2 has one reading per image"),
    ],
)
def test_an_option_that_does_not_fit_is_named(
    tmp_path: Path, name: str, options: dict[str, object], message: str
) -> None:
    made_collections.siim(tmp_path)
    with pytest.raises(SourceError, match=message):
        source(name, tmp_path, **options).table()


def test_a_joined_table_that_contradicts_itself_is_an_error(tmp_path: Path) -> None:
    made_collections.rsna(tmp_path)
    path = tmp_path / "stage_2_detailed_class_info.csv"
    first = path.read_text().splitlines()[1].partition(",")[0]
    path.write_text(path.read_text() + f"{first},Normal\n")
    with pytest.raises(
        SourceError, match=f"patientId {first} has class 'Normal', and 'Lung Opacity' in an earlier"
    ):
        source("rsna", tmp_path).table()


def test_rows_with_too_few_cells_and_columns_that_are_absent(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    made_collections.chexpert(tmp_path)
    path = tmp_path / "CheXpert-v1.0-small/train.csv"
    table = pd.read_csv(path).drop(columns="Fracture")
    table.to_csv(path, index=False)
    with path.open("a") as file:
        file.write("CheXpert-v1.0-small/train/patient00099/study1/view1_frontal.jpg,Male\n")
    valid = tmp_path / "CheXpert-v1.0-small/valid.csv"
    pd.read_csv(valid).drop(columns="Fracture").to_csv(valid, index=False)
    found = source("chexpert", tmp_path).table()
    assert "row 50 of train.csv has 2 cells under 18 columns" in [one.reason for one in found.rejections]
    assert any("has no column 'Fracture'" in record.message for record in caplog.records)
    assert "fracture" not in found.findings


def test_a_preset_divides_the_images_in_one_way() -> None:
    with pytest.raises(ValidationError, match="the split is a column or that of the tables, not both"):
        Edition.model_validate(
            {"title": "x", "tables": [{"names": ["a.csv"], "split": "train"}], "image": "a", "split": "side"}
        )
