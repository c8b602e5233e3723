"""Predictions that an earlier report has read: which images they list, so that the file is not parsed again."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from clr_hpc.reporting.read.predictions import NAMES, Numbering, SplitScores
from clr_hpc.store.cache.blocks import KeptBlocks
from clr_hpc.store.cache.values import from_bytes, to_bytes

if TYPE_CHECKING:
    import pyarrow as pa


@dataclass(frozen=True, slots=True)
class Listed:
    """What a file of predictions lists."""

    models: Mapping[str, Sequence[str]]
    """By split."""
    orders: Sequence[tuple[str, str]]
    """Split and key of the order of each model's images, as they were numbered."""


class KnownPredictions:
    """Files of predictions by their SHA-256."""

    def __init__(self, blocks: KeptBlocks, reader: str) -> None:
        """Take the blocks they are kept in, and what identifies the code that has checked the files."""
        self._blocks, self._reader = blocks, reader
        self._numbered: set[str] = set()

    def get(self, checksum: str) -> Listed | None:
        """Return what a file lists; None where it has to be read."""
        block = self._blocks.get(f"{self._reader} {checksum}")
        if block is None:
            return None
        found = from_bytes(block)
        orders = [(split, key) for split, key in found["orders"]]
        if any(self._blocks.get(key) is None for _, key in orders):
            return None
        return Listed(found["models"], orders)

    def number(self, listed: Listed, numbering: Numbering) -> None:
        """Number the images of a file as if it were read."""
        for split, key in listed.orders:
            block = None if key in self._numbered else self._blocks.get(key)
            if block is not None:
                numbering.order_of(_table(from_bytes(block)), split)
                self._numbered.add(key)

    def note(self, checksum: str, scores: Mapping[str, SplitScores], numbering: Numbering) -> None:
        """Keep what a file lists that was read."""
        orders = [(split, key) for split, of_split in scores.items() for key in of_split.orders.values()]
        for _, key in orders:
            if key not in self._numbered:
                self._blocks.put(key, to_bytes(numbering.listed[key]))
                self._numbered.add(key)
        models = {split: list(of_split.by_model) for split, of_split in scores.items()}
        self._blocks.put(f"{self._reader} {checksum}", to_bytes({"models": models, "orders": orders}))

    def save(self) -> None:
        """Write what was used."""
        self._blocks.save()


def _table(rows: Mapping[str, Any]) -> "pa.Table":
    import pyarrow as pa

    kinds = dict.fromkeys((*NAMES, "view", "sex"), pa.string()) | {"age_years": pa.float64()}
    return pa.table({name: pa.array(values, kinds[name]) for name, values in rows.items()})
