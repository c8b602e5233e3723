"""Pixels into shards: in parallel, resumable, the same bytes for any number of workers.

A shard is written under a temporary name; once complete it is synced and renamed, and a state file lists which
records it holds. A later start keeps every shard whose records, files and source are still the same.
"""

import hashlib
import io
import json
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import numpy as np

from clr_hpc.data.manifest import ShardEntry, file_sha256
from clr_hpc.data.source import ImageRecord, ImageSource, RejectedImageError
from clr_hpc.data.workers import mapped
from clr_hpc.store.atomic import atomic_write, sync_folder

SHARD_BYTES = 1 << 27
"""About 128 MiB: few files on a shared disk, yet little work lost by a kill."""
RUN_ROWS = 32
"""Images a worker reads for one message: a quarter of a second of work, 2 MB of pixels at 256 × 256."""


class Outcome(NamedTuple):
    """What became of one record: the SHA-256 of its source, or the reason why its row stays black."""

    sha256: str | None
    reason: str | None


@dataclass(frozen=True, slots=True)
class PackProgress:
    """How far the reading of images is."""

    done: int
    total: int
    resumed: int
    """Images of ``done`` that an interrupted start had finished."""


@dataclass(frozen=True, slots=True)
class _Run:
    """A few neighbouring rows of one shard: what a worker gets."""

    source: ImageSource
    records: Sequence[ImageRecord]
    size: int
    shard: Path
    first_row: int


def rows_per_shard(size: int) -> int:
    """Return how many images of ``size`` × ``size`` pixels fill a shard."""
    return max(1, SHARD_BYTES // size**2)


def write_shards(
    source: ImageSource,
    provenance: dict[str, object],
    records: Sequence[ImageRecord],
    size: int,
    folder: Path,
    state_folder: Path,
    workers: int,
    report: Callable[[PackProgress], None],
) -> tuple[list[ShardEntry], list[Outcome]]:
    """Read every record into row i % rows of shard i // rows, and return the shards and one outcome per record.

    Raises:
        PackError: a worker process died.
        OSError: a disk failed or is full; what was finished is kept.
    """
    rows = rows_per_shard(size)
    shards = [
        _Shard(
            source, provenance, records[start : start + rows], size, folder / name, state_folder / f"{name}.json"
        )
        for number, start in enumerate(range(0, len(records), rows))
        if (name := f"shard-{number:05d}.npy")
    ]
    finished = {shard.path: kept for shard in shards if (kept := shard.kept()) is not None}
    resumed = done = sum(entry.rows for entry, _ in finished.values())
    report(PackProgress(done, len(records), resumed))

    runs = [run for shard in shards if shard.path not in finished for run in shard.runs()]
    with mapped(_write_run, runs, workers) as results:
        for shard in shards:
            if shard.path in finished:
                continue
            outcomes: list[Outcome] = []
            while len(outcomes) < len(shard.records):
                read = next(results)
                outcomes += read
                done += len(read)
                report(PackProgress(done, len(records), resumed))
            finished[shard.path] = shard.finish(outcomes)
    in_order = [finished[shard.path] for shard in shards]
    return [entry for entry, _ in in_order], [outcome for _, outcomes in in_order for outcome in outcomes]


@dataclass(frozen=True)
class _Shard:
    source: ImageSource
    provenance: dict[str, object]
    records: Sequence[ImageRecord]
    size: int
    path: Path
    state: Path

    @property
    def temporary(self) -> Path:
        return self.path.with_suffix(".part")

    def runs(self) -> Iterator[_Run]:
        for start in range(0, len(self.records), RUN_ROWS):
            yield _Run(self.source, self.records[start : start + RUN_ROWS], self.size, self.temporary, start)

    def kept(self) -> tuple[ShardEntry, list[Outcome]] | None:
        """Return what an earlier start finished, unless a record, a file or an option has changed since."""
        try:
            state = json.loads(self.state.read_text(encoding="utf-8"))
            whole = self.path.stat().st_size == state["entry"]["bytes"]
        except FileNotFoundError:
            return None
        if not whole or state["fingerprint"] != self.fingerprint:
            return None
        return ShardEntry.model_validate(state["entry"]), [Outcome(*outcome) for outcome in state["outcomes"]]

    def finish(self, outcomes: list[Outcome]) -> tuple[ShardEntry, list[Outcome]]:
        header = npy_header(len(self.records), self.size)
        with self.temporary.open("rb+") as file:
            file.write(header)
            file.truncate(len(header) + len(self.records) * self.size**2)
            os.fsync(file.fileno())
        entry = ShardEntry(
            file=self.path.name,
            rows=len(self.records),
            bytes=self.temporary.stat().st_size,
            sha256=file_sha256(self.temporary),
        )
        self.temporary.replace(self.path)
        sync_folder(self.path.parent)
        state = {"fingerprint": self.fingerprint, "entry": entry.model_dump(), "outcomes": outcomes}
        with atomic_write(self.state) as temporary:
            temporary.write_text(json.dumps(state), encoding="utf-8")
        return entry, outcomes

    @cached_property
    def fingerprint(self) -> str:
        digest = hashlib.sha256(json.dumps([self.provenance, self.size], sort_keys=True).encode())
        for record in self.records:
            digest.update(repr(record).encode())
            if record.path is not None and record.path.exists():
                status = record.path.stat()
                digest.update(f"{status.st_size} {status.st_mtime_ns}".encode())
        return digest.hexdigest()


def _write_run(run: _Run) -> list[Outcome]:
    pixels = np.zeros((len(run.records), run.size, run.size), np.uint8)
    outcomes = []
    for row, record in enumerate(run.records):
        try:
            pixels[row], sha256 = run.source.read(record, run.size)
            outcomes.append(Outcome(sha256, None))
        except RejectedImageError as error:
            outcomes.append(Outcome(None, str(error)))
    # Written rather than memory-mapped: a full disk is an error here, not a bus error that ends the process.
    descriptor = os.open(run.shard, os.O_WRONLY | os.O_CREAT, 0o666)
    with os.fdopen(descriptor, "wb") as file:
        file.seek(len(npy_header(1, run.size)) + run.first_row * run.size**2)
        file.write(pixels.data)
    return outcomes


def npy_header(rows: int, size: int) -> bytes:
    """Return the head of a ``.npy`` file of ``(rows, size, size)`` uint8: 128 bytes, however many the rows."""
    buffer = io.BytesIO()
    description = {"descr": "|u1", "fortran_order": False, "shape": (rows, size, size)}
    np.lib.format.write_array_header_1_0(buffer, description)
    return buffer.getvalue()
