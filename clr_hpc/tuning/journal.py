"""``trials.jsonl``: what happened to the trials of a search, a JSON object a line, each on disk before it counts.

    {"event": "asked", "trial": 0, "values": {"lr_max": 0.01}, "epochs": 2, "ask_seconds": 0.002}
    {"event": "measured", "trial": 0, "epochs": 2, "by_seed": {"0": 0.71}, "value": 0.71}
    {"event": "promoted", "trial": 0, "epochs": 6}
    {"event": "failed", "trial": 0, "reason": "..."}

``epochs`` is where a trial pauses or ends next; ``value`` is that of the objective, the mean over seeds.
"""

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from clr_hpc.store.atomic import sync_folder

Event = dict[str, Any]


class Journal:
    """Appends events; reads those that are whole."""

    def __init__(self, path: Path) -> None:
        """Name the file; its folder is there."""
        self._path = path

    def read(self) -> Iterator[Event]:
        """Yield the events so far; a last line that a kill cut short never happened."""
        if self._path.exists():
            for line in self._path.read_text().split("\n")[:-1]:
                yield json.loads(line)

    def append(self, event: Event) -> None:
        """Write an event, so that it survives a power cut."""
        is_new = not self._path.exists()
        with self._path.open("a+b") as file:
            file.truncate(_end_of_whole_lines(self._path))
            file.write(json.dumps(event).encode() + b"\n")
            file.flush()
            os.fsync(file.fileno())
        if is_new:
            sync_folder(self._path.parent)


def _end_of_whole_lines(path: Path) -> int:
    """Return the number of bytes up to the last line break."""
    return path.read_bytes().rfind(b"\n") + 1
