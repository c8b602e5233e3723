"""Which images become rows of the pack: files with the same bytes are one image, or contradict one another."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from clr_hpc.config.pathologies import UNKNOWN
from clr_hpc.data.shards import Outcome
from clr_hpc.data.source import ImageRecord, Rejection
from clr_hpc.data.splits import SplitName


@dataclass(frozen=True, slots=True)
class IndexRow:
    """One packed image."""

    record: ImageRecord
    split: SplitName
    sha256: str
    shard: int
    row: int


def index_rows(
    kept: Sequence[tuple[ImageRecord, SplitName]], outcomes: Sequence[Outcome], rows_a_shard: int
) -> tuple[list[IndexRow], list[Rejection]]:
    """Return a row of the index for each image that was read, and a rejection for each other and each duplicate.

    Args:
        kept: what was packed, in order, and its side.
        outcomes: what became of each.
        rows_a_shard: how many rows a full shard has.
    """
    read: list[IndexRow] = []
    rejections: list[Rejection] = []
    for position, ((record, split), outcome) in enumerate(zip(kept, outcomes, strict=True)):
        if outcome.sha256 is None:
            rejections.append(Rejection(record.image, outcome.reason or ""))
        else:
            read.append(IndexRow(record, split, outcome.sha256, *divmod(position, rows_a_shard)))
    duplicates = _rejected_duplicates(read)
    rows = [row for row in read if row.record.image not in duplicates]
    return rows, rejections + [Rejection(image, reason) for image, reason in duplicates.items()]


def _rejected_duplicates(rows: Sequence[IndexRow]) -> dict[str, str]:
    """Return the reason for each image to leave out because another has the same bytes."""
    groups: defaultdict[str, list[IndexRow]] = defaultdict(list)
    for row in rows:
        groups[row.sha256].append(row)
    several = [group for group in groups.values() if len(group) > 1]
    images_of = _images_of_patients(rows) if several else {}
    reasons: dict[str, str] = {}
    for first, *others in several:
        for other in others:
            reasons[other.record.image] = f"same bytes as {first.record.image}, which is used"
        group = (first, *others)
        if fault := _contradiction(group) or _leak(group, images_of):
            for row in group:
                twin = others[0] if row is first else first
                reasons[row.record.image] = f"same bytes as {twin.record.image}, {fault}"
    return reasons


def _contradiction(group: Sequence[IndexRow]) -> str | None:
    columns = zip(*((*row.record.labels, row.record.no_finding) for row in group), strict=True)
    if any(len({*labels} - {UNKNOWN, None}) > 1 for labels in columns):
        return "and their labels contradict one another"
    return None


def _images_of_patients(rows: Sequence[IndexRow]) -> dict[str, list[IndexRow]]:
    images: defaultdict[str, list[IndexRow]] = defaultdict(list)
    for row in rows:
        images[row.record.patient].append(row)
    return images


def _leak(group: Sequence[IndexRow], images_of: dict[str, list[IndexRow]]) -> str | None:
    """Return what is wrong where an image has two patients, one of them on a side where it is not used."""
    first = group[0]
    for row in group[1:]:
        others = any(image.sha256 != row.sha256 for image in images_of[row.record.patient])
        if row.split != first.split and others:
            return f"and their patients are on two sides of the split ({first.split} and {row.split})"
    return None
