"""How many bits 16-bit files hold: of a collection, not of each image, whose own brightest pixel says little."""

import json
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from clr_hpc.data.images.encoded import PNG_START, decode
from clr_hpc.data.images.gray import without_transparency
from clr_hpc.data.images.kinds import first_bytes, is_dicom
from clr_hpc.data.source import RejectedImageError
from clr_hpc.data.workers import mapped
from clr_hpc.store.atomic import atomic_write

BITS = (8, 10, 12, 14, 16)
"""Of detectors and their files."""
RULE = "the fewest of 8, 10, 12, 14 and 16 bits that hold the largest sample of all files"
_RARE = 0.05
"""Share of files below which those that need most bits are reported."""
_FILES_AT_ONCE = 64
"""Files that a thread gets together: handing over one at a time costs more than to read it."""
_TIFF_STARTS = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")


@dataclass(frozen=True, slots=True)
class Survey:
    """What the first bytes of files say."""

    deep: tuple[Path, ...]
    """Files that may have 16-bit samples: PNG by its header, and all of TIFF."""
    has_dicom: bool


def survey(paths: Sequence[Path]) -> Survey:
    """Read the first bytes of all files, several at a time, since a network disk answers late."""
    batches = [paths[start : start + _FILES_AT_ONCE] for start in range(0, len(paths), _FILES_AT_ONCE)]
    with ThreadPoolExecutor(8) as threads:
        starts = [start for read in threads.map(_read_starts, batches) for start in read]
    return Survey(
        deep=tuple(path for path, start in zip(paths, starts, strict=True) if _may_be_deep(start)),
        has_dicom=any(map(is_dicom, starts)),
    )


def _read_starts(paths: Sequence[Path]) -> list[bytes]:
    return [first_bytes(path) for path in paths]


def _may_be_deep(start: bytes) -> bool:
    return (start.startswith(PNG_START) and start[24:25] == b"\x10") or start.startswith(_TIFF_STARTS)


def peaks_of(paths: Sequence[Path], workers: int, memory: Path) -> list[int]:
    """Return the largest sample of each file with 16-bit samples and no stated bits, and nothing of the others.

    Args:
        paths: of the files.
        workers: processes.
        memory: a JSON file that keeps what was found, for a start after an interruption.
    """
    known = json.loads(memory.read_text(encoding="utf-8")) if memory.exists() else {}
    key_of = {path: _key(path) for path in paths}
    new = [path for path in paths if key_of[path] not in known]
    with mapped(peak_of, new, workers, at_once=8) as found:
        known |= dict(zip([key_of[path] for path in new], found, strict=True))
    with atomic_write(memory) as temporary:
        temporary.write_text(json.dumps(known), encoding="utf-8")
    return [peak for key in key_of.values() if (peak := known[key]) is not None]


def peak_of(path: Path) -> int | None:
    """Return the largest sample of a file; None if it has 8 bits, states its bits, is black, or can't be read."""
    try:
        samples = decode(path.read_bytes())
        values = without_transparency(samples.values)
    except (OSError, RejectedImageError):
        return None
    return int(values.max()) or None if values.dtype == np.uint16 and samples.bits is None else None


def bits_for(peaks: Sequence[int]) -> int:
    """Return the fewest of ``BITS`` that hold all of these samples."""
    return next(bits for bits in BITS if max(peaks, default=0) < 1 << bits)


def about(peaks: Sequence[int]) -> str | None:
    """Return what a user should know of the bits that were found; None where files use all 16."""
    if not peaks:
        return None
    bits = bits_for(peaks)
    found = f"{len(peaks):,} images have 16-bit samples and state no number of bits"
    needing = Counter(bits_for([peak]) for peak in peaks)
    if needing[bits] < _RARE * len(peaks):
        most = max(needing, key=lambda each: needing[each])
        return (
            f"{found}; {needing[bits]:,} of them need {bits} bits and make the others dark, most of which need "
            f"{most}; --bits {most} reads those by their range and rejects the larger"
        )
    if bits == BITS[-1]:
        return None
    return f"{found}; their largest sample is {max(peaks)}, so they are read as {bits} bits; --bits sets another"


def _key(path: Path) -> str:
    try:
        status = path.stat()
    except OSError:  # it will be rejected when it is read
        return str(path)
    return f"{path} {status.st_size} {status.st_mtime_ns}"
