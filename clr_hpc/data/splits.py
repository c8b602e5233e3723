"""Training, validation and test images: by the publisher's lists or by a seed, never one patient on two sides."""

import hashlib
from collections.abc import Sequence
from typing import Annotated, Literal, get_args

from pydantic import Field, model_validator

from clr_hpc.config.base import FrozenSpec
from clr_hpc.data.source import ImageRecord, Rejection

SplitName = Literal["train", "validation", "test"]
SPLITS: tuple[SplitName, ...] = get_args(SplitName)

Fraction = Annotated[float, Field(ge=0, lt=1)]


class OfficialSplit(FrozenSpec):
    """The publisher's test images stay test; of its ``train_val`` patients some are drawn for validation."""

    kind: Literal["official"] = "official"
    seed: int = 0
    validation_fraction: Fraction = 0.1
    """Expected share of the patients in ``train_val``."""


class SeededSplit(FrozenSpec):
    """Each patient is drawn for a side; what the publisher says is ignored."""

    kind: Literal["seeded"] = "seeded"
    seed: int = 0
    validation_fraction: Fraction = 0.1
    test_fraction: Fraction = 0.2

    @model_validator(mode="after")
    def _train_gets_some(self) -> "SeededSplit":
        if self.validation_fraction + self.test_fraction >= 1:
            raise ValueError(
                f"validation_fraction={self.validation_fraction:g} and test_fraction={self.test_fraction:g} "
                "leave nothing to train on; lower one so that their sum is below 1"
            )
        return self


Split = Annotated[OfficialSplit | SeededSplit, Field(discriminator="kind")]


def assign_splits(
    records: Sequence[ImageRecord], split: OfficialSplit | SeededSplit
) -> tuple[list[SplitName | None], list[Rejection]]:
    """Return the side of each record, None for one that belongs to no side, and a rejection for each of those.

    Raises:
        ValueError: the publisher's lists hold one patient on two sides, or no record is on any list.
    """
    if isinstance(split, SeededSplit):
        return [_seeded(record.patient, split) for record in records], []
    if records and all(record.official_split is None for record in records):
        raise ValueError(
            "the source has no official split: none of its images is on a list; "
            "give the publisher's lists, or split by a seed"
        )
    _check_patients({record.image: record.official_split for record in records}, records)
    sides = [_official(record, split) for record in records]
    rejections = [
        Rejection(record.image, "on none of the publisher's lists")
        for record, side in zip(records, sides, strict=True)
        if side is None
    ]
    return sides, rejections


def _seeded(patient: str, split: SeededSplit) -> SplitName:
    draw = patient_draw(split.seed, patient)
    if draw < split.test_fraction:
        return "test"
    return "validation" if draw < split.test_fraction + split.validation_fraction else "train"


def _official(record: ImageRecord, split: OfficialSplit) -> SplitName | None:
    match record.official_split:
        case "train" | "validation" | "test" as side:
            return side
        case "train_val":
            held_out = patient_draw(split.seed, record.patient) < split.validation_fraction
            return "validation" if held_out else "train"
        case _:
            return None


def patient_draw(seed: int, patient: str) -> float:
    """Return a number in [0, 1) that depends on seed and patient alone, so more patients move nobody."""
    digest = hashlib.sha256(f"{seed}:{patient}".encode()).digest()
    return int.from_bytes(digest[:6], "big") / 2**48


def _check_patients(side_of_image: dict[str, str | None], records: Sequence[ImageRecord]) -> None:
    sides: dict[str, str] = {}
    torn: set[str] = set()
    for record in records:
        side = side_of_image[record.image]
        if side is not None and sides.setdefault(record.patient, side) != side:
            torn.add(record.patient)
    if torn:
        some = ", ".join(sorted(torn)[:5])
        raise ValueError(
            f"{len(torn)} patients have images on two sides of the publisher's split, among them {some}; "
            "fix the lists, or split by a seed"
        )
