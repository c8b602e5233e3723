"""``metrics.jsonl`` of a run, read completely or from its end, also while it is written."""

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, NotRequired

from pydantic import Field, TypeAdapter, ValidationError
from typing_extensions import TypedDict

from clr_hpc.store import layout
from clr_hpc.store.records import Count, Damaged, Epochs, Number, Rate, Seconds, read_bytes, record, why

_TAIL_BYTES = 16_384
"""Some 70 lines, which is three epochs."""
REMEDY = "its other lines are read"


@record
class StepLine(TypedDict):
    """The steps since the last such line."""

    kind: Literal["step"]
    samples: Count
    progress: Epochs
    loss: Number
    lr: Rate
    momentum: NotRequired[Number | None]
    gradient_norm: NotRequired[Number | None]
    images_per_second: Number
    elapsed_seconds: Seconds


@record
class EpochLine(TypedDict):
    """One split at the end of an epoch; None where a metric isn't defined."""

    kind: Literal["epoch"]
    samples: Count
    progress: Epochs
    split: Literal["train", "validation"]
    loss: Number | None
    accuracy: Number | None
    auroc: Number | None
    average_precision: Number | None
    images: Count
    positives: Count
    of_images: NotRequired[Count]
    """Images of the split, where only a sample of it was measured."""
    elapsed_seconds: Seconds


@record
class GridLine(TypedDict):
    """The validation loss at a point of the grid, estimated from a sample; None where it is not finite."""

    kind: Literal["grid"]
    samples: Count
    progress: Epochs
    loss: Number | None
    images: Count
    elapsed_seconds: Seconds


Line = dict[str, Any]
"""What is in a line: the keys of ``StepLine``, ``EpochLine`` or ``GridLine``."""
_LINE: TypeAdapter[Any] = TypeAdapter(Annotated[StepLine | EpochLine | GridLine, Field(discriminator="kind")])


@dataclass(frozen=True)
class Metrics:
    """The lines of a run, and what of them can't be read."""

    lines: tuple[Line, ...]
    texts: tuple[str, ...]
    """Of the same lines, as they stand in the file."""
    damaged: tuple[Damaged, ...]


def parse_metrics(data: bytes, file: Path) -> Metrics:
    """Parse the content of ``metrics.jsonl``; a last line that a kill cut short is no damage and is left out."""
    lines, texts, damaged = [], [], []
    for number, text in enumerate(data.split(b"\n")[:-1], start=1):
        found = _parse(text)
        if isinstance(found, str):
            damaged.append(Damaged(file, f"line {number} can't be read: {found}", REMEDY))
        else:
            lines.append(found)
            texts.append(text.decode())
    return Metrics(tuple(lines), tuple(texts), tuple(damaged))


def check_metrics(folder: Path) -> Metrics:
    """Read a run's metrics, with what is damaged in them; empty before its first line."""
    file = folder / layout.METRICS
    found = read_bytes(file, "remove it; the run starts again")
    if isinstance(found, Damaged):
        return Metrics((), (), (found,))
    return parse_metrics(found or b"", file)


def read_metrics(folder: Path) -> list[Line]:
    """Return the lines of a run's metrics that can be read."""
    return list(check_metrics(folder).lines)


def recent_metrics(folder: Path) -> list[Line]:
    """Return the last lines, read from the end of the file only, so that many runs can be watched.

    A line that can't be read is left out: a network disk may show one before all of it has arrived.
    """
    try:
        with (folder / layout.METRICS).open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(0, size - _TAIL_BYTES))
            texts = file.read().split(b"\n")[1 if size > _TAIL_BYTES else 0 : -1]
    except OSError:
        return []
    return list(_readable(texts))


def latest_metrics(folder: Path) -> dict[str, Line]:
    """Return the newest step (key ``step``) and the newest metrics of each split (key: its name) of a run."""
    return newest(recent_metrics(folder))


def newest(entries: Iterable[Line]) -> dict[str, Line]:
    """Return the last step (key ``step``), point of the grid (``grid``) and metrics of each split (its name)."""
    return {str(entry.get("split", entry["kind"])): entry for entry in entries}


def _readable(texts: Iterable[bytes]) -> Iterator[Line]:
    return (found for text in texts if not isinstance(found := _parse(text), str))


def _parse(text: bytes) -> Line | str:
    """Return a line, or why it can't be read."""
    try:
        line: Line = _LINE.validate_json(text)
    except ValidationError as error:
        return why(error)
    return line
