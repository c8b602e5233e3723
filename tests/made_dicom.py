"""DICOM files that tests write: a gray ramp with a spot, its header changed and its pixels compressed."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
from pydicom import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.sequence import Sequence
from pydicom.uid import (
    UID,
    DeflatedExplicitVRLittleEndian,
    DigitalXRayImageStorageForPresentation,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGExtended12Bit,
    JPEGLosslessSV1,
    JPEGLSLossless,
    RLELossless,
    generate_uid,
)

Encode = Callable[[np.ndarray, int], bytes]
COMPRESSED: dict[UID, Encode] = {
    JPEGLosslessSV1: lambda pixels, bits: imagecodecs.jpeg8_encode(
        _unsigned(pixels, bits), lossless=True, bitspersample=bits
    ),
    JPEGExtended12Bit: lambda pixels, bits: imagecodecs.jpeg8_encode(pixels, level=100, bitspersample=bits),
    JPEG2000Lossless: lambda pixels, _: imagecodecs.jpeg2k_encode(
        pixels, codecformat="j2k", reversible=True, level=0
    ),
    JPEGLSLossless: lambda pixels, bits: imagecodecs.jpegls_encode(_unsigned(pixels, bits)),
}
NATIVE = (ImplicitVRLittleEndian, ExplicitVRLittleEndian, ExplicitVRBigEndian, DeflatedExplicitVRLittleEndian)
LOSSLESS = (*NATIVE, JPEGLosslessSV1, JPEG2000Lossless, JPEGLSLossless, RLELossless)


def _unsigned(pixels: np.ndarray, bits: int) -> np.ndarray:
    """Return the stored bits of pixels, for formats that know no sign."""
    return pixels.view(f"u{pixels.dtype.itemsize}") & np.array((1 << bits) - 1, f"u{pixels.dtype.itemsize}")


def picture(bits: int = 12, seed: int = 0, rows: int = 64, columns: int = 64) -> np.ndarray:
    """Return a ramp with a spot and some noise, ``(rows, columns)`` of all values of ``bits``."""
    y, x = np.mgrid[0 : 1 : rows * 1j, 0 : 1 : columns * 1j]
    noise = np.random.default_rng(seed).random((rows, columns))
    shown = 0.7 * x + 0.2 * ((x - 0.5) ** 2 + (y - 0.5) ** 2 < 0.05) + 0.1 * noise
    scaled = np.round(shown / shown.max() * ((1 << bits) - 1))
    return scaled.astype(np.uint16 if bits > 8 else np.uint8)


def write_dicom(
    path: Path, pixels: np.ndarray | None = None, syntax: UID = ExplicitVRLittleEndian, bits: int = 12, **tags: Any
) -> np.ndarray:
    """Write a chest radiograph and return its pixels; a tag of None is left out."""
    pixels = picture(bits) if pixels is None else pixels
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = syntax
    dataset.file_meta.MediaStorageSOPInstanceUID = generate_uid(entropy_srcs=[path.name])
    values: dict[str, Any] = {
        "SOPClassUID": DigitalXRayImageStorageForPresentation,
        "SOPInstanceUID": generate_uid(entropy_srcs=[path.name]),
        "StudyInstanceUID": generate_uid(entropy_srcs=[path.name, "study"]),
        "PatientID": "p1",
        "PatientName": "Doe^John",
        "PatientAge": "058Y",
        "PatientSex": "F",
        "Modality": "DX",
        "BodyPartExamined": "CHEST",
        "ViewPosition": "PA",
        "PhotometricInterpretation": "MONOCHROME2",
        "SamplesPerPixel": 1 if pixels.ndim == 2 or "NumberOfFrames" in tags else pixels.shape[2],
        "Rows": pixels.shape[-2] if "NumberOfFrames" in tags else pixels.shape[0],
        "Columns": pixels.shape[-1] if "NumberOfFrames" in tags else pixels.shape[1],
        "BitsAllocated": 8 * pixels.dtype.itemsize,
        "BitsStored": bits,
        "HighBit": bits - 1,
        "PixelRepresentation": int(pixels.dtype.kind == "i"),
    }
    for name, value in (values | tags).items():
        if value is not None:
            setattr(dataset, name, value)
    _set_pixels(dataset, pixels, syntax, bits)
    dataset.save_as(path, enforce_file_format=True)
    return pixels


def _set_pixels(dataset: Dataset, pixels: np.ndarray, syntax: UID, bits: int) -> None:
    if syntax in COMPRESSED:
        dataset.PixelData = encapsulate([COMPRESSED[syntax](pixels, bits)])
        dataset["PixelData"].VR = "OB"
    elif syntax == RLELossless:
        dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        dataset.PixelData = pixels.tobytes()
        dataset.compress(RLELossless, generate_instance_uid=False)
    else:
        stored = pixels.astype(pixels.dtype.newbyteorder(">" if syntax == ExplicitVRBigEndian else "<"))
        dataset.PixelData = stored.tobytes()
        dataset["PixelData"].VR = "OW" if pixels.dtype.itemsize == 2 else "OB"


def lookup_table(values: np.ndarray, first: int, bits: int, name: str = "") -> Sequence:
    """Return a sequence of one lookup table, for ``VOILUTSequence`` or ``ModalityLUTSequence``."""
    item = Dataset()
    item.LUTDescriptor = [len(values), first, bits]
    item["LUTDescriptor"].VR = "US" if first >= 0 else "SS"
    item.LUTData = [int(value) for value in values]
    item["LUTData"].VR = "US"
    item.LUTExplanation = name
    return Sequence([item])
