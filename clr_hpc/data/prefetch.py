"""A pack's pixels on the device that trains: all of them kept there, or fetched a batch ahead."""

from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from clr_hpc.data.pack import Pack

RESIDENT_SHARE = 0.3
"""Share of a GPU's free memory that a resident pack may take. The rest is for networks."""
COPIED_AT_ONCE = 4096
"""Images."""


class DevicePixels(Protocol):
    """Gives pixels on a device."""

    def gather(self, rows: NDArray[np.int64]) -> Tensor:
        """Return the pixels ``(B, S, S)`` uint8 of index rows ``(B,)``, on the device."""

    def prefetch(self, batches: Callable[[], Sequence[NDArray[np.int64]]]) -> None:
        """Announce the rows of the next batches; gathering other rows instead stays correct.

        ``batches`` is only called where pixels are read ahead.
        """


class ResidentPixels:
    """All images of a pack on the device: a batch is one gather there, and nothing crosses the bus."""

    def __init__(self, pack: Pack, device: torch.device) -> None:
        """Copy the pack to the device.

        Raises:
            torch.OutOfMemoryError: it doesn't fit.
        """
        size, images = pack.manifest.size, len(pack.index)
        self._pixels = torch.empty((images, size, size), dtype=torch.uint8, device=device)
        for first in range(0, images, COPIED_AT_ONCE):
            rows = np.arange(first, min(first + COPIED_AT_ONCE, images))
            self._pixels[first : first + len(rows)].copy_(torch.from_numpy(pack.gather(rows)))

    def gather(self, rows: NDArray[np.int64]) -> Tensor:
        """See ``DevicePixels``."""
        return self._pixels.index_select(0, torch.from_numpy(rows).to(self._pixels.device, non_blocking=True))

    def prefetch(self, batches: Callable[[], Sequence[NDArray[np.int64]]]) -> None:
        """See ``DevicePixels``; there is nothing to fetch."""


@dataclass(frozen=True)
class _Fetched:
    pixels: Tensor
    copied: torch.cuda.Event | None
    """Happens when the pixels are on the GPU."""


class FetchedPixels:
    """Images read from the pack's files by a thread, a batch ahead of the step that trains on them.

    So a step waits neither for a disk nor, on a GPU, for the bus: pixels are copied from pinned memory on a
    stream of their own.
    """

    def __init__(self, pack: Pack, device: torch.device) -> None:
        """Read nothing yet."""
        self._pack, self._device = pack, device
        self._copies = torch.cuda.Stream(device) if device.type == "cuda" else None  # type: ignore[no-untyped-call]
        self._prefetched: deque[tuple[NDArray[np.int64], Future[_Fetched]]] = deque()
        # ends when this object is forgotten
        self._thread = ThreadPoolExecutor(1, "pixels")

    def gather(self, rows: NDArray[np.int64]) -> Tensor:
        """See ``DevicePixels``."""
        if self._prefetched and np.array_equal(self._prefetched[0][0], rows):
            fetched = self._prefetched.popleft()[1].result()
        else:
            fetched = self._fetch(rows)
        if fetched.copied is not None:
            stream = torch.cuda.current_stream(self._device)
            stream.wait_event(fetched.copied)
            fetched.pixels.record_stream(stream)
        return fetched.pixels

    def prefetch(self, batches: Callable[[], Sequence[NDArray[np.int64]]]) -> None:
        """See ``DevicePixels``; what was prefetched before and not gathered is dropped."""
        self._prefetched = deque((rows, self._thread.submit(self._fetch, rows)) for rows in batches())

    def _fetch(self, rows: NDArray[np.int64]) -> _Fetched:
        pixels = torch.from_numpy(self._pack.gather(rows))
        if self._copies is None:
            return _Fetched(pixels.to(self._device), None)
        with torch.cuda.stream(self._copies):
            on_device = pixels.pin_memory().to(self._device, non_blocking=True)
            return _Fetched(on_device, self._copies.record_event())


def device_pixels(pack: Pack, device: torch.device) -> DevicePixels:
    """Return the pack's pixels on a device: on a GPU that has room for all of them resident, for all its runs."""
    resident: ResidentPixels | None = pack.resident.get(device)
    if resident is None and device.type == "cuda" and _fits(pack, device):
        resident = pack.resident[device] = ResidentPixels(pack, device)
    return resident or FetchedPixels(pack, device)


def _fits(pack: Pack, device: torch.device) -> bool:
    free, _ = torch.cuda.mem_get_info(device)
    return len(pack.index) * pack.manifest.size**2 <= RESIDENT_SHARE * free
