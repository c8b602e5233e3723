"""An image file, read correctly or rejected with a reason: from a path to a gray square."""

import hashlib
import logging
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Self

import numpy as np
from numpy.typing import NDArray

from clr_hpc.data.images.bits import BITS, RULE, about, bits_for, peaks_of, survey
from clr_hpc.data.images.encoded import decode
from clr_hpc.data.images.gray import check_blank, fit_square, to_gray
from clr_hpc.data.images.kinds import DICOM_SUFFIXES, is_dicom
from clr_hpc.data.source import ImageRecord, ImageSource, Option, RejectedImageError, SourceError

log = logging.getLogger(__name__)
RESAMPLING = "area average; an image that is not square is centred in a black square"
OWN_RANGE = "image"
"""For ``bits``: each image by its own largest sample."""
_FULL_RANGE = 16


@dataclass(frozen=True)
class FileSource(ImageSource):
    """A source whose records have a ``path``."""

    bits: Annotated[
        str | None,
        Option(
            "Significant bits of 16-bit samples whose file states none: 8 to 16, or 'image' for each image's own "
            "range (default: found from all files).",
            metavar="N|image",
        ),
    ] = field(default=None, kw_only=True)
    window: Annotated[
        str,
        Option(
            "Window of DICOM files: first, full (all stored values), a number (2: the second), or a name.",
            metavar="first|full|N|NAME",
        ),
    ] = field(default="first", kw_only=True)

    def __post_init__(self) -> None:
        """Check the options.

        Raises:
            SourceError: ``bits`` is no number of bits.
        """
        if self.bits is not None:
            checked_bits(self.bits)

    def look_through(
        self, records: Sequence[ImageRecord], workers: int, memory: Path
    ) -> tuple[Self, dict[str, object]]:
        """Find the significant bits of 16-bit files that state none, if there are any and no ``bits``."""
        found = survey([record.path for record in records if record.path is not None])
        said: dict[str, object] = {"window": self.window} if found.has_dicom else {}
        if not found.deep:
            return self, said
        if self.bits is not None:
            return self, said | {"bits": self.bits}
        peaks = peaks_of(found.deep, workers, memory)
        bits = bits_for(peaks)
        if message := about(peaks):
            log.warning(message)
        return replace(self, bits=str(bits)), said | {"bits": bits, "bits_from": RULE, "bits_files": len(peaks)}

    def read(self, record: ImageRecord, size: int) -> tuple[NDArray[np.uint8], str]:
        """Return pixels ``(size, size)`` uint8 and the SHA-256 of the file.

        Raises:
            RejectedImageError: the image can't be read correctly; the message says why.
        """
        assert record.path is not None
        bits = None if self.bits == OWN_RANGE else int(self.bits or _FULL_RANGE)
        return read_image_file(record.path, size, bits, self.window)


def checked_bits(bits: str) -> str:
    """Return the text of ``--bits``.

    Raises:
        SourceError: it is no number of bits.
    """
    if bits not in (*map(str, range(BITS[0], BITS[-1] + 1)), OWN_RANGE):
        raise SourceError(f"--bits {bits}: give a number from {BITS[0]} to {BITS[-1]}, or {OWN_RANGE}")
    return bits


def read_image_file(
    path: Path, size: int, bits: int | None = _FULL_RANGE, window: str = "first"
) -> tuple[NDArray[np.uint8], str]:
    """Return the image as ``(size, size)`` uint8 gray, and the SHA-256 of the file.

    Args:
        path: of the file.
        size: pixels a side.
        bits: significant bits of 16-bit samples where the file states none; None: by its own largest sample.
        window: of a DICOM file: ``first``, ``full``, a number from 1, or a name.

    Raises:
        RejectedImageError: the file can't be opened, is damaged, blank, not gray, or smaller than ``size``.
    """
    data = _bytes_of(path)
    return _square(data, path.suffix, size, bits, window), hashlib.sha256(data).hexdigest()


def read_square(path: Path, size: int, bits: int | None = _FULL_RANGE, window: str = "first") -> NDArray[np.uint8]:
    """Return the image as ``read_image_file`` does, without the time that the SHA-256 takes."""
    return _square(_bytes_of(path), path.suffix, size, bits, window)


def _bytes_of(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except (FileNotFoundError, PermissionError, IsADirectoryError) as error:
        # Other errors (a disk, a network share) say nothing about this image: they stop the work.
        raise RejectedImageError(f"can't be opened: {error.strerror}") from error


def _square(data: bytes, suffix: str, size: int, bits: int | None, window: str) -> NDArray[np.uint8]:
    if is_dicom(data) or (data and suffix.lower() in DICOM_SUFFIXES):
        gray, aspect = _read_dicom(data, window)
    else:
        gray, aspect = to_gray(decode(data), bits), 1.0
    check_blank(gray)
    return fit_square(gray, size, aspect)


def _read_dicom(data: bytes, window: str) -> tuple[NDArray[np.uint8], float]:
    try:
        from clr_hpc.data.images.dicom import read_dicom
    except ModuleNotFoundError as error:
        reason = f'a DICOM file, which needs {error.name}; install it: pip install "clr-hpc[dicom]"'
        raise RejectedImageError(reason) from error
    return read_dicom(data, window)
