"""A DICOM file, read as a radiograph or rejected with a reason.

No reason quotes what a tag holds but for its kind: modality, body part, view, window. All else may name a patient.
"""

import io
import math
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset, dcmread
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian

from clr_hpc.data.images.dicom_codecs import decoder_of
from clr_hpc.data.images.dicom_levels import gray_levels
from clr_hpc.data.images.dicom_tags import WITHOUT_PIXELS, read_tags, why_unfit
from clr_hpc.data.images.encoded import check_pixels
from clr_hpc.data.images.kinds import is_dicom
from clr_hpc.data.images.quiet import quiet
from clr_hpc.data.source import RejectedImageError

_SPACINGS = ("PixelSpacing", "ImagerPixelSpacing", "NominalScannedPixelSpacing", "PixelAspectRatio")
_ASPECT_MOST = 4.0
_ASPECT_TOLERANCE = 0.01


def read_dicom(data: bytes, window: str = "first") -> tuple[NDArray[np.uint8], float]:
    """Return the image ``(height, width)`` as uint8 gray, and the height of its pixels by their width.

    Args:
        data: of the file.
        window: ``first``, ``full``, a number from 1, or a name.

    Raises:
        RejectedImageError: the file is damaged, no radiograph of a chest, not gray, or has no such window.
    """
    with quiet():
        dataset = open_dicom(data)
        try:
            if reason := why_unfit(read_tags(dataset)):
                raise RejectedImageError(reason)
            _check_header(dataset)
            aspect = _aspect(dataset)
        except RejectedImageError:
            raise
        except Exception as error:  # values are decoded when they are read, and fail in many ways
            raise RejectedImageError(f"damaged: its header can't be read ({type(error).__name__})") from error
        try:
            return _gray(dataset, window), aspect
        except RejectedImageError:
            raise
        except Exception as error:
            raise RejectedImageError(f"damaged: its pixels can't be decoded ({type(error).__name__})") from error


def open_dicom(data: bytes, with_pixels: bool = True) -> Dataset:
    """Return the data set of a DICOM file, also of one without its usual first bytes.

    Raises:
        RejectedImageError: it is none, or damaged.
    """
    try:
        dataset = dcmread(io.BytesIO(data), stop_before_pixels=not with_pixels, force=not is_dicom(data))
        if "SOPClassUID" not in dataset and "Rows" not in dataset:
            raise RejectedImageError("not an image, or of a format that isn't known")
        if "TransferSyntaxUID" not in dataset.file_meta:
            is_implicit = dataset.original_encoding[0]
            dataset.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian if is_implicit else ExplicitVRLittleEndian
    except RejectedImageError:
        raise
    except Exception as error:
        raise RejectedImageError(f"damaged: its header can't be read ({type(error).__name__})") from error
    return dataset


def _check_header(dataset: Dataset) -> None:
    """Reject what is no single gray image.

    Raises:
        RejectedImageError: it has no pixels, several frames, colours, or other numbers than integers of 16 bits.
    """
    if "Rows" not in dataset or "PixelData" not in dataset:
        raise RejectedImageError(WITHOUT_PIXELS)
    check_pixels(dataset.Columns, dataset.Rows)
    if (frames := int(dataset.get("NumberOfFrames") or 1)) != 1:
        raise RejectedImageError(f"holds {frames} frames instead of one image")
    photometric = str(dataset.get("PhotometricInterpretation"))
    if dataset.SamplesPerPixel != 1 or photometric not in ("MONOCHROME1", "MONOCHROME2"):
        raise RejectedImageError(f"coloured: {photometric}; MONOCHROME1 or MONOCHROME2 is needed")
    if dataset.BitsAllocated not in (8, 16) or not 1 <= dataset.BitsStored <= dataset.BitsAllocated:
        bits = f"{dataset.BitsStored} bits in {dataset.BitsAllocated}"
        raise RejectedImageError(f"pixels of {bits}; up to 16 bits in 8 or 16 are read")
    if dataset.HighBit != dataset.BitsStored - 1:
        raise RejectedImageError(f"the high bit of {dataset.BitsStored} bits is {dataset.HighBit}")


def _gray(dataset: Dataset, window: str) -> NDArray[np.uint8]:
    try:
        decoder, plugin = decoder_of(dataset.file_meta.TransferSyntaxUID)
    except NotImplementedError as error:
        name = dataset.file_meta.TransferSyntaxUID.name
        raise RejectedImageError(f"pixels compressed as {name}, which isn't read") from error
    options: Any = {"correct_unused_bits": False}  # the levels ignore them, and padding may use them
    words, _ = decoder.as_array(dataset, raw=True, decoding_plugin=plugin, **options)
    unsigned = words.view(words.dtype.str.replace("i", "u"))  # of the same byte order
    gray: NDArray[np.uint8] = gray_levels(dataset, 8 * words.dtype.itemsize, window)[unsigned]
    return gray


def _aspect(dataset: Dataset) -> float:
    """Return the height of a pixel by its width; 1 where nothing is said.

    Raises:
        RejectedImageError: the header says what no detector has.
    """
    spacing = next((dataset.get(name) for name in _SPACINGS if dataset.get(name)), (1, 1))
    height, width = (float(side) for side in spacing)
    aspect = height / width if width else math.inf
    if not 1 / _ASPECT_MOST <= aspect <= _ASPECT_MOST:
        raise RejectedImageError(f"pixels of {height:g} × {width:g}, whose shape can't be right")
    return 1.0 if abs(aspect - 1) < _ASPECT_TOLERANCE else aspect
