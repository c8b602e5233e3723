"""What a campaign draws, and how it counts."""

from campaign.__main__ import COUNTED, Drawn, Ended, table
from campaign.faults import PLACES

ALL = list(PLACES)


def draw(number: int) -> tuple[str, str, str, float]:
    drawn = Drawn.of(1, number, ALL)
    return drawn.place, drawn.fault.kind, str(drawn.moment), drawn.chance.random()


def test_seed_and_number_say_all_of_a_fault() -> None:
    faults = [draw(number) for number in range(1, 201)]
    assert draw(17) == faults[16]
    assert len(set(faults)) == 200
    assert {place for place, *_ in faults} == set(ALL)


def test_a_kind_has_one_name_at_a_place() -> None:
    for kinds, _ in PLACES.values():
        assert len({fault.kind for fault in kinds}) == len(kinds)


def test_the_table_counts_what_was_wrong() -> None:
    drawn = [Drawn.of(1, number, ["here"]) for number in (1, 2)]
    found = [Ended(drawn[0], "went on"), Ended(drawn[1], "rerun 1x", wrong={"lost": ["a", "b"], "bytes": ["c"]})]
    last = table(found).splitlines()[-1].split()
    assert last[:2] == ["all", "2"]
    assert [int(number) for number in last[2 : 2 + len(COUNTED)]] == [2, 0, 0, 0, 0, 1]
    assert " ".join(last[2 + len(COUNTED) :]) == "1 rerun 1x, 1 went on"
