from collections.abc import Callable
from pathlib import Path

import pytest

from clr_hpc.config.pathologies import PATHOLOGIES
from clr_hpc.data.source import SourceError
from clr_hpc.data.sources.table import TableSource, find_label_columns
from clr_hpc.data.tables.label_table import read_label_table

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
        named = {"image_column": "Path", "label_columns": {"Pleural Effusion": "effusion"}, **options}
        return TableSource(images=tmp_path / "images", labels=tmp_path / "table.csv", **named)

    return make


def test_a_table_of_another_publisher(make_source: Callable[..., TableSource]) -> None:
    source = make_source(
        patient_column="Who", sex_column="Sex", age_column="Age", view_column="AP/PA", split_column="Part"
    )
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
        "effusion": "Pleural Effusion",
        "cardiomegaly": "Cardiomegaly",
        "edema": "Edema",
    }


def test_without_a_patient_column_each_image_is_its_own_patient(make_source: Callable[..., TableSource]) -> None:
    records = make_source().table().records
    assert [record.patient for record in records] == [record.image for record in records]


def test_a_blank_patient_is_rejected(make_source: Callable[..., TableSource]) -> None:
    table = make_source(CHEXPERT.replace(",p2,", ",,"), patient_column="Who").table()
    assert ("p2/view1.jpg", "no patient in the label table") in [(r.image, r.reason) for r in table.rejections]


@pytest.mark.parametrize(
    ("text", "options", "message"),
    [
        (CHEXPERT.replace("1.0,-1.0", "1.0,maybe"), {}, "row 2, Edema: 'maybe' is not a label; 1 is yes"),
        (CHEXPERT, {"image_column": "Pth"}, r"unknown column: 'Pth'; did you mean 'Path'\?"),
        (CHEXPERT, {"patient_column": "patient"}, "unknown column: 'patient'; known are Path, Who"),
        (CHEXPERT, {"label_columns": {"Pleural Effusions": "effusion"}}, "did you mean 'Pleural Effusion'"),
        (CHEXPERT, {"label_columns": {"Pleural Effusion": "efusion"}}, "did you mean 'effusion'"),
        (CHEXPERT, {"label_columns": {"Edema": "mass", "Sex": "mass"}}, "two columns are given for mass"),
        (CHEXPERT.replace("Sex", "EDEMA"), {}, "two columns of the name edema"),
        (CHEXPERT, {"split_column": "Sex"}, "row 2: unknown split: 'Female'"),
        ("Path,Fracture\np1/view1.jpg,1\n", {"label_columns": {}}, "no column named like one of atelectasis"),
    ],
)
def test_a_mistake_is_named_with_its_remedy(
    make_source: Callable[..., TableSource], text: str, options: dict[str, object], message: str
) -> None:
    with pytest.raises(SourceError, match=message):
        make_source(text, **options).table()


def test_a_given_column_goes_before_the_one_of_the_same_name(tmp_path: Path) -> None:
    path = tmp_path / "table.csv"
    path.write_text("image,mass,my_mass\na.png,0,1\n")
    assert find_label_columns(read_label_table(path), {"my_mass": "Mass"}) == {"mass": 2}
