import pytest

from clr_hpc.data.tables.values import parse_age_years, parse_sex


@pytest.mark.parametrize(
    ("text", "years"),
    [
        ("58", 58),
        ("058Y", 58),
        ("006M", 0.5),
        ("014D", 0.038),
        ("002W", 0.038),
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
