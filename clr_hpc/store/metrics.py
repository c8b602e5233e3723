"""``metrics.jsonl`` of a run, read whole or from its end, also while it is written."""

import json
import os
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any

_TAIL_BYTES = 16_384
"""Some 70 lines, which is three epochs."""


def read_metrics(folder: Path) -> list[dict[str, Any]]:
    """Return the whole lines of a run's ``metrics.jsonl``; a last line that a kill cut short is left out."""
    try:
        text = (folder / "metrics.jsonl").read_text()
    except FileNotFoundError:
        return []
    return [json.loads(line) for line in text.split("\n")[:-1]]


def recent_metrics(folder: Path) -> list[dict[str, Any]]:
    """Return the last whole lines, read from the end of the file only, so that many runs can be watched.

    A line that can't be read is left out: a network disk may show one before all of it has arrived.
    """
    try:
        with (folder / "metrics.jsonl").open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(0, size - _TAIL_BYTES))
            lines = file.read().decode(errors="replace").split("\n")[1 if size > _TAIL_BYTES else 0 : -1]
    except FileNotFoundError:
        return []
    entries = []
    for line in lines:
        with suppress(json.JSONDecodeError):
            entries.append(json.loads(line))
    return entries


def latest_metrics(folder: Path) -> dict[str, dict[str, Any]]:
    """Return the newest step (key ``step``) and the newest metrics of each split (key: its name) of a run."""
    return newest(recent_metrics(folder))


def newest(entries: Iterable[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Return the last step (key ``step``) and the last metrics of each split (key: its name)."""
    return {entry.get("split", "step"): entry for entry in entries}
