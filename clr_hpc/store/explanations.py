"""``explanations.json`` of a study: how well its heat maps find the boxes of a pack, image by image."""

from pathlib import Path
from typing import Annotated, Literal, NotRequired

from pydantic import Field, TypeAdapter
from typing_extensions import TypedDict

from clr_hpc.store import layout
from clr_hpc.store.atomic import write_json
from clr_hpc.store.records import Count, Damaged, Sha256, Time, read_record, record

FORMAT_VERSION: Literal[1] = 1
Share = Annotated[float, Field(ge=0, le=1)]


@record
class LocalisedRecord(TypedDict):
    """A heat map against the boxes of its image."""

    pointing: Share
    inside: Share
    overlap: Share


@record
class ComparedRecord(TypedDict):
    """An image with boxes of the finding."""

    image: str
    patient: str
    score: float
    has_heat: bool
    """False: nothing in the map speaks for the finding, and ``trained`` is what chance comes to."""
    area: Share
    """Of the boxes in the image: what a random place, and heat spread evenly, come to."""
    chance_overlap: Share
    centre: Share
    """What pointing at the middle of the image comes to."""
    trained: LocalisedRecord
    random: LocalisedRecord
    """Mean over networks with random weights, or over other images: ``FindingRecord.rival``."""
    rank_correlation: Annotated[float, Field(ge=-1.001, le=1.001)] | None
    """Mean over those networks or images, of their maps and that of the trained ones."""


@record
class FindingRecord(TypedDict):
    """The maps of one finding, or of a one-class model."""

    finding: str
    runs: Annotated[list[str], Field(min_length=1)]
    """Names of the runs whose mean map it is."""
    model: str
    """Kind of weights: ``last``, ``snapshots`` or ``swa``."""
    grid: tuple[Count, Count]
    """Rows and columns of a map before it is enlarged."""
    rival: NotRequired[Literal["random weights", "other images"]]
    """What ``random`` is: maps of networks with random weights, as in records without it, or, of one-class models,
    their own maps of other patients' images."""
    images: Annotated[list[ComparedRecord], Field(min_length=1)]


@record
class ExplanationsRecord(TypedDict):
    """``explanations.json``."""

    format_version: Literal[1]
    made: Time
    pack: Sha256
    split: str | None
    overlap_threshold: Share
    random_draws: Annotated[int, Field(ge=1, le=1000)]
    findings: Annotated[list[FindingRecord], Field(min_length=1)]


_RECORD: TypeAdapter[ExplanationsRecord] = TypeAdapter(ExplanationsRecord)


def read_explanations(study_folder: Path) -> ExplanationsRecord | Damaged | None:
    """Return how a study's heat maps find boxes; None where that was not measured."""
    remedy = "delete it, or measure again with 'clr-hpc explain STUDY --pack PACK --with-boxes'"
    return read_record(study_folder / layout.EXPLANATIONS, _RECORD, remedy)


def write_explanations(study_folder: Path, found: ExplanationsRecord) -> Path:
    """Write the record in place of an earlier one, and return its path."""
    path = study_folder / layout.EXPLANATIONS
    write_json(path, found)
    return path
