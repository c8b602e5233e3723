import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from clr_hpc.inference.overlap import find_overlap

OWN = [("x", "p", "train"), ("y", "p", "train"), ("z", "q", "validation"), ("t", "r", "test")]
COLUMNS = ["source_sha256", "patient", "split"]


def index(*rows: tuple[str, str, str]) -> pd.DataFrame:
    return pd.DataFrame(list(rows), columns=COLUMNS, dtype="string")


@pytest.mark.parametrize(
    ("other", "seen", "left_out", "tested"),
    [
        ([("a", "p", "train")], "", "", ""),  # a name that two packs give is not one patient
        ([("x", "1", "test"), ("a", "1", "test"), ("b", "2", "train")], "x", "xa", ""),
        ([("z", "1", "test"), ("t", "2", "test"), ("b", "3", "train")], "z", "z", "t"),
        ([("x", "1", "test"), ("t", "1", "test")], "x", "xt", ""),  # left out, so that it doesn't stay
    ],
)
def test_whoever_was_seen_is_left_out(
    other: list[tuple[str, str, str]], seen: str, left_out: str, tested: str
) -> None:
    table = index(*other)
    found = find_overlap(index(*OWN), table)
    masks = (found.seen, found.left_out, found.tested)
    assert tuple("".join(table["source_sha256"][mask]) for mask in masks) == (seen, left_out, tested)


def test_a_patient_on_two_sides_is_known() -> None:
    """A pack of somebody else's making may have one: then the test images are of somebody who was trained on."""
    own = index(*OWN, ("u", "p", "test"))
    assert find_overlap(own, index(("u", "1", "test"))).left_out.tolist() == [True]


rows = st.lists(
    st.tuples(
        st.sampled_from("abcdefgh"), st.sampled_from("1234"), st.sampled_from(["train", "validation", "test"])
    ),
    max_size=8,
    unique_by=lambda row: row[0],
)


@given(rows, rows)
def test_no_image_of_a_seen_patient_remains(
    own: list[tuple[str, str, str]], other: list[tuple[str, str, str]]
) -> None:
    mine, theirs = index(*own), index(*other)
    found = find_overlap(mine, theirs)
    known = {file for file, patient, _ in own if any(p == patient and split != "test" for _, p, split in own)}
    suspects = {patient for file, patient, _ in other if file in known}
    assert {patient for _, patient, _ in other if patient not in suspects} == set(
        theirs["patient"][~found.left_out]
    )
    assert not (found.left_out & found.tested).any()
    assert not (found.seen & ~found.left_out).any()
