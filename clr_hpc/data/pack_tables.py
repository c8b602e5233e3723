"""The tables of a pack: which row is which image, what was left out, where the boxes are, and the counts."""

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from clr_hpc.config.pathologies import PATHOLOGIES, UNKNOWN
from clr_hpc.data.label_counts import count_labels
from clr_hpc.data.manifest import Counts, FileEntry, SplitCounts, file_sha256
from clr_hpc.data.shards import Outcome
from clr_hpc.data.sources import Box, ImageRecord, Rejection
from clr_hpc.data.splits import SPLITS, SplitName
from clr_hpc.store.atomic import written_whole


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
    rows: list[IndexRow] = []
    rejections: list[Rejection] = []
    first_of: dict[str, str] = {}
    for position, ((record, split), outcome) in enumerate(zip(kept, outcomes, strict=True)):
        if outcome.sha256 is None:
            rejections.append(Rejection(record.image, outcome.reason or ""))
        elif (first := first_of.setdefault(outcome.sha256, record.image)) != record.image:
            rejections.append(Rejection(record.image, f"same bytes as {first}, which is used"))
        else:
            shard, row = divmod(position, rows_a_shard)
            rows.append(IndexRow(record, split, outcome.sha256, shard, row))
    return rows, rejections


def write_rejections(path: Path, rejections: Sequence[Rejection]) -> None:
    """Write ``image,reason``."""
    with written_whole(path) as aside, aside.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(("image", "reason"))
        writer.writerows((rejection.image, rejection.reason) for rejection in rejections)


def write_index(path: Path, rows: Sequence[IndexRow]) -> None:
    """Write one row an image; an unknown label is null."""
    records = [row.record for row in rows]
    columns: dict[str, pa.Array] = {
        "image": pa.array([record.image for record in records], pa.string()),
        "patient": pa.array([record.patient for record in records], pa.string()),
        "split": pa.array([row.split for row in rows], pa.string()),
        "view": pa.array([record.view for record in records], pa.string()),
        "age_years": pa.array([record.age_years for record in records], pa.float64()),
        "sex": pa.array([record.sex for record in records], pa.string()),
    }
    for position, pathology in enumerate(PATHOLOGIES):
        values = [record.labels[position] for record in records]
        columns[pathology] = pa.array([None if value == UNKNOWN else value for value in values], pa.int8())
    columns["source_sha256"] = pa.array([row.sha256 for row in rows], pa.string())
    columns["shard"] = pa.array([row.shard for row in rows], pa.int32())
    columns["row"] = pa.array([row.row for row in rows], pa.int32())
    _write_parquet(path, columns)


def write_boxes(path: Path, boxes: Sequence[Box], rows: Sequence[IndexRow], size: int) -> FileEntry | None:
    """Write the boxes of packed images in pixels of the pack, or nothing where there are none."""
    packed = {row.record.image for row in rows}
    there = [box for box in boxes if box.image in packed]
    if not there:
        path.unlink(missing_ok=True)
        return None
    columns = {
        "image": pa.array([box.image for box in there], pa.string()),
        "pathology": pa.array([box.pathology for box in there], pa.string()),
    }
    for side in ("left", "top", "width", "height"):
        columns[side] = pa.array([getattr(box, side) * size for box in there], pa.float32())
    _write_parquet(path, columns)
    return file_entry(path)


def _write_parquet(path: Path, columns: dict[str, pa.Array]) -> None:
    with written_whole(path) as aside:
        pq.write_table(pa.table(columns), aside, compression="zstd")


def count_rows(rows: Sequence[IndexRow], rejected: int) -> Counts:
    """Count images, patients and labels in each split."""
    splits: dict[SplitName, SplitCounts] = {}
    for split in SPLITS:
        records = [row.record for row in rows if row.split == split]
        splits[split] = SplitCounts(
            images=len(records),
            patients=len({record.patient for record in records}),
            labels=count_labels([record.labels for record in records]),
        )
    return Counts(
        images=len(rows), patients=len({row.record.patient for row in rows}), rejected=rejected, splits=splits
    )


def file_entry(path: Path) -> FileEntry:
    """Describe a finished file for the manifest."""
    return FileEntry(file=path.name, bytes=path.stat().st_size, sha256=file_sha256(path))
