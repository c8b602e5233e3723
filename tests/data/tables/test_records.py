from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clr_hpc.config.pathologies import PATHOLOGIES
from clr_hpc.data.source import SourceError
from clr_hpc.data.tables.label_table import read_label_table
from clr_hpc.data.tables.layout import TableLayout
from clr_hpc.data.tables.records import TableRecords, read_records
from clr_hpc.data.tables.values import ValueRules


@pytest.fixture(scope="module")
def read(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., TableRecords]:
    path = tmp_path_factory.mktemp("records") / "table.csv"

    def of(text: str, **layout: object) -> TableRecords:
        path.write_text(text, encoding="utf-8")
        patients = {} if {"patient", "patient_from"} & layout.keys() else {"image_is_patient": True}
        return read_records(read_label_table(path), TableLayout(**{"image": "image", **patients, **layout}))

    return of


def labels_of(read: TableRecords) -> dict[str, dict[str, int]]:
    """Return the labels of each image that are not as most are."""
    return {
        record.image: {
            name: label for name, label in zip(read.findings, record.labels, strict=True) if label != -1
        }
        for record in read.records
    }


def reasons(read: TableRecords) -> dict[str, str]:
    return {rejection.image: rejection.reason for rejection in read.rejections}


def test_one_row_per_box(read: Callable[..., TableRecords]) -> None:
    text = "image,patient,x,y,Target\na,1,264,152,1\na,1,562,152,1.0\nb,2,,,0\n"
    found = read(text, patient="patient", labels=(("Target", "pneumonia"),))
    assert labels_of(found) == {"a": {"pneumonia": 1}, "b": {"pneumonia": 0}}
    assert found.rejections == ()


def test_rows_that_contradict_are_named_with_what_differs(read: Callable[..., TableRecords]) -> None:
    found = read("image,rad,Mass,Edema\na,1,1,0\na,2,0,0\nb,1,1,\nb,2,,0\n")
    assert labels_of(found) == {"b": {"mass": 1, "edema": 0}}
    assert reasons(found) == {
        "a": "rows 2, 3 of the table contradict one another: Mass 1 and 0; if several readers wrote them, give "
        "--readers any, majority or all"
    }
    other = read("image,who,Mass\na,1,1\na,2,1\n", patient="who")
    assert reasons(other) == {"a": "rows 2, 3 of the table contradict one another: patient 1 and 2"}


@pytest.mark.parametrize(("rule", "label"), [("any", 1), ("majority", 0), ("all", 0)])
def test_one_row_per_reader(read: Callable[..., TableRecords], rule: str, label: int) -> None:
    text = "image,rad,Mass,No finding\na,R1,1,0\na,R2,0,1\na,R3,0,1\n"
    found = read(text, reader="rad", readers=rule)
    assert labels_of(found)["a"]["mass"] == label
    assert found.records[0].no_finding == (0 if rule == "any" else 1)


def test_one_row_per_finding_and_reader(read: Callable[..., TableRecords]) -> None:
    rows = ["R1,Mass", "R1,Nodule/Mass", "R2,Mass", "R2,Effusion", "R3,No finding"]
    text = "image,rad,class_name\n" + "".join(f"a,{row}\n" for row in rows) + "b,R1,No finding\nb,R2,No finding\n"
    layout = {
        "findings_column": "class_name",
        "reader": "rad",
        "labels": (("Nodule/Mass", "nodule"), ("Nodule/Mass", "mass")),
    }
    found = {
        rule: {name for name, label in labels_of(read(text, readers=rule, **layout))["a"].items() if label}
        for rule in ("any", "majority", "all")
    }
    assert found == {"any": {"mass", "nodule", "effusion"}, "majority": {"mass"}, "all": set()}
    both = read(text, readers="majority", **layout)
    assert both.provenance["rows_are"] == "finding"
    assert [(record.image, record.no_finding) for record in both.records] == [("a", 0), ("b", 1)]


def test_a_column_that_lists_findings(read: Callable[..., TableRecords]) -> None:
    text = "image,found\na,Mass|Fracture\nb,No Finding\nc,Efusion\nd,\ne,Mass\ne,Edema\n"
    found = read(text, findings_column="found", findings=("Fracture",))
    assert found.findings == (*PATHOLOGIES, "fracture")
    positive = {image: {name for name in labels if labels[name]} for image, labels in labels_of(found).items()}
    assert positive == {"a": {"mass", "fracture"}, "b": set()}
    assert reasons(found) == {
        "c": "'Efusion' is none of the pack's findings",
        "d": "no label in the label table",
        "e": "rows 6, 7 of the table contradict one another: Edema 1 and 0; if several readers wrote them, give "
        "--readers any, majority or all",
    }
    united = read(text, findings_column="found", findings=("Fracture",), rows="finding")
    assert {name for name, label in labels_of(united)["e"].items() if label} == {"mass", "edema"}


def test_a_column_next_to_a_list(read: Callable[..., TableRecords]) -> None:
    text = "image,found,tube\na,Mass,1\nb,No Finding,1\nc,Mass,\n"
    found = read(text, findings_column="found", labels=(("tube", "Support devices"),))
    assert [labels_of(found)[image].get("support_devices") for image in "abc"] == [1, 1, 0]
    assert [record.no_finding for record in found.records] == [0, 1, 0]


def test_no_finding_makes_the_rest_negative(read: Callable[..., TableRecords]) -> None:
    text = (
        "image,No Finding,Mass,Edema,Support Devices,Fracture\n"
        "a,1.0,,,1,\nb,,1,,,\nc,0,,-1,,0\nd,1,1,,,\ne,1,,,,1\n"
    )
    found = read(text, findings=("Support Devices", "Fracture"))
    assert labels_of(found)["a"] == dict.fromkeys((*PATHOLOGIES, "fracture"), 0) | {"support_devices": 1}
    assert labels_of(found)["b"] == {"mass": 1}
    assert [(record.image, record.no_finding) for record in found.records] == [("a", 1), ("b", 0), ("c", 0)]
    assert reasons(found) == {"d": "'No Finding' together with Mass", "e": "'No Finding' together with Fracture"}


def test_without_such_a_column_it_follows_from_the_labels(read: Callable[..., TableRecords]) -> None:
    assert read("image,Mass\na,1\n").records[0].no_finding is None


@pytest.mark.parametrize(("meaning", "label"), [("negative", 0), ("positive", 1)])
def test_blank_and_uncertain(read: Callable[..., TableRecords], meaning: str, label: int) -> None:
    text = "image,Mass,Edema,No Finding\na,,-1,\n"
    assert labels_of(read(text, values=ValueRules(blank=meaning)))["a"]["mass"] == label
    found = read(text, values=ValueRules(uncertain=meaning))
    assert labels_of(found)["a"] == {"edema": label}
    assert (found.provenance["blank"], found.provenance["uncertain"]) == ("unknown", meaning)


def test_a_column_may_be_a_finding_of_its_own_or_two(read: Callable[..., TableRecords]) -> None:
    text = "image,Nodule/Mass,Rib fracture,Opacity\na,1,0,1\n"
    pairs = (("Nodule/Mass", "nodule"), ("Nodule/Mass", "Mass"), ("Opacity", "lung opacity"))
    found = read(text, labels=pairs, findings=("Rib fracture",))
    assert found.findings == (*PATHOLOGIES, "lung_opacity", "rib_fracture")
    assert labels_of(found)["a"] == {"mass": 1, "nodule": 1, "lung_opacity": 1, "rib_fracture": 0}


def test_a_given_column_goes_before_the_one_of_the_same_name(read: Callable[..., TableRecords]) -> None:
    assert labels_of(read("image,mass,my_mass\na.png,0,1\n", labels=(("my_mass", "Mass"),))) == {
        "a.png": {"mass": 1}
    }


def test_short_rows_and_rows_without_an_image_are_rejected_by_number(read: Callable[..., TableRecords]) -> None:
    found = read("image,age,Mass\na,50,1\nb,50\n,50,1\nnan,50,1\n")
    assert [record.image for record in found.records] == ["a"]
    assert [(rejection.image, rejection.reason) for rejection in found.rejections] == [
        ("b", "row 3 of the table has 2 cells under 3 columns"),
        ("", "row 4 of the table names no image"),
        ("", "row 5 of the table names no image"),
    ]
    assert found.names == {"a", "b"}


def test_the_first_view_column_that_says_something_counts(read: Callable[..., TableRecords]) -> None:
    text = "image,AP/PA,Frontal/Lateral,Mass\na,AP,Frontal,1\nb,,Lateral,1\nc,,Frontal,1\nd,,,1\n"
    found = read(text, view=("AP/PA", "Frontal/Lateral"))
    assert [record.view for record in found.records] == ["AP", "LATERAL", "FRONTAL", None]


def test_all_rows_without_a_label_are_no_error_of_the_patients(read: Callable[..., TableRecords]) -> None:
    assert read("image,Mass\na,\n", image_is_patient=False).records == ()
    with pytest.raises(SourceError, match="nothing says which images are of one patient"):
        read("image,Mass\na,1\n", image_is_patient=False)


SPELLINGS = {"yes": ("1", "1.0", "Y", "true", "+"), "no": ("0", "0.0", "No"), "open": ("", "NA", "nan", "null")}


@settings(max_examples=30)
@given(
    st.lists(st.lists(st.sampled_from(list(SPELLINGS)), min_size=2, max_size=2), min_size=1, max_size=4), st.data()
)
def test_spelling_order_and_repetition_change_nothing(
    read: Callable[..., TableRecords], meanings: list[list[str]], data: st.DataObject
) -> None:
    def row(number: int) -> str:
        cells = [data.draw(st.sampled_from(SPELLINGS[meaning])) for meaning in meanings[number]]
        return f"{number}.png,{','.join(cells)}"

    numbers = list(range(len(meanings)))
    repeated = [*numbers, *data.draw(st.lists(st.sampled_from(numbers), max_size=4))]
    texts = ["image,Mass,Edema\n" + "".join(f"{row(n)}\n" for n in order)
             for order in (numbers, data.draw(st.permutations(repeated)))]  # fmt: skip
    first, second = ({record.image: record for record in read(text).records} for text in texts)
    assert first == second
