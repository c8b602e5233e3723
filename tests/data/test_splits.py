import pytest
from hypothesis import given
from hypothesis import strategies as st

from clr_hpc.data.source import ImageRecord
from clr_hpc.data.splits import OfficialSplit, SeededSplit, assign_splits, patient_draw

PATIENTS = st.lists(st.integers(0, 40).map(str), min_size=1, max_size=120)


def records(patients: list[str], official: list[str | None] | None = None) -> list[ImageRecord]:
    sides = official or [None] * len(patients)
    return [
        ImageRecord(image=f"{number:04d}.png", patient=patient, labels=(0,) * 14, official_split=side)
        for number, (patient, side) in enumerate(zip(patients, sides, strict=True))
    ]


@given(PATIENTS, st.integers(), st.floats(0, 0.49), st.floats(0, 0.49))
def test_a_patient_is_on_one_side(patients: list[str], seed: int, validation: float, test: float) -> None:
    split = SeededSplit(seed=seed, validation_fraction=validation, test_fraction=test)
    sides, rejections = assign_splits(records(patients), split)
    assert rejections == []
    assert len({(patient, side) for patient, side in zip(patients, sides, strict=True)}) == len(set(patients))


@given(PATIENTS, PATIENTS, st.integers())
def test_further_patients_move_nobody(patients: list[str], more: list[str], seed: int) -> None:
    split = SeededSplit(seed=seed)
    alone, _ = assign_splits(records(patients), split)
    together, _ = assign_splits(records(patients + more), split)
    assert together[: len(patients)] == alone


@given(PATIENTS, st.integers(), st.floats(0, 0.99))
def test_the_official_test_images_stay_test_and_no_other_joins_them(
    patients: list[str], seed: int, validation: float
) -> None:
    official = ["test" if int(patient) % 3 == 0 else "train_val" for patient in patients]
    sides, _ = assign_splits(records(patients, official), OfficialSplit(seed=seed, validation_fraction=validation))
    assert [side == "test" for side in sides] == [side == "test" for side in official]
    assert len(set(zip(patients, sides, strict=True))) == len(set(patients))


def test_the_fractions_are_met_over_many_patients() -> None:
    many = records([str(number) for number in range(20_000)])
    sides, _ = assign_splits(many, SeededSplit(validation_fraction=0.1, test_fraction=0.2))
    assert sides.count("validation") / len(sides) == pytest.approx(0.1, abs=0.01)
    assert sides.count("test") / len(sides) == pytest.approx(0.2, abs=0.01)
    others, _ = assign_splits(many, SeededSplit(seed=1, validation_fraction=0.1, test_fraction=0.2))
    assert sides != others


def test_a_draw_is_the_same_on_every_machine() -> None:
    # printf '0:1' | sha256sum: its first 12 digits over 16^12
    assert patient_draw(0, "1") == pytest.approx(0.93388839)


def test_a_publishers_own_validation_images_stay_validation() -> None:
    sides, _ = assign_splits(records(["1", "2", "3"], ["train", "validation", "test"]), OfficialSplit())
    assert sides == ["train", "validation", "test"]


def test_an_image_on_no_list_is_rejected() -> None:
    sides, rejections = assign_splits(records(["1", "2"], ["test", None]), OfficialSplit())
    assert sides == ["test", None]
    assert [(rejection.image, rejection.reason) for rejection in rejections] == [
        ("0001.png", "on none of the publisher's lists")
    ]


def test_a_patient_on_two_lists_is_an_error_that_names_some() -> None:
    with pytest.raises(ValueError, match=r"2 patients have images on two sides .* among them 1, 2"):
        assign_splits(
            records(["1", "1", "2", "2"], ["test", "train_val", "train_val", "test"]),
            OfficialSplit(),
        )


def test_an_official_split_needs_lists() -> None:
    with pytest.raises(ValueError, match="no official split"):
        assign_splits(records(["1"]), OfficialSplit())


def test_fractions_that_leave_nothing_to_train_on_are_refused() -> None:
    with pytest.raises(ValueError, match="leave nothing to train on"):
        SeededSplit(validation_fraction=0.5, test_fraction=0.5)
