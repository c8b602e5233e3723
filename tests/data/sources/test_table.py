from collections.abc import Callable
from pathlib import Path

import pytest

from clr_hpc.config.pathologies import PATHOLOGIES
from clr_hpc.data.inspect import source_notes
from clr_hpc.data.source import SourceError
from clr_hpc.data.sources.table import TableSource

# in the manner of CheXpert: paths, 1 / 0 / -1 / blank, a spelling of its own for effusion
CHEXPERT = """\
Path,Who,Sex,Age,AP/PA,Part,Cardiomegaly,Edema,Pleural Effusion
p1/view1.jpg,p1,Female,68,AP,train,1.0,-1.0,
p1/view2.jpg,p1,Female,68,,train,0.0,,1.0
p2/view1.jpg,p2,Male,0,PA,val,,,0.0
p3/view1.jpg,p3,Male,90,PA,test,,,
"""


@pytest.fixture
def make_source(tmp_path: Path) -> Callable[..., TableSource]:
    def make(text: str = CHEXPERT, **options: object) -> TableSource:
        for path in ("p1/view1.jpg", "p1/view2.jpg", "p2/view1.jpg", "p3/view1.jpg"):
            (tmp_path / "images" / path).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / "images" / path).touch()
        (tmp_path / "table.csv").write_text(text)
        named = {"image_column": "Path", "patient_column": "Who", **options}
        return TableSource(images=tmp_path / "images", labels=tmp_path / "table.csv", **named)

    return make


def test_a_table_of_another_publisher(make_source: Callable[..., TableSource]) -> None:
    source = make_source(sex_column="Sex", age_column="Age", view_columns=("AP/PA",), split_column="Part")
    table = source.table()
    assert [
        (record.image, record.patient, record.sex, record.age_years, record.view, record.official_split)
        for record in table.records
    ] == [
        ("p1/view1.jpg", "p1", "F", 68, "AP", "train"),
        ("p1/view2.jpg", "p1", "F", 68, None, "train"),
        ("p2/view1.jpg", "p2", "M", 0, "PA", "validation"),
    ]
    named = ["cardiomegaly", "edema", "effusion"]
    columns = [[record.labels[PATHOLOGIES.index(name)] for name in named] for record in table.records]
    assert columns == [[1, -1, -1], [0, -1, 1], [-1, -1, 0]]
    assert all(record.labels[PATHOLOGIES.index("mass")] == -1 for record in table.records)
    assert [(r.image, r.reason) for r in table.rejections] == [("p3/view1.jpg", "no label in the label table")]
    assert table.provenance["label_columns"] == {
        "cardiomegaly": "Cardiomegaly",
        "edema": "Edema",
        "effusion": "Pleural Effusion",
    }
    assert table.provenance["blank"] == table.provenance["uncertain"] == "unknown"
    assert table.provenance["unknown_ages"] == 0


def test_nothing_is_said_of_ages_that_nobody_asked_for(make_source: Callable[..., TableSource]) -> None:
    assert make_source().table().provenance["unknown_ages"] is None


@pytest.mark.parametrize("missing", ["", "nan", "NA", "N/A", "None", "null", "NaN"])
def test_a_missing_patient_is_rejected_however_it_is_spelled(
    make_source: Callable[..., TableSource], missing: str
) -> None:
    table = make_source(CHEXPERT.replace(",p2,", f",{missing},")).table()
    assert ("p2/view1.jpg", "no patient in the label table") in [(r.image, r.reason) for r in table.rejections]


def test_a_wrong_column_for_sex_or_view_is_said(make_source: Callable[..., TableSource]) -> None:
    table = make_source(sex_column="Age", view_columns=("AP/PA",)).table()
    assert table.provenance["unknown_sexes"] == len(table.records)
    assert table.provenance["unknown_views"] == 1
    notes = list(source_notes(table.provenance))
    assert (
        f"{len(table.records)} sexes are unknown: they are blank, or not written as F, M, female or male" in notes
    )


@pytest.mark.parametrize(
    ("options", "patients", "said"),
    [
        ({"image_is_patient": True}, ["p1/view1.jpg", "p1/view2.jpg"], "each image counts as another patient"),
        ({"patient_from": r"(p\d+)/"}, ["p1", "p1"], r"pattern (p\d+)/ in image names"),
    ],
)
def test_patients_without_a_column(
    make_source: Callable[..., TableSource], options: dict[str, object], patients: list[str], said: str
) -> None:
    table = make_source(patient_column=None, **options).table()
    assert [record.patient for record in table.records[:2]] == patients
    assert table.provenance["patients"] == said


def test_a_name_without_a_patient_is_rejected(make_source: Callable[..., TableSource]) -> None:
    table = make_source(patient_column=None, patient_from="(p1)").table()
    assert {record.patient for record in table.records} == {"p1"}
    reason = "its name has no patient as --patient-from (p1) finds one"
    assert ("p2/view1.jpg", reason) in [(r.image, r.reason) for r in table.rejections]


def test_a_pack_of_some_views(make_source: Callable[..., TableSource]) -> None:
    table = make_source(view_columns=("AP/PA",), frontal=True).table()
    assert [record.view for record in table.records] == ["AP", "PA"]
    assert table.provenance["images_of_other_views"] == {"unknown": 1}
    assert not any(rejection.image == "p1/view2.jpg" for rejection in table.rejections)
    only = make_source(view_columns=("AP/PA",), views=("postero-anterior",)).table()
    assert [record.view for record in only.records] == ["PA"]
    assert only.provenance["images_of_other_views"] == {"AP": 1, "unknown": 1}


@pytest.mark.parametrize(
    ("text", "options", "message"),
    [
        (CHEXPERT.replace("1.0,-1.0", "1.0,maybe"), {}, "row 2, Edema: 'maybe' is not a label; 1 is yes"),
        (CHEXPERT.replace("1.0,-1.0", "1.0,0.7"), {}, "row 2, Edema: '0.7' lies between no .* choose a threshold"),
        (CHEXPERT, {"image_column": "Pth"}, r"unknown column: 'Pth'; did you mean 'Path'\?"),
        (CHEXPERT, {"patient_column": "patient"}, "unknown column: 'patient'; known are Path, Who"),
        (
            CHEXPERT,
            {"patient_column": None},
            "--patient-column COLUMN, or --patient-from .* or --image-is-patient",
        ),
        (CHEXPERT, {"patient_from": "(p1)"}, "--patient-column and --patient-from are given"),
        (CHEXPERT, {"patient_column": None, "patient_from": "p1"}, "has 0 groups; put what names"),
        (CHEXPERT, {"patient_column": None, "patient_from": "(p1"}, "no regular expression"),
        (CHEXPERT, {"label_columns": (("Edemas", "edema"),)}, "did you mean 'Edema'"),
        (CHEXPERT, {"label_columns": (("Sex", "efusion"),)}, "did you mean 'effusion'"),
        (CHEXPERT, {"label_columns": (("Edema", "mass"), ("Sex", "mass"))}, "two columns are given for mass"),
        (CHEXPERT.replace("Sex", "EDEMA"), {}, "two columns for edema"),
        (CHEXPERT, {"split_column": "Sex"}, "row 2: unknown split: 'Female'"),
        (CHEXPERT, {"frontal": True}, "--frontal needs --view-column"),
        ("Path,Who,Fracture\np1/view1.jpg,1,1\n", {}, "no column named like one of atelectasis"),
    ],
)
def test_a_mistake_is_named_with_its_remedy(
    make_source: Callable[..., TableSource], text: str, options: dict[str, object], message: str
) -> None:
    with pytest.raises(SourceError, match=message):
        make_source(text, **options).table()


def test_one_row_per_study(make_source: Callable[..., TableSource], tmp_path: Path) -> None:
    folders = "Path,Who,Mass\np1,p1,1\np2,p2,0\n"
    of_folders = make_source(folders, image_is_folder=True).table()
    (tmp_path / "studies.csv").write_text("Who,Mass\np1,1\np2,0\n")
    images = "Path,Who\np1/view1.jpg,p1\np1/view2.jpg,p1\np2/view1.jpg,p2\n"
    of_join = make_source(images, join=(tmp_path / "studies.csv",)).table()
    assert of_folders.records == of_join.records
    mass = PATHOLOGIES.index("mass")
    assert [(record.image, record.labels[mass]) for record in of_join.records] == [
        *(("p1/view1.jpg", 1), ("p1/view2.jpg", 1), ("p2/view1.jpg", 0)),
    ]
