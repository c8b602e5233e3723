"""The gray level of each stored value of a DICOM image: rescaled, windowed, inverted, and its padding black."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset
from pydicom.pixels.processing import apply_modality_lut, apply_voi, apply_windowing

from clr_hpc.data.source import RejectedImageError

FIRST, FULL = "first", "full"
"""Windows: the first of a file, or all stored values where it has none; always all of them."""


def gray_levels(dataset: Dataset, container: int, window: str) -> NDArray[np.uint8]:
    """Return the gray level of every stored word ``(2 ** container,)``.

    Pixels are integers of at most 16 bits, so that each step is done once per value and not once per pixel.

    Args:
        dataset: the header.
        container: bits of a word, 8 or 16.
        window: ``first``, ``full``, a number from 1, or a name.

    Raises:
        RejectedImageError: the header has no such window, or one that can't be used.
    """
    words = np.arange(1 << container)
    values = _stored_values(words, dataset)
    shown, black, white = _windowed(apply_modality_lut(values, dataset), dataset, window)
    share = np.clip((shown.astype(np.float64) - black) / (white - black), 0, 1)
    levels = np.floor(share * 255 + 0.5).astype(np.uint8)
    if dataset.PhotometricInterpretation == "MONOCHROME1":
        levels = 255 - levels
    levels[_is_padding(words, values, dataset)] = 0
    return levels


def _stored_values(words: NDArray[np.int64], dataset: Dataset) -> NDArray[np.int64]:
    """Return what words stand for: their stored bits, as signed numbers where the header says so."""
    bits = dataset.BitsStored
    values = words & ((1 << bits) - 1)
    signed: NDArray[np.int64] = np.where(values >= 1 << (bits - 1), values - (1 << bits), values)
    return signed if _is_signed(dataset) else values


def _is_signed(dataset: Dataset) -> bool:
    return bool(dataset.get("PixelRepresentation", 0) == 1)


def _is_padding(words: NDArray[Any], values: NDArray[Any], dataset: Dataset) -> NDArray[np.bool_]:
    """Return which words are no part of the image, also where they need more than the stored bits."""
    value = dataset.get("PixelPaddingValue")
    if value is None:
        return np.zeros(words.shape, np.bool_)
    limit = dataset.get("PixelPaddingRangeLimit")
    low, high = sorted((int(value), int(value if limit is None else limit)))
    wrapped = (low % len(words), high % len(words)) if low < 0 and not _is_signed(dataset) else (low, high)
    return ((values >= low) & (values <= high)) | ((words >= wrapped[0]) & (words <= wrapped[1]))


def _windowed(values: NDArray[Any], dataset: Dataset, window: str) -> tuple[NDArray[Any], float, float]:
    """Return the values that are shown, and which of them are black and white."""
    luts = list(dataset.get("VOILUTSequence") or [])
    centers = _listed(dataset.get("WindowCenter")) if dataset.get("WindowWidth") is not None else []
    names = [str(lut.get("LUTExplanation", "")) for lut in luts]
    window_names = [*map(str, _listed(dataset.get("WindowCenterWidthExplanation"))), *[""] * len(centers)]
    chosen = _choose(window, names or [""] * len(luts), window_names[: len(centers)])
    low, high = _range(dataset)
    if chosen is None:
        return values, min(low, high), max(low, high)
    is_lut, index = chosen
    if is_lut:
        entries, first, bits = luts[index].LUTDescriptor
        # pydicom looks up tables of 8 bits by indices of 8 bits, which wrap around
        luts[index].LUTDescriptor = [entries, first, max(bits, 16)]
        return apply_voi(values, dataset, index), 0, (1 << bits) - 1
    try:
        return apply_windowing(values, dataset, index), low, high
    except ValueError as error:
        raise RejectedImageError("its window can't be used; --window full reads it without") from error


def _choose(window: str, luts: Sequence[str], windows: Sequence[str]) -> tuple[bool, int] | None:
    """Return whether it is a table, and its place among those of its kind; None for all stored values."""
    places = [(True, index) for index in range(len(luts))] + [(False, index) for index in range(len(windows))]
    if window == FULL or (window == FIRST and not places):
        return None
    if window == FIRST:
        return places[0]
    of_kind = len(luts) or len(windows)
    if window.isdecimal():
        if 1 <= int(window) <= of_kind:
            return places[int(window) - 1]
        raise RejectedImageError(f"no window {window}: it has {of_kind}")
    names = [name.strip().casefold() for name in (*luts, *windows)]
    if window.strip().casefold() in names:
        return places[names.index(window.strip().casefold())]
    raise RejectedImageError(
        f"no window of the name {window!r}: it has {', '.join(filter(None, names)) or 'none'}"
    )


def _range(dataset: Dataset) -> tuple[float, float]:
    """Return what the smallest and the largest stored value become by the modality's table or scale."""
    if dataset.get("ModalityLUTSequence"):
        return 0, (1 << dataset.ModalityLUTSequence[0].LUTDescriptor[2]) - 1
    half = 1 << (dataset.BitsStored - 1)
    low, high = (-half, half - 1) if _is_signed(dataset) else (0, 2 * half - 1)
    if dataset.get("RescaleSlope") is None or dataset.get("RescaleIntercept") is None:
        return low, high
    slope, intercept = float(dataset.RescaleSlope), float(dataset.RescaleIntercept)
    return low * slope + intercept, high * slope + intercept


def _listed(value: Any) -> list[Any]:
    if value is None:
        return []
    return [value] if isinstance(value, str | float | int) else list(value)
