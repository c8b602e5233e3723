"""How fast DICOM files are read for a pack, against pydicom alone.

    python benchmarks/dicom.py

A minute on 2 cores. Eight made-up radiographs of 2048 × 2048 and 12 bits with a window, for each way to compress
them. "pydicom alone" is dcmread, pixel_array, apply_modality_lut and apply_voi_lut, then 8 bits, and shrinking by
Pillow; where pydicom has no decoder of its own, it takes our plug-in. Both on one core, in turns; the ratio is
that of their CPU times.
"""

import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import imagecodecs
import numpy as np
from PIL import Image
from pydicom import Dataset, FileMetaDataset, dcmread
from pydicom.encaps import encapsulate
from pydicom.pixels import apply_modality_lut, apply_voi_lut
from pydicom.uid import (
    UID,
    DigitalXRayImageStorageForPresentation,
    ExplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLosslessSV1,
    RLELossless,
    generate_uid,
)
from rich.console import Console
from rich.table import Table

from clr_hpc.data.images.dicom_codecs import decoder_of
from clr_hpc.data.images.files import read_image_file
from parts.command import parser

SIZE, BITS = 256, 12
ENCODE: dict[UID, Callable[[np.ndarray], bytes] | None] = {
    ExplicitVRLittleEndian: None,
    RLELossless: None,
    JPEGLosslessSV1: lambda pixels: imagecodecs.jpeg8_encode(pixels, lossless=True, bitspersample=BITS),
    JPEG2000Lossless: lambda pixels: imagecodecs.jpeg2k_encode(
        pixels, codecformat="j2k", reversible=True, level=0
    ),
}
"""What pydicom does not compress itself."""


def write_radiograph(path: Path, syntax: UID, side: int, seed: int) -> None:
    """Write a smooth image with noise, as a detector gives it."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[0 : 1 : side * 1j, 0 : 1 : side * 1j]
    shown = 1500 + 1200 * np.sin(3 * x + seed) * np.cos(4 * y) + rng.normal(0, 20, (side, side))
    pixels = shown.clip(0, (1 << BITS) - 1).astype(np.uint16)
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = syntax
    dataset.SOPClassUID, dataset.SOPInstanceUID = DigitalXRayImageStorageForPresentation, generate_uid()
    dataset.Modality, dataset.PhotometricInterpretation, dataset.SamplesPerPixel = "DX", "MONOCHROME2", 1
    dataset.Rows = dataset.Columns = side
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit, dataset.PixelRepresentation = 16, BITS, BITS - 1, 0
    dataset.WindowCenter, dataset.WindowWidth = 1500, 2600
    encode = ENCODE[syntax]
    dataset.PixelData = pixels.tobytes() if encode is None else encapsulate([encode(pixels)])
    dataset["PixelData"].VR = "OW" if encode is None else "OB"
    if syntax == RLELossless:
        dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        dataset.compress(RLELossless, generate_instance_uid=False)
    dataset.save_as(path, enforce_file_format=True)


def pydicom_alone(path: Path) -> np.ndarray:
    """Read with pydicom, and shrink with Pillow."""
    dataset = dcmread(path)
    shown = apply_voi_lut(apply_modality_lut(dataset.pixel_array, dataset), dataset)
    gray = np.round(shown / ((1 << BITS) - 1) * 255).astype(np.uint8)
    return np.asarray(Image.fromarray(gray).reduce(len(gray) // SIZE))


def ours(path: Path) -> np.ndarray:
    """Read as a pack does, with all checks and the checksum."""
    return read_image_file(path, SIZE)[0]


def measure(paths: list[Path], turns: int) -> dict[str, float]:
    """Return the CPU seconds per file of both readers, the best of several turns."""
    seconds: dict[str, list[float]] = {}
    for _ in range(turns):
        for read in (ours, pydicom_alone):
            start = time.process_time()
            for path in paths:
                read(path)
            seconds.setdefault(read.__name__, []).append((time.process_time() - start) / len(paths))
    return {name: min(values) for name, values in seconds.items()}


def main() -> None:
    """Measure and print."""
    command = parser(__doc__)
    command.add_argument("--side", type=int, default=2048, help="pixels a side, a multiple of 256")
    command.add_argument("--files", type=int, default=8)
    command.add_argument("--turns", type=int, default=3)
    options = command.parse_args()
    table = Table("pixels", "ours, CPU ms", "pydicom alone", "ours is × as fast")
    for syntax in ENCODE:
        with tempfile.TemporaryDirectory() as folder:
            paths = [Path(folder, f"{number}.dcm") for number in range(options.files)]
            for number, path in enumerate(paths):
                write_radiograph(path, syntax, options.side, number)
            decoder_of(syntax)  # from here on pydicom has our plug-in, after its own
            cost = measure(paths, options.turns)
        bare, own = cost["pydicom_alone"], cost["ours"]
        table.add_row(syntax.name, f"{1000 * own:.1f}", f"{1000 * bare:.1f}", f"{bare / own:.2f}")
    Console().print(table)


if __name__ == "__main__":
    main()
