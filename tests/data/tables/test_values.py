import pytest

from clr_hpc.config.pathologies import NEGATIVE, POSITIVE, UNKNOWN
from clr_hpc.data.tables.values import (
    Meaning,
    ValueRules,
    is_missing,
    parse_age_years,
    parse_number,
    parse_sex,
    parse_view,
)

SPELLINGS = {
    POSITIVE: ("1", "1.0", "1,0", "01", "+1", "yes", "Y", "true", "TRUE", "positive", "Pos", "present", "+"),
    NEGATIVE: ("0", "0.0", "0.00", "no", "N", "false", "negative", "absent"),
    UNKNOWN: ("", " ", "NA", "N/A", "nan", "NaN", "null", "None", "-1", "-1.0", "uncertain", "unknown", "?"),
}


@pytest.mark.parametrize("label", SPELLINGS)
def test_labels_are_compared_by_meaning(label: int) -> None:
    assert {ValueRules().label(text) for text in SPELLINGS[label]} == {label}


@pytest.mark.parametrize(("meaning", "label"), [("unknown", -1), ("negative", 0), ("positive", 1)])
def test_blank_and_uncertain_mean_what_the_rules_say(meaning: Meaning, label: int) -> None:
    assert [ValueRules(blank=meaning).label(text) for text in ("", "NA", "-1", "unknown")] == [
        label,
        label,
        -1,
        -1,
    ]
    assert [ValueRules(uncertain=meaning).label(text) for text in ("", "-1.0", "u", "?")] == [-1, label, label, -1]


@pytest.mark.parametrize("text", ["maybe", "2", "-2", "1e9", "0.5", "-", "yes?"])
def test_what_is_no_label_is_named_with_a_remedy(text: str) -> None:
    with pytest.raises(ValueError, match=r"is not a label; 1 is yes|choose a threshold"):
        ValueRules().label(text)


def test_a_publisher_may_have_spellings_of_its_own() -> None:
    masks = ValueRules(words=(("-1", "negative"),), other="positive")
    assert [masks.label(text) for text in ("-1", "551 2 1023 1")] == [NEGATIVE, POSITIVE]


def test_numbers_and_missing_cells() -> None:
    assert [parse_number(text) for text in ("1.5", "1,5", " -3 ", "1e2", ".5", "x", "1.2.3", "", "1_0")] == [
        *(1.5, 1.5, -3, 100, 0.5, None, None, None, None),
    ]
    assert [is_missing(text) for text in ("", "N/a", "NULL", "0", "nanny")] == [True, True, True, False, False]


@pytest.mark.parametrize(
    ("text", "years"),
    [
        ("58", 58),
        ("058Y", 58),
        ("006M", 0.5),
        ("014D", 0.038),
        ("002W", 0.038),
        ("58,5", 58.5),
        ("120", 120),
        ("414", None),
        ("", None),
        ("unknown", None),
        ("-3", None),
    ],
)
def test_ages(text: str, years: float | None) -> None:
    assert parse_age_years(text) == years


def test_sexes() -> None:
    assert [parse_sex(text) for text in ("F", "male", " Female ", "", "O")] == ["F", "M", "F", None, None]


def test_views_by_their_synonyms() -> None:
    assert [parse_view(text) for text in ("pa", "Postero-Anterior", "AP_horizontal", "AP Supine", "LL", "L")] == [
        *("PA", "PA", "AP", "AP", "LATERAL", "LATERAL"),
    ]
    assert [parse_view(text) for text in ("Frontal", "COSTAL", "", "nan")] == ["FRONTAL", "COSTAL", None, None]
