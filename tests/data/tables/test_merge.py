from itertools import permutations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clr_hpc.data.source import ImageRecord
from clr_hpc.data.tables.merge import ContradictionError, merge, unite, vote

FINDINGS = ("effusion", "mass")


def record(*labels: int, clear: int | None = None, **fields: object) -> ImageRecord:
    return ImageRecord(**{"image": "a.png", "patient": "p", "labels": labels, "no_finding": clear, **fields})


def test_what_one_row_leaves_open_another_may_know() -> None:
    rows = [record(1, -1, view="PA"), record(-1, 0, age_years=50.0), record(-1, -1, patient="")]
    assert merge(rows, FINDINGS) == record(1, 0, view="PA", age_years=50.0)


@pytest.mark.parametrize(
    ("first", "second", "message"),
    [
        (record(1, 0), record(1, 1), "Mass 1 and 0"),
        (record(1, 0), record(1, 0, patient="q"), "patient p and q"),
        (record(1, 0, view="PA"), record(1, 0, view="AP"), "view PA and AP"),
        (record(0, 0, clear=1), record(0, 0, clear=0), "No finding 1 and 0"),
        (
            record(0, 0, official_split="train"),
            record(0, 0, official_split="test"),
            "official split train and test",
        ),
    ],
)
def test_a_contradiction_is_named(first: ImageRecord, second: ImageRecord, message: str) -> None:
    with pytest.raises(ContradictionError, match=message):
        merge([first, second], FINDINGS)


RECORDS = st.builds(
    lambda labels, view, clear: record(*labels, view=view, clear=clear),
    st.tuples(st.sampled_from((-1, 0, 1)), st.sampled_from((-1, 0, 1))),
    st.sampled_from((None, "PA", "AP")),
    st.sampled_from((-1, 0, 1)),
)


def outcome(records: list[ImageRecord]) -> ImageRecord | None:
    try:
        return merge(records, FINDINGS)
    except ContradictionError:
        return None


@settings(max_examples=40)
@given(st.lists(RECORDS, min_size=1, max_size=4))
def test_neither_order_nor_repetition_matters(records: list[ImageRecord]) -> None:
    merged = outcome(records)
    assert all(outcome(list(order)) == merged for order in permutations(records))
    assert outcome(records * 2) == merged
    if merged is not None:
        assert outcome([*records, merged]) == merged


def test_rows_that_name_one_finding_each_are_united() -> None:
    assert unite([record(1, 0, clear=0), record(0, 1, clear=0)]) == record(1, 1, clear=0)
    assert unite([record(0, 0, clear=1), record(0, 0, clear=-1)]) == record(0, 0, clear=1)
    with pytest.raises(ContradictionError, match="'No Finding' and a finding"):
        unite([record(0, 0, clear=1), record(1, 0, clear=0)])


@pytest.mark.parametrize(
    ("votes", "of_any", "of_majority", "of_all"),
    [
        ((1, 0, 0), 1, 0, 0),
        ((1, 1, 0), 1, 1, 0),
        ((1, 1, 1), 1, 1, 1),
        ((0, 0, 0), 0, 0, 0),
        ((1, 0), 1, -1, 0),
        ((1, -1, -1), 1, 1, 1),
        ((0, -1), 0, 0, 0),
        ((-1, -1), -1, -1, -1),
    ],
)
def test_readers_are_counted(votes: tuple[int, ...], of_any: int, of_majority: int, of_all: int) -> None:
    records = [record(vote, -1) for vote in votes]
    assert [vote(records, rule).labels[0] for rule in ("any", "majority", "all")] == [of_any, of_majority, of_all]


def test_readers_who_found_different_things_make_no_clear_image() -> None:
    records = [record(1, 0, clear=0), record(0, 1, clear=0), record(0, 0, clear=1)]
    assert vote(records[:2], "all") == record(0, 0, clear=0)
    assert vote(records, "majority") == record(0, 0, clear=0)
    assert vote(records, "all") == record(0, 0, clear=1)
