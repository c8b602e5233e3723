from pathlib import Path

from clr_hpc.data.rejections import counted_reasons, nothing_left
from clr_hpc.data.source import Rejection


def rejections(*reasons: str) -> list[Rejection]:
    return [Rejection(f"{number}.png", reason) for number, reason in enumerate(reasons)]


def test_reasons_that_differ_in_a_number_or_a_name_are_counted_as_one() -> None:
    given = rejections("no label", "rows 2, 3 contradict", "rows 4, 7, 9 contradict", "no label", "'x' is unknown")
    assert counted_reasons(given) == "2 × no label, 2 × such as: rows 2, 3 contradict, 1 × 'x' is unknown"


def test_the_most_frequent_reasons_are_shown() -> None:
    given = rejections(*(f"reason {letter}" for letter in "abcdefgh"), "reason h")
    shown = counted_reasons(given)
    assert shown.startswith("2 × reason h, 1 × reason a")
    assert shown.endswith("2 further reasons")


def test_where_nothing_is_left_the_reasons_are_given_or_the_paths_doubted() -> None:
    listing = Path("out.partial/pack/rejected.csv")
    assert nothing_left(rejections("no label"), {}, listing) == (
        "no image is left to pack: 1 × no label; out.partial/pack/rejected.csv lists each"
    )
    assert "(1,234 rows have no file); check both paths" in nothing_left([], {"rows_without_file": 1234}, listing)
    of_other_views = {"images_of_other_views": {"LATERAL": 3}, "rows_without_file": 0}
    assert "no image is of a view that is wanted" in nothing_left([], of_other_views, listing)
