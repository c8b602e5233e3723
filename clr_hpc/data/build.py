"""From a source to a pack: read once, split by patient, counted, checksummed."""

import fcntl
import shutil
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from clr_hpc.config.given_file import check_writable
from clr_hpc.config.pathologies import NO_FINDING, UNKNOWN
from clr_hpc.config.resources import usable_cores
from clr_hpc.data.index_rows import IndexRow, index_rows
from clr_hpc.data.manifest import (
    MANIFEST,
    Counts,
    FileEntry,
    Manifest,
    PackError,
    SplitCounts,
    ViewCounts,
    count_labels,
    file_sha256,
    no_findings,
)
from clr_hpc.data.rejections import nothing_left, sorted_rejections, strict_message, write_rejections
from clr_hpc.data.shards import PackProgress, rows_per_shard, write_shards
from clr_hpc.data.source import Box, ImageRecord, ImageSource
from clr_hpc.data.splits import SPLITS, OfficialSplit, SeededSplit, SplitName, assign_splits
from clr_hpc.store.atomic import atomic_write, sync_folder


def write_index(path: Path, rows: Sequence[IndexRow], findings: Sequence[str]) -> None:
    """Write one row per image; an unknown label is null."""
    records = [row.record for row in rows]
    columns: dict[str, pa.Array] = {
        "image": pa.array([record.image for record in records], pa.string()),
        "patient": pa.array([record.patient for record in records], pa.string()),
        "split": pa.array([row.split for row in rows], pa.string()),
        "view": pa.array([record.view for record in records], pa.string()),
        "age_years": pa.array([record.age_years for record in records], pa.float64()),
        "sex": pa.array([record.sex for record in records], pa.string()),
    }
    labels = {name: [record.labels[position] for record in records] for position, name in enumerate(findings)}
    for name, values in (labels | {NO_FINDING: no_findings(records, findings)}).items():
        columns[name] = pa.array([None if value == UNKNOWN else value for value in values], pa.int8())
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
    with atomic_write(path) as temporary:
        pq.write_table(pa.table(columns), temporary, compression="zstd")


def count_rows(rows: Sequence[IndexRow], findings: Sequence[str], rejected: int) -> Counts:
    """Count images, patients and labels in each split."""
    splits: dict[SplitName, SplitCounts] = {}
    for split in SPLITS:
        records = [row.record for row in rows if row.split == split]
        of_view: dict[str, list[ImageRecord]] = defaultdict(list)
        for record in records:
            of_view[record.view or "unknown"].append(record)
        splits[split] = SplitCounts(
            **_counted(records, findings),
            patients=len({record.patient for record in records}),
            views={view: ViewCounts(**_counted(of_view[view], findings)) for view in sorted(of_view)},
        )
    return Counts(
        images=len(rows), patients=len({row.record.patient for row in rows}), rejected=rejected, splits=splits
    )


def _counted(records: Sequence[ImageRecord], findings: Sequence[str]) -> dict[str, Any]:
    labels = count_labels(findings, [each.labels for each in records], no_findings(records, findings))
    return {"images": len(records), "labels": labels}


def file_entry(path: Path) -> FileEntry:
    """Describe a finished file for the manifest."""
    return FileEntry(file=path.name, bytes=path.stat().st_size, sha256=file_sha256(path))


def build_pack(
    source: ImageSource,
    folder: str | Path,
    size: int,
    split: OfficialSplit | SeededSplit | None = None,
    workers: int | None = None,
    strict: bool = False,
    report: Callable[[PackProgress], None] = lambda _: None,
) -> Manifest:
    """Read a source once into a pack.

    Unfinished work is in ``<folder>.partial``; after a kill the same call resumes with its finished shards.

    Args:
        source: where the images come from.
        folder: the pack to make; it appears when it is complete.
        size: pixels a side.
        split: None takes the publisher's split where there is one, else a seeded one.
        workers: processes that read images; None takes every core this process may use. Changes no byte.
        strict: whether one rejected image means no pack.
        report: called as images are read.

    Raises:
        PackError: ``folder`` exists, is being made by another process, or would be empty; the disk is too small;
            a worker died; ``strict`` and something was rejected. Rejections are listed in
            ``<folder>.partial/pack/rejected.csv``.
        SourceError: the source's tables can't be read.
        ValueError: the publisher's split has one patient on two sides.
    """
    folder = Path(folder)
    if folder.exists():
        raise PackError(f"{folder} exists; delete it, or give another name to the new pack")
    check_writable(folder)
    table = source.table()
    split = split or _natural_split(table.records)
    sides, off_list = assign_splits(table.records, split)
    kept = [(record, side) for record, side in zip(table.records, sides, strict=True) if side is not None]
    records = [record for record, _ in kept]
    _check_records(records)
    with _locked(folder.with_name(f"{folder.name}.partial")) as partial:
        inside, state = partial / "pack", partial / "state"
        inside.mkdir(exist_ok=True)
        state.mkdir(exist_ok=True)
        listing = inside / "rejected.csv"
        if not records:
            rejections = sorted_rejections((*table.rejections, *off_list))
            write_rejections(listing, rejections)
            raise PackError(nothing_left(rejections, table.provenance, listing))
        _check_space(partial, len(records) * size**2)
        workers = workers or usable_cores()
        source, found = source.look_through(records, workers, state / "found.json")
        provenance = table.provenance | found
        shards, outcomes = write_shards(source, provenance, records, size, inside, state, workers, report)
        rows, unreadable = index_rows(kept, outcomes, rows_per_shard(size))
        rejections = sorted_rejections((*table.rejections, *off_list, *unreadable))
        write_rejections(listing, rejections)
        if strict and rejections:
            raise PackError(strict_message(rejections, listing))
        if not rows:
            raise PackError(nothing_left(rejections, {}, listing))
        _check_patients(rows)
        write_index(inside / "index.parquet", rows, table.findings)
        boxes = write_boxes(inside / "boxes.parquet", table.boxes, rows, size)
        manifest = Manifest(
            size=size,
            findings=table.findings,
            resampling=table.resampling,
            source=provenance,
            split=split,
            counts=count_rows(rows, table.findings, len(rejections)),
            shards=tuple(shards),
            index=file_entry(inside / "index.parquet"),
            rejected=file_entry(listing),
            boxes=boxes,
        )
        _publish(manifest, inside, folder)
        shutil.rmtree(partial)
    return manifest


@contextmanager
def _locked(partial: Path) -> Iterator[Path]:
    partial.mkdir(parents=True, exist_ok=True)
    with (partial / "lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise PackError(f"another process is writing {partial}; wait for it, or end it") from None
        yield partial


def _natural_split(records: Sequence[ImageRecord]) -> OfficialSplit | SeededSplit:
    has_lists = any(record.official_split is not None for record in records)
    return OfficialSplit() if has_lists else SeededSplit()


def _check_records(records: Sequence[ImageRecord]) -> None:
    names = [record.image for record in records]
    if any(name >= following for name, following in pairwise(names)):
        raise PackError("the source's records are not sorted by image name, or hold a name twice")


def _check_space(partial: Path, bytes_needed: int) -> None:
    held = sum(file.stat().st_size for file in partial.rglob("*.npy"))
    free = shutil.disk_usage(partial).free
    if free < bytes_needed - held:
        raise PackError(
            f"the pack needs {bytes_needed / 1e9:.1f} GB and the disk of {partial} has {free / 1e9:.1f} GB left; "
            "make room, take a smaller size, or another disk"
        )


def _check_patients(rows: Sequence[IndexRow]) -> None:
    side_of: dict[str, SplitName] = {}
    for row in rows:
        if side_of.setdefault(row.record.patient, row.split) != row.split:
            raise PackError(f"patient {row.record.patient} is on two sides of the split; fix the source's lists")


def _publish(manifest: Manifest, inside: Path, folder: Path) -> None:
    with atomic_write(inside / MANIFEST) as temporary:
        temporary.write_text(manifest.to_json(), encoding="utf-8")
    named = {MANIFEST, *(entry.file for entry in manifest.files)}
    for left_over in inside.iterdir():  # of an earlier start with other options
        if left_over.name not in named:
            left_over.unlink()
    sync_folder(inside)
    inside.rename(folder)
    sync_folder(folder.parent)
