"""Packs of random pixels: as large as wanted, and made in no time, for whoever measures time and memory alone."""

import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from clr_hpc.config.pathologies import NEGATIVE, PATHOLOGIES, POSITIVE
from clr_hpc.data.build import build_pack
from clr_hpc.data.pack import Pack
from clr_hpc.data.source import ImageRecord, ImageSource, SourceTable
from clr_hpc.data.splits import SeededSplit


@dataclass(frozen=True)
class NoiseSource(ImageSource):
    """Images of noise, two a patient; every other one has all findings."""

    images: int

    def table(self) -> SourceTable:
        """Return the images' names and labels."""
        labels = [(label,) * len(PATHOLOGIES) for label in (NEGATIVE, POSITIVE)]
        records = (
            ImageRecord(image=f"{number:08d}", patient=f"{number // 2:08d}", labels=labels[number % 2])
            for number in range(self.images)
        )
        return SourceTable(tuple(records), provenance={"kind": "noise", "images": self.images})

    def read(self, record: ImageRecord, size: int) -> tuple[NDArray[np.uint8], str]:
        """Return pixels ``(size, size)`` drawn for this image, and their SHA-256."""
        pixels = np.random.default_rng(int(record.image)).integers(0, 256, (size, size), np.uint8)
        return pixels, hashlib.sha256(pixels).hexdigest()


def noise_pack(folder: Path, images: int, size: int, workers: int = 1) -> Pack:
    """Make a pack of noise; a tenth each is validation and test."""
    split = SeededSplit(validation_fraction=0.1, test_fraction=0.1)
    build_pack(NoiseSource(images), folder, size, split, workers)
    return Pack.open(folder)
