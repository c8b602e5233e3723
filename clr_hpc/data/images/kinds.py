"""Which files are images: by their names, or where these say nothing by their first bytes."""

import os
import re
from pathlib import Path

DICOM_SUFFIXES = frozenset({".dcm", ".dicom"})
IMAGE_SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp", ".gif", ".webp"}) | DICOM_SUFFIXES
"""Files with other suffixes are ignored, but for DICOM files, which often have none."""
MAGIC_BYTES = 132
"""How many bytes ``is_dicom`` needs: a DICOM file begins with 128 bytes that say nothing."""


def is_image(path: str | Path) -> bool:
    """Return whether a file is read: it has the suffix of a format, or no suffix and the first bytes of DICOM.

    An archive names its files by their UIDs, such as ``1.2.840.113619.2.5``, so a number is no suffix. A file that
    can't be opened is none.
    """
    name, suffix = os.path.splitext(os.path.basename(path))  # noqa: PTH119, PTH122
    if suffix.lower() in IMAGE_SUFFIXES:
        return True
    if name.upper() == "DICOMDIR" or not re.fullmatch(r"|\.\d+", suffix):
        return False
    return is_dicom(first_bytes(path))


def is_dicom(data: bytes) -> bool:
    """Return whether the first bytes of a file are those of DICOM."""
    return data[128:132] == b"DICM"


def first_bytes(path: str | Path) -> bytes:
    """Return the first ``MAGIC_BYTES`` of a file; none where it can't be opened."""
    try:
        with open(path, "rb") as file:  # noqa: PTH123
            return file.read(MAGIC_BYTES)
    except OSError:
        return b""
