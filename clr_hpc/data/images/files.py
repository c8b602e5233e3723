"""An image file, read correctly or rejected with a reason: from bytes to a gray square.

PNG, which NIH ships, is decoded by imagecodecs: its libpng checks the checksum of every chunk, where Pillow hands
out the pixels of some damaged files, and it is faster (6.7 ms against 7.8 ms for 1024 × 1024). All else goes to
Pillow.
"""

import hashlib
import io
import struct
from pathlib import Path

import imagecodecs
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from clr_hpc.data.source import ImageRecord, ImageSource, RejectedImageError

RESAMPLING = "area average; an image that is not square is centred in a black square"

_PNG_START = b"\x89PNG\r\n\x1a\n"
_PNG_END = b"IEND\xaeB`\x82"
_PIXELS_MAX = 100_000_000
"""Limit against decompression bombs; a radiograph has 5 to 25 million."""
_CHANNEL_TOLERANCE = 8
"""Gray levels by which the colours of a gray picture may differ after lossy compression."""
_SIXTEEN_BIT_PEAK_MIN = 1 << 14
"""A 16-bit image whose samples all lie below it most likely holds 12 or 14 bits in a 16-bit container."""


class FileSource(ImageSource):
    """A source whose records have a ``path``."""

    def read(self, record: ImageRecord, size: int) -> tuple[NDArray[np.uint8], str]:
        assert record.path is not None
        return read_image_file(record.path, size)


def read_image_file(path: Path, size: int) -> tuple[NDArray[np.uint8], str]:
    """Return the image as ``(size, size)`` uint8 gray, and the SHA-256 of the file.

    Raises:
        RejectedImageError: the file is absent, unreadable, empty, damaged, not gray, or smaller than ``size``.
    """
    try:
        data = path.read_bytes()
    except (FileNotFoundError, PermissionError, IsADirectoryError) as error:
        # Other errors (a disk, a network share) say nothing about this image: they stop the work.
        raise RejectedImageError(f"can't be opened: {error.strerror}") from error
    return fit_square(to_gray(decode(data)), size), hashlib.sha256(data).hexdigest()


def decode(data: bytes) -> NDArray[np.uint8] | NDArray[np.uint16]:
    """Return the samples of an encoded image, ``(height, width)`` or ``(height, width, channels)``.

    Raises:
        RejectedImageError: ``data`` isn't one whole, undamaged image of up to 100 million pixels.
    """
    if not data:
        raise RejectedImageError("empty file")
    try:
        return _decode_png(data) if data.startswith(_PNG_START) else _decode_with_pillow(data)
    except RejectedImageError:
        raise
    except UnidentifiedImageError:
        raise RejectedImageError("not an image, or of a format that isn't known") from None
    except Exception as error:  # decoders raise half a dozen kinds, struct.error and SyntaxError among them
        raise RejectedImageError(f"damaged: {error}") from error


def _decode_png(data: bytes) -> NDArray[np.uint8] | NDArray[np.uint16]:
    if len(data) < 24 or data.rfind(_PNG_END) < 0:
        raise RejectedImageError("truncated: the end of the PNG file is missing")
    width, height = struct.unpack(">II", data[16:24])
    _check_pixels(width, height)
    samples: NDArray[np.uint8] | NDArray[np.uint16] = imagecodecs.png_decode(data)
    return samples


def _decode_with_pillow(data: bytes) -> NDArray[np.uint8] | NDArray[np.uint16]:
    with Image.open(io.BytesIO(data)) as image:
        _check_pixels(image.width, image.height)
        if (frames := getattr(image, "n_frames", 1)) != 1:
            raise RejectedImageError(f"holds {frames} images instead of one")
        image.load()
        upright = ImageOps.exif_transpose(image)
    match upright.mode:
        case "L" | "LA" | "RGB" | "RGBA" | "I;16" | "I;16L" | "I;16B" | "I;16N":
            samples = np.asarray(upright)
            return (
                samples.astype(np.uint16) if samples.dtype.itemsize == 2 else samples.astype(np.uint8, copy=False)
            )
        case "1":
            return np.asarray(upright.convert("L"))
        case "P" | "PA":
            return np.asarray(upright.convert("RGBA"))
        case mode:
            raise RejectedImageError(f"pixels of mode {mode}; 8- or 16-bit gray is needed")


def _check_pixels(width: int, height: int) -> None:
    if width * height > _PIXELS_MAX:
        raise RejectedImageError(f"{width} × {height} pixels are more than {_PIXELS_MAX:,}")


def to_gray(samples: NDArray[np.uint8] | NDArray[np.uint16]) -> NDArray[np.uint8]:
    """Return ``(height, width)`` uint8: the full range of 16 bits, the one picture that several channels agree on.

    Raises:
        RejectedImageError: the channels hold colours or transparency, or 16-bit samples leave the range unknown.
    """
    if samples.ndim == 3 and samples.shape[2] in (2, 4):
        if samples[..., -1].min() < np.iinfo(samples.dtype).max:
            raise RejectedImageError("transparent pixels; what lies beneath them isn't known")
        samples = samples[..., :-1]
    colours = _to_eight_bits(samples) if samples.dtype == np.uint16 else samples.astype(np.uint8, copy=False)
    if colours.ndim == 2:
        return colours
    gray = np.ascontiguousarray(colours[..., 0])
    if all(np.array_equal(gray, colours[..., channel]) for channel in range(1, colours.shape[2])):
        return gray
    difference = int(np.ptp(colours, axis=2).max())
    if difference > _CHANNEL_TOLERANCE:
        raise RejectedImageError(f"coloured: channels differ by up to {difference} of 255, a gray image is needed")
    return np.asarray(Image.fromarray(np.ascontiguousarray(colours)).convert("L"))


def _to_eight_bits(samples: NDArray[np.uint8] | NDArray[np.uint16]) -> NDArray[np.uint8]:
    peak = int(samples.max())
    if peak < _SIXTEEN_BIT_PEAK_MIN:
        raise RejectedImageError(
            f"16-bit samples up to {peak} only: probably {max(peak.bit_length(), 8)} bits in a 16-bit file, "
            "whose full range isn't known; rescale it to 8 bits or to 0 … 65535"
        )
    return ((samples.astype(np.uint32) + 128) // 257).astype(np.uint8)


def fit_square(gray: NDArray[np.uint8], size: int) -> NDArray[np.uint8]:
    """Return ``(size, size)``: the whole image, area-averaged, centred on black where it isn't square.

    Raises:
        RejectedImageError: the longer side is shorter than ``size``.
    """
    height, width = gray.shape
    longer = max(height, width)
    if longer < size:
        raise RejectedImageError(
            f"{width} × {height} is smaller than the pack's {size}; a smaller --size admits it"
        )
    image = Image.fromarray(gray)
    if height == width == size:
        return gray
    if height == width and longer % size == 0:
        return np.asarray(image.reduce(longer // size))
    fitted_width, fitted_height = (max(1, round(side * size / longer)) for side in (width, height))
    fitted = image.resize((fitted_width, fitted_height), Image.Resampling.BOX)
    square = Image.new("L", (size, size))
    square.paste(fitted, ((size - fitted_width) // 2, (size - fitted_height) // 2))
    return np.asarray(square)
