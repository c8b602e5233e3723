"""Figures that stand in a page packed: of more than a reader looks at, each is unpacked when it is chosen.

A page of thousands of figures opens at once, and is a sixth as large. Figures that an earlier page has are taken
from there; where many are missing, processes draw them, as matplotlib computes with one core.
"""

import hashlib
import logging
import os
import threading
import time
import zlib
from base64 import b64encode
from collections.abc import Iterable, Sequence
from functools import cache, partial
from importlib.metadata import version

from markupsafe import Markup

from clr_hpc.config.resources import usable_cores
from clr_hpc.reporting.figures.select import Drawing
from clr_hpc.store.cache.blocks import KeptBlocks
from clr_hpc.store.provenance import source_sha256

MOST_DRAWN = 24
"""Figures of one section that stand in the page as they are; of more, none does that is not shown first."""
WORTH_A_PROCESS = 24
"""Drawings, which take a few times as long as a process needs to start."""
log = logging.getLogger(__name__)


def is_packed(drawing: Drawing, section: Sequence[Drawing]) -> bool:
    """Return whether a drawing of a section is packed."""
    return len(section) > MOST_DRAWN and not drawing.first


def pack(markup: str) -> str:
    """Return text that the page's script unpacks, with zlib and base64."""
    return b64encode(zlib.compress(markup.encode(), 9)).decode()


class PackedFigures:
    """The packed figures of one page."""

    def __init__(self, kept: KeptBlocks) -> None:
        """Take those of the last page, to which those of this one are added."""
        self._kept = kept
        self._packed: dict[int, str] = {}

    def prepare(self, sections: Sequence[Sequence[Drawing]]) -> None:
        """Draw what the last page lacks of sections that are packed and say what decides their figures."""
        missing: list[tuple[str, Drawing]] = []
        for section in sections:
            for drawing in section:
                if drawing.content is None or not is_packed(drawing, section):
                    continue
                key = _identity(drawing.content())
                block = self._kept.get(key)
                if block is None:
                    missing.append((key, drawing))
                else:
                    self._packed[id(drawing)] = block.decode()
        drawn = _drawn_by_processes([drawing for _, drawing in missing])
        for (key, drawing), packed in zip(missing, drawn, strict=True):
            self._packed[id(drawing)] = packed
            self._kept.put(key, packed.encode())

    def __call__(self, drawing: Drawing) -> str:
        """Return a drawing's figures, packed."""
        known = self._packed.get(id(drawing))
        return _drawn(drawing) if known is None else known


def _drawn_by_processes(drawings: Sequence[Drawing]) -> Iterable[str]:
    processes = min(usable_cores(), len(drawings) // WORTH_A_PROCESS)
    if processes > 1:
        from joblib import Parallel, delayed
        from joblib.externals.loky.process_executor import BrokenProcessPool

        try:
            draw = delayed(partial(_drawn_for, os.getpid()))
            drawn: list[str] = Parallel(processes, max_nbytes=None)(map(draw, drawings))
        except BrokenProcessPool:  # one was killed, most likely for memory
            log.warning("processes that draw figures were killed; this one draws them, which takes longer")
        else:
            return drawn
    return map(_drawn, drawings)


def _drawn_for(parent: int, drawing: Drawing) -> str:
    _end_with(parent)
    return _drawn(drawing)


@cache
def _end_with(parent: int) -> None:
    """Have this process end when its parent does: of one that is killed, joblib's may wait for ever."""

    def wait() -> None:
        while os.getppid() == parent:
            time.sleep(1)
        os._exit(1)

    threading.Thread(target=wait, daemon=True).start()


def _drawn(drawing: Drawing) -> str:
    return pack(Markup("\n").join(drawing.figures))


def _identity(content: bytes) -> str:
    """Return what identifies a drawing: what it shows, and the code that draws it."""
    return hashlib.sha256(_drawn_by() + content).hexdigest()


@cache
def _drawn_by() -> bytes:
    return f"{source_sha256()} {version('matplotlib')} ".encode()
