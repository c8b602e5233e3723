"""The files of a study's folder: its plan, and what its range tests came to; ``pack_record`` has its pack."""

from pathlib import Path
from typing import Annotated, Literal, NotRequired

from pydantic import AfterValidator, Field, TypeAdapter
from typing_extensions import TypedDict

from clr_hpc.store import layout
from clr_hpc.store.records import Count, Damaged, Rate, Seconds, Time, read_record, record

FORMAT_VERSION = 1
"""Of plan.json and range_tests.json."""


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


_PLAN: TypeAdapter[PlanRecord] = TypeAdapter(PlanRecord)
_RANGE_TESTS: TypeAdapter[RangeTestsRecord] = TypeAdapter(
    Annotated[RangeTestsRecord, AfterValidator(_is_drawable)]
)


def read_plan(study_folder: Path) -> PlanRecord | Damaged | None:
    """Return a study's plan; None where nothing was planned."""
    return read_record(study_folder / layout.PLAN, _PLAN, "delete it, the report does without")


def read_range_tests(study_folder: Path) -> RangeTestsRecord | Damaged | None:
    """Return what a study's range tests came to; None where it has none."""
    return read_record(study_folder / layout.RANGE_TEST_RESULTS, _RANGE_TESTS, "'clr-hpc run' writes it anew")
