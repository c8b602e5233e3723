"""From a pack to batches: labels as columns, pixels by one gather."""

import io
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from clr_hpc.config.pathologies import NEGATIVE, NO_FINDING, PATHOLOGIES, POSITIVE, UNKNOWN
from clr_hpc.config.run import Selection
from clr_hpc.data.manifest import FileEntry, Manifest, PackError, open_manifest
from clr_hpc.data.splits import SplitName

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class Pack:
    """A pack on disk. Index and pixels are read when they are first used."""

    folder: Path
    manifest: Manifest
    resident: dict[Any, Any] = field(default_factory=dict, init=False, repr=False, compare=False)
    """Pixels kept on each device (``ResidentPixels``), for all runs of this process."""

    @classmethod
    def open(cls, folder: str | Path, verify: bool = False) -> "Pack":
        """Open a pack whose files are all there with their sizes, or (``verify``) with their checksums.

        Raises:
            PackError: another format version, or a missing, truncated, changed file; every one is named.
        """
        return cls(Path(folder), open_manifest(Path(folder), verify))

    @cached_property
    def index(self) -> "pd.DataFrame":
        """One row per image, in the order of image names; labels are ``Int8`` with ``<NA>`` for unknown.

        Raises:
            PackError: ``index.parquet`` is not the file that the manifest describes.
        """
        return self._table(self.manifest.index)

    @cached_property
    def boxes(self) -> "pd.DataFrame":
        """One row per box: ``image``, ``pathology`` and, in pixels, ``left``, ``top``, ``width``, ``height``.

        Empty where the source had no boxes.

        Raises:
            PackError: ``boxes.parquet`` is not the file that the manifest describes.
        """
        import pandas as pd

        if self.manifest.boxes is None:
            return pd.DataFrame(columns=["image", "pathology", "left", "top", "width", "height"])
        return self._table(self.manifest.boxes)

    def _table(self, entry: FileEntry) -> "pd.DataFrame":
        import hashlib

        import pandas as pd

        path = self.folder / entry.file
        data = path.read_bytes()
        if hashlib.sha256(data).hexdigest() != entry.sha256:
            raise PackError(f"{path} is damaged; make the pack again with 'clr-hpc pack'")
        return pd.read_parquet(io.BytesIO(data), dtype_backend="numpy_nullable")

    def rows_of(self, split: SplitName, select: Selection | None = None) -> NDArray[np.int64]:
        """Return the index rows ``(N,)`` of one split, in order: all of them, or those that are selected."""
        chosen = self.index["split"].to_numpy() == split
        if select is not None:
            chosen &= self.index["view"].isin(select.view).to_numpy(dtype=bool)
        return np.flatnonzero(chosen)

    def labels(self, finding: str) -> NDArray[np.int8]:
        """Return the labels ``(images,)`` of a finding, or of ``no_finding``: POSITIVE, NEGATIVE or UNKNOWN."""
        if finding == NO_FINDING and finding not in self.index:
            return self._implied_no_finding()
        return self.index[finding].to_numpy(dtype=np.int8, na_value=UNKNOWN)

    def _implied_no_finding(self) -> NDArray[np.int8]:
        """Return ``no_finding`` of a pack of version 1, whose index lacks it."""
        of_all = np.stack([self.labels(pathology) for pathology in PATHOLOGIES])
        implied = np.where((of_all == UNKNOWN).any(axis=0), UNKNOWN, POSITIVE).astype(np.int8)
        implied[(of_all == POSITIVE).any(axis=0)] = NEGATIVE
        return implied

    def gather(self, rows: NDArray[np.int64]) -> NDArray[np.uint8]:
        """Return the pixels ``(B, size, size)`` of index rows ``(B,)``."""
        shards, places = self._shards, self._places
        if len(shards) == 1:
            only: NDArray[np.uint8] = shards[0].take(places[rows, 1], axis=0)
            return only
        pixels = np.empty((len(rows), self.manifest.size, self.manifest.size), np.uint8)
        for position, (shard, row) in enumerate(places[rows].tolist()):
            pixels[position] = shards[shard][row]
        return pixels

    @cached_property
    def _shards(self) -> Sequence[NDArray[np.uint8]]:
        # As plain arrays over the mapped files: indexing numpy.memmap itself costs a Python call each time.
        return [
            np.load(self.folder / entry.file, mmap_mode="r").view(np.ndarray) for entry in self.manifest.shards
        ]

    @cached_property
    def _places(self) -> NDArray[np.int64]:
        """``(images, 2)``: shard and row within it."""
        return self.index[["shard", "row"]].to_numpy(dtype=np.int64)
