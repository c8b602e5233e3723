from collections.abc import Sequence

import pytest

from clr_hpc.config.pathologies import NEGATIVE, POSITIVE, UNKNOWN
from clr_hpc.data.index_rows import index_rows
from clr_hpc.data.shards import Outcome
from clr_hpc.data.source import ImageRecord
from clr_hpc.data.splits import SplitName

Given = tuple[str, str, int, SplitName, str]
"""Image, patient, one label, side, SHA-256."""


def result(images: Sequence[Given]) -> tuple[list[str], dict[str, str]]:
    kept = [(ImageRecord(image, patient, (label,) * 14), side) for image, patient, label, side, _ in images]
    rows, rejections = index_rows(kept, [Outcome(sha256, None) for *_, sha256 in images], 100)
    assert [row.row for row in rows] == [
        place for place, (image, *_) in enumerate(images) if image in {row.record.image for row in rows}
    ]
    return [row.record.image for row in rows], {each.image: each.reason for each in rejections}


def test_files_with_the_same_bytes_and_labels_that_agree_are_one_image() -> None:
    used, left_out = result(
        [
            ("a", "1", POSITIVE, "train", "same"),
            ("b", "1", UNKNOWN, "train", "same"),
            ("c", "1", POSITIVE, "train", "same"),
            ("d", "2", NEGATIVE, "test", "other"),
        ]
    )
    assert used == ["a", "d"]
    assert left_out == dict.fromkeys("bc", "same bytes as a, which is used")


def test_files_with_the_same_bytes_and_contradicting_labels_are_all_left_out() -> None:
    used, left_out = result(
        [
            ("a", "1", POSITIVE, "train", "same"),
            ("b", "1", NEGATIVE, "train", "same"),
            ("c", "1", NEGATIVE, "train", "same"),
            ("d", "2", NEGATIVE, "test", "other"),
        ]
    )
    assert used == ["d"]
    assert left_out == {
        "a": "same bytes as b, and their labels contradict one another",
        "b": "same bytes as a, and their labels contradict one another",
        "c": "same bytes as a, and their labels contradict one another",
    }


def test_what_a_source_says_of_no_finding_can_contradict_too() -> None:
    records = [
        ImageRecord(image, "1", (UNKNOWN,) * 14, no_finding=value)
        for image, value in (("a", POSITIVE), ("b", NEGATIVE), ("c", None))
    ]
    rows, _ = index_rows([(record, "train") for record in records], [Outcome("same", None)] * 3, 100)
    assert rows == []


@pytest.mark.parametrize(
    ("side_of_the_other", "further", "used"),
    [
        ("train", "same", ["a", "c"]),  # no leak: one side
        ("test", "same", ["c"]),  # 2 would be on both sides if it is the same person
        ("test", "none", ["a", "c"]),  # 2 has no other image
    ],
)
def test_the_same_bytes_under_two_patients_are_left_out_where_one_could_be_on_two_sides(
    side_of_the_other: SplitName, further: str, used: list[str]
) -> None:
    found, left_out = result(
        [
            ("a", "1", POSITIVE, "train", "same"),
            ("b", "2", POSITIVE, side_of_the_other, "same"),
            ("c", "2" if further == "same" else "3", POSITIVE, side_of_the_other, "other"),
        ]
    )
    assert found == used
    if "a" not in used:
        reason = "same bytes as b, and their patients are on two sides of the split (train and test)"
        assert left_out == {"a": reason, "b": reason.replace("as b", "as a")}
