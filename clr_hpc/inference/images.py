"""Images to score, from files, arrays or a pack, as squares of the size that a study's pack has."""

import logging
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clr_hpc.config.base import UserError
from clr_hpc.config.resources import usable_cores
from clr_hpc.data.images.bits import BITS, about, bits_for, peak_of, survey
from clr_hpc.data.images.encoded import Samples
from clr_hpc.data.images.files import OWN_RANGE, read_square
from clr_hpc.data.images.gray import check_blank, fit_square, to_gray
from clr_hpc.data.images.listing import list_files
from clr_hpc.data.source import RejectedImageError

log = logging.getLogger(__name__)
AT_ONCE = 256
"""Images that are held and scored together; four batches of the CPU."""


@dataclass(frozen=True)
class Reading:
    """How the images of a study's pack were read, which holds for new ones too."""

    size: int
    """Pixels a side."""
    bits: int | str | None = None
    """Significant bits of 16-bit samples that state none; ``image``: each by its own largest sample; None: the
    pack doesn't say, so they are found from all images that are given, as in packing."""
    window: str = "first"
    """Of DICOM files."""

    @classmethod
    def of(cls, manifest: Mapping[str, Any]) -> "Reading":
        """Return that of a pack, by its manifest."""
        source = manifest.get("source", {})
        return cls(int(manifest["size"]), source.get("bits"), source.get("window", "first"))

    def settled(self, peaks: Sequence[int]) -> "Reading":
        """Return it with a number of bits: where none is known, the fewest that hold these largest samples."""
        if self.bits is not None or not peaks:
            return self
        if (message := about(peaks)) is not None:
            log.warning(message)
        return replace(self, bits=bits_for(peaks))

    @property
    def given_bits(self) -> int | None:
        """The number of bits, None where each image has its own."""
        return None if self.bits == OWN_RANGE else int(self.bits or BITS[-1])


@dataclass(frozen=True)
class Images:
    """Some images that were read."""

    names: tuple[str, ...]
    pixels: NDArray[np.uint8]
    """``(N, size, size)``."""
    rejected: tuple[tuple[str, str], ...]
    """Name and reason of each that could not be."""


def files_of(given: Iterable[str | Path]) -> list[Path]:
    """Return the image files that paths name: files themselves, all below folders, and matches of patterns.

    Raises:
        SourceError: a path names nothing.
        UserError: a folder or pattern has no image.
    """
    found: dict[Path, None] = {}
    for each in map(Path, given):
        if each.is_file():
            found[each] = None
            continue
        paths = [file.root / file.name for file in list_files(each).images]
        if not paths:
            raise UserError(f"{each}: no image is there; name a file, a folder of images, or a pattern in quotes")
        found.update(dict.fromkeys(paths))
    return list(found)


def read_files(files: Sequence[Path], reading: Reading, workers: int | None = None) -> Iterator[Images]:
    """Read files in threads, ``AT_ONCE`` of them ahead of those that are taken.

    Args:
        files: in the order of the answer.
        reading: as the study's pack was read.
        workers: threads; None: one per core.
    """

    reading = reading.settled(_peaks(files) if reading.bits is None else ())

    def read(path: Path) -> NDArray[np.uint8] | str:
        try:
            return read_square(path, reading.size, reading.given_bits, reading.window)
        except RejectedImageError as error:
            return str(error)

    parts = [files[first : first + AT_ONCE] for first in range(0, len(files), AT_ONCE)]
    with ThreadPoolExecutor(workers or usable_cores()) as pool:
        ahead = deque([pool.submit(read, path) for path in part] for part in parts[:1])
        for number, part in enumerate(parts):
            ahead.extend([pool.submit(read, path) for path in later] for later in parts[number + 1 : number + 2])
            yield _gathered([str(path) for path in part], [each.result() for each in ahead.popleft()], reading)


def _peaks(files: Sequence[Path]) -> list[int]:
    """Return the largest sample of each file of 16-bit samples that states no bits."""
    with ThreadPoolExecutor(usable_cores()) as pool:
        return [peak for peak in pool.map(peak_of, survey(files).deep) if peak is not None]


def read_arrays(arrays: Sequence[Any], reading: Reading) -> Images:
    """Return arrays ``(H, W)`` or ``(H, W, channels)`` of 8 or 16 bits, or pictures of Pillow, named by position.

    Raises:
        UserError: one is of another shape or type.
    """
    read: list[NDArray[np.uint8] | str] = []
    samples = [np.asarray(given) for given in arrays]
    deep = [values for values in samples if values.dtype == np.uint16 and values.size]
    reading = reading.settled([int(values.max()) for values in deep])
    for number, values in enumerate(samples):
        channels = values.shape[2] if values.ndim == 3 else 1
        if values.ndim not in (2, 3) or channels > 4 or values.dtype not in (np.uint8, np.uint16):
            raise UserError(
                f"image {number} is {values.dtype} of shape {values.shape}; give (height, width) of uint8 or "
                "uint16, and several as a list"
            )
        try:
            gray = to_gray(Samples(values, None), reading.given_bits)
            check_blank(gray)
            read.append(fit_square(gray, reading.size))
        except RejectedImageError as error:
            read.append(str(error))
    return _gathered([str(number) for number in range(len(arrays))], read, reading)


def _gathered(names: Sequence[str], read: Sequence[NDArray[np.uint8] | str], reading: Reading) -> Images:
    kept = [(name, pixels) for name, pixels in zip(names, read, strict=True) if not isinstance(pixels, str)]
    rejected = [(name, reason) for name, reason in zip(names, read, strict=True) if isinstance(reason, str)]
    none = np.empty((0, reading.size, reading.size), np.uint8)
    pixels = np.stack([pixels for _, pixels in kept]) if kept else none
    return Images(tuple(name for name, _ in kept), pixels, tuple(rejected))
