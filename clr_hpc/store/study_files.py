"""The files of a study's folder: its pack's manifest, its plan, and what its range tests came to."""

import hashlib
import json
from pathlib import Path
from typing import Annotated, Any, Literal, NotRequired

from pydantic import AfterValidator, Field, TypeAdapter
from typing_extensions import TypedDict

from clr_hpc.config.pathologies import NO_FINDING, in_order
from clr_hpc.config.run import RunSpec
from clr_hpc.store import layout
from clr_hpc.store.records import Count, Damaged, Rate, Seconds, Sha256, Time, read_record, record

FORMAT_VERSION = 1
"""Of plan.json and range_tests.json."""


@record
class LabelCount(TypedDict):
    """Images by the value of one label."""

    positive: NotRequired[Count]
    negative: NotRequired[Count]
    unknown: NotRequired[Count]


@record
class SplitCount(TypedDict):
    """What one split of a pack holds."""

    images: Count
    patients: Count
    labels: NotRequired[dict[str, LabelCount]]


@record
class PackCounts(TypedDict):
    """What a pack holds."""

    images: Count
    patients: Count
    splits: dict[str, SplitCount]


@record
class PackRecord(TypedDict):
    """A pack's manifest, of which the study keeps a copy; ``checksum`` covers all the rest."""

    checksum: Sha256
    counts: NotRequired[PackCounts]


def _is_unchanged(pack: PackRecord) -> PackRecord:
    rest: dict[str, Any] = {key: value for key, value in pack.items() if key != "checksum"}
    if "counts" not in rest:
        return pack
    found = hashlib.sha256(json.dumps(rest, sort_keys=True, ensure_ascii=False).encode()).hexdigest()
    if found != pack["checksum"]:
        raise ValueError(f"it was changed: its checksum is {found}, not {pack['checksum']}")
    return pack


@record
class PlannedRun(TypedDict):
    """A run in its lane; seconds count from the moment the plan was made."""

    name: str
    start: Seconds
    end: Seconds
    training_seconds: Seconds


@record
class PlannedLane(TypedDict):
    """What one lane trains, in this order."""

    runs: list[PlannedRun]


@record
class PlanRecord(TypedDict):
    """What was predicted before training."""

    format_version: Literal[1]
    made: Time
    place: str
    makespan_seconds: Seconds
    lanes: list[PlannedLane]


Finite = Annotated[float, Field(ge=-1e6, le=1e6)]
"""Relative losses, which figures show."""
TestedRate = Annotated[float, Field(gt=1e-30, le=1e6)]


@record
class TestedCurve(TypedDict):
    """One seed's range test."""

    seed: Count
    rates: list[TestedRate]
    loss: list[Finite]
    standard_error: list[Finite]
    constant_answer: NotRequired[Finite | None]


@record
class RangeTestRecord(TypedDict):
    """What the range tests of one architecture, task and optimizer came to, over all seeds."""

    task: str
    architecture: str
    optimizer: str
    scale: str | None
    suggestion: dict[Literal["lr_min", "lr", "lr_max"], TestedRate] | None
    spread: dict[Literal["lr_min", "lr", "lr_max"], tuple[Rate, Rate]] | None
    reason: str
    curves: list[TestedCurve]


@record
class RangeTestsRecord(TypedDict):
    """``range_tests.json``."""

    format_version: Literal[1]
    learners: list[RangeTestRecord]


def _is_drawable(tests: RangeTestsRecord) -> RangeTestsRecord:
    for one in tests["learners"]:
        for curve in one["curves"]:
            if not len(curve["rates"]) == len(curve["loss"]) == len(curve["standard_error"]):
                raise ValueError("a curve's rates, losses and errors are not of one length")
        if one["suggestion"] is not None and not len(one["suggestion"]) == len(one["spread"] or ()) == 3:
            raise ValueError("a suggestion needs lr_min, lr and lr_max, each with its spread")
    return tests


_PACK: TypeAdapter[PackRecord] = TypeAdapter(Annotated[PackRecord, AfterValidator(_is_unchanged)])
_PLAN: TypeAdapter[PlanRecord] = TypeAdapter(PlanRecord)
_RANGE_TESTS: TypeAdapter[RangeTestsRecord] = TypeAdapter(
    Annotated[RangeTestsRecord, AfterValidator(_is_drawable)]
)


def read_pack(folder: Path, name: str = layout.PACK) -> PackRecord | Damaged | None:
    """Return the manifest of a study's pack; None where the study was never started."""
    return read_record(folder / name, _PACK, "copy manifest.json of the pack there")


def labels_of(pack: PackRecord) -> tuple[str, ...]:
    """Return the labels of a pack's images: the 14, the other findings, and ``no_finding`` last."""
    counted = {
        name for split in pack.get("counts", {"splits": {}})["splits"].values() for name in split.get("labels", {})
    }
    return (*in_order(counted - {NO_FINDING}), NO_FINDING)


def trainable(pack: PackRecord) -> tuple[str, ...]:
    """Return the findings of a pack that a classifier can learn: with images of both kinds to train on."""
    split = pack.get("counts", {"splits": {}})["splits"].get("train")
    counts: dict[str, LabelCount] = {} if split is None else split.get("labels", {})
    has_both = {name for name, of in counts.items() if of.get("positive") and of.get("negative")}
    return in_order(has_both - {NO_FINDING})


def training_images(pack: PackRecord, spec: RunSpec) -> int | None:
    """Return how many images of a pack a run is trained on; None where the pack's record doesn't say."""
    task = spec.task
    split = pack.get("counts", {"splits": {}})["splits"].get("train")
    counts = None if split is None else split.get("labels", {}).get(task.label)
    if counts is None:
        return None
    return counts.get("positive", 0) + (counts.get("negative", 0) if task.kind == "binary" else 0)


def read_plan(study_folder: Path) -> PlanRecord | Damaged | None:
    """Return a study's plan; None where nothing was planned."""
    return read_record(study_folder / layout.PLAN, _PLAN, "delete it, the report does without")


def read_range_tests(study_folder: Path) -> RangeTestsRecord | Damaged | None:
    """Return what a study's range tests came to; None where it has none."""
    return read_record(study_folder / layout.RANGE_TEST_RESULTS, _RANGE_TESTS, "'clr-hpc run' writes it anew")
