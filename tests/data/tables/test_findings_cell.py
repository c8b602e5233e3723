import pytest

from clr_hpc.config.pathologies import PATHOLOGIES
from clr_hpc.data.tables.findings_cell import OTHER, FindingsCells
from clr_hpc.data.tables.values import ValueRules

FINDINGS = (*PATHOLOGIES, "fracture", "support_devices")
NAMES = {
    "fracture": ("fracture",),
    "nodule/mass": ("nodule", "mass"),
    "tube": ("support_devices",),
    "scoliosis": (OTHER,),
}


def cells(rules: ValueRules | None = None, ignores_others: bool = False) -> FindingsCells:
    return FindingsCells(FINDINGS, NAMES, rules or ValueRules(), ignores_others)


def read(text: str, **options: object) -> tuple[set[str], int]:
    labels, clear = cells(**options).labels(text)
    return {name for name, label in zip(FINDINGS, labels, strict=True) if label == 1}, clear


@pytest.mark.parametrize(
    "text",
    [
        "Pleural Effusion|Mass",
        "['pleural effusion', 'mass']",
        "['pleural effusion' 'mass']",
        '["Effusion", "Mass"]',
        "[Effusion, Mass]",
        "effusion;mass",
        "Effusion, Mass",
        "Mass,Effusion,",
        "Effusion Mass",
        "Mass Pleural  Effusion",
        "EFFUSION\nMASS",
    ],
)
def test_lists_as_people_write_them(text: str) -> None:
    assert read(text) == ({"effusion", "mass"}, 0)


def test_a_name_of_several_words_is_one_finding() -> None:
    assert read("Pleural Thickening") == ({"pleural_thickening"}, 0)


@pytest.mark.parametrize("text", ["No Finding", "['normal']", "No Finding|"])
def test_nothing_was_found(text: str) -> None:
    assert read(text) == (set(), 1)


def test_names_of_the_pack() -> None:
    assert read("Fracture|Nodule/Mass") == ({"fracture", "nodule", "mass"}, 0)
    assert read("scoliosis") == (set(), 0)


def test_support_devices_are_no_disease() -> None:
    assert read("No Finding|tube") == ({"support_devices"}, 1)
    assert read("tube") == ({"support_devices"}, -1)


@pytest.mark.parametrize("text", ["", "NA", "[]", "nan|"])
def test_a_blank_cell_says_nothing_unless_it_means_no(text: str) -> None:
    assert set(cells().labels(text)[0]) == {-1}
    assert read(text, rules=ValueRules(blank="negative")) == (set(), 1)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("Effusion|Efusion", "'Efusion' is none of the pack's findings"),
        ("Pneumonia/Viral", "'Pneumonia/Viral' is none"),
        ("No Finding|Mass", "'No Finding' together with a finding"),
        ("No Finding, scoliosis", "'No Finding' together with a finding"),
    ],
)
def test_what_is_unknown_or_contradicts_is_named(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        read(text)


def test_other_names_may_be_left_out() -> None:
    assert read("Mass|Kyphosis", ignores_others=True) == ({"mass"}, 0)
    assert read("Kyphosis", ignores_others=True) == (set(), 0)
