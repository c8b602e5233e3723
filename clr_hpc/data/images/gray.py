"""From samples to a gray square of 8 bits."""

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from clr_hpc.data.images.encoded import Samples, Values
from clr_hpc.data.source import RejectedImageError

_CHANNEL_TOLERANCE = 8
"""Gray levels by which the colours of a gray picture may differ after lossy compression."""
_BLANK_LEVELS = 8
"""An image is blank if 98 % of it spans fewer gray levels of 255; a chest X-ray spans 100 and more."""
_BLANK_GRID = 64
"""Points a side, at least, at which that is measured."""
_ROWS_AT_ONCE = 64


def to_gray(samples: Samples, bits: int | None = 16) -> NDArray[np.uint8]:
    """Return ``(height, width)`` uint8, the one picture that several channels agree on.

    Args:
        samples: of ``decode``.
        bits: significant bits of 16-bit samples that state none; None takes the image's own largest sample.

    Raises:
        RejectedImageError: the channels hold colours or transparency, or a sample needs more bits.
    """
    if (gray := _opaque_gray(samples.values)) is not None:
        return 255 - gray if samples.is_negative else gray
    values = without_transparency(samples.values)
    if values.dtype == np.uint16:
        colours = _to_eight_bits(values, samples.bits or bits)
    else:
        colours = values.astype(np.uint8, copy=False)
    return 255 - _one_channel(colours) if samples.is_negative else _one_channel(colours)


def _opaque_gray(values: Values) -> NDArray[np.uint8] | None:
    """Return the gray of opaque RGBA pixels whose colours are equal, as some files of NIH's have them, else None.

    A pixel is compared as one number of 32 bits, a few rows at a time: temporaries as large as the image would
    cost more in page faults than the comparison takes.
    """
    if values.dtype != np.uint8 or values.shape[2:] != (4,) or not values.flags.c_contiguous:
        return None
    pixels = values.view("<u4")[..., 0]
    gray = np.empty(pixels.shape, np.uint8)
    for start in range(0, len(pixels), _ROWS_AT_ONCE):
        rows = slice(start, start + _ROWS_AT_ONCE)
        gray[rows] = pixels[rows]  # the lowest byte, red
        if not np.array_equal(gray[rows] * np.uint32(0x010101) + np.uint32(0xFF000000), pixels[rows]):
            return None
    return gray


def without_transparency(values: Values) -> Values:
    """Return the samples without their last channel where that is an alpha channel.

    Raises:
        RejectedImageError: a pixel is transparent.
    """
    if values.ndim != 3 or values.shape[2] not in (2, 4):
        return values
    if values[..., -1].min() < np.iinfo(values.dtype).max:
        raise RejectedImageError("transparent pixels; what lies beneath them isn't known")
    return values[..., :-1]


def _to_eight_bits(values: Values, bits: int | None) -> NDArray[np.uint8]:
    peak = int(values.max())
    largest = max(peak, 1) if bits is None else (1 << bits) - 1
    if peak > largest:
        raise RejectedImageError(f"a sample of {peak} needs more than {bits} bits; a larger --bits reads it")
    return _levels(largest)[values]


@lru_cache(maxsize=8)
def _levels(largest: int) -> NDArray[np.uint8]:
    """Return the gray level of each sample from 0 to ``largest``, rounded."""
    samples = np.arange(largest + 1, dtype=np.int64)
    return ((samples * 510 + largest) // (2 * largest)).astype(np.uint8)


def _one_channel(colours: NDArray[np.uint8]) -> NDArray[np.uint8]:
    if colours.ndim == 2:
        return colours
    gray = np.ascontiguousarray(colours[..., 0])
    if all(np.array_equal(gray, colours[..., channel]) for channel in range(1, colours.shape[2])):
        return gray
    difference = int(np.ptp(colours, axis=2).max())
    if difference > _CHANNEL_TOLERANCE:
        raise RejectedImageError(f"coloured: channels differ by up to {difference} of 255, a gray image is needed")
    return np.asarray(Image.fromarray(np.ascontiguousarray(colours)).convert("L"))


def check_blank(gray: NDArray[np.uint8]) -> None:
    """Reject an image that shows nothing: black, of one gray, or nearly so.

    Raises:
        RejectedImageError: 98 % of a grid of pixels spans fewer than 8 gray levels.
    """
    height, width = gray.shape
    grid = gray[:: max(1, height // _BLANK_GRID), :: max(1, width // _BLANK_GRID)]
    counts = np.cumsum(np.bincount(grid.ravel(), minlength=256))
    low, high = (int(level) for level in np.searchsorted(counts, (0.01 * counts[-1], 0.99 * counts[-1])))
    if high - low >= _BLANK_LEVELS:
        return
    if (lowest := int(gray.min())) == (highest := int(gray.max())):
        raise RejectedImageError("blank: " + (f"all pixels are {lowest} of 255" if highest else "black"))
    raise RejectedImageError(f"blank: 98 % of the pixels are between {low} and {high} of 255")


def fit_square(gray: NDArray[np.uint8], size: int, aspect: float = 1.0) -> NDArray[np.uint8]:
    """Return ``(size, size)``: the whole image, area-averaged, centred on black where it isn't square.

    Args:
        gray: ``(height, width)``.
        size: pixels a side.
        aspect: height of a pixel by its width. What is shown keeps its shape.

    Raises:
        RejectedImageError: the longer side is shorter than ``size``.
    """
    rows, columns = gray.shape
    # In units of the longer side of a pixel, so that no direction is enlarged.
    height, width = rows * min(1.0, aspect), columns * min(1.0, 1 / aspect)
    longer = max(height, width)
    if longer < size:
        raise RejectedImageError(
            f"{width:g} × {height:g} is smaller than the {size} × {size} of the pack; find a larger copy, or pack "
            "all with a smaller --size"
        )
    image = Image.fromarray(gray)
    if rows == columns == size and aspect == 1:
        return gray
    if rows == columns and aspect == 1 and rows % size == 0:
        return np.asarray(image.reduce(rows // size))
    fitted_width, fitted_height = (max(1, round(side * size / longer)) for side in (width, height))
    fitted = image.resize((fitted_width, fitted_height), Image.Resampling.BOX)
    square = Image.new("L", (size, size))
    square.paste(fitted, ((size - fitted_width) // 2, (size - fitted_height) // 2))
    return np.asarray(square)
