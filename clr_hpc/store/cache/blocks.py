"""A file of blocks, each with its key and checksum: a damaged one is as if it had never been kept.

One line of JSON lists the blocks, which follow one after the other.
"""

import hashlib
import logging
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, TypeAdapter, ValidationError
from typing_extensions import TypedDict

from clr_hpc.store.atomic import atomic_write, left_over, own_files
from clr_hpc.store.records import Count, Damaged, Sha256, read_bytes, record, why

REMEDY = "what it held is computed again"
log = logging.getLogger(__name__)


@record
class _Block(TypedDict):
    key: str
    bytes: Count
    sha256: Sha256
    """Of key and block."""


@record
class _Contents(TypedDict):
    format_version: Literal[1]
    blocks: Annotated[list[_Block], Field(max_length=10**6)]


def _are_different(contents: _Contents) -> _Contents:
    if len({block["key"] for block in contents["blocks"]}) < len(contents["blocks"]):
        raise ValueError("two blocks have one key")
    return contents


_CONTENTS: TypeAdapter[_Contents] = TypeAdapter(Annotated[_Contents, AfterValidator(_are_different)])


FILES = re.compile(r"[\w.-]+\.kept")
"""Names of such files; nothing else in their folder is deleted."""


class KeptBlocks:
    """The blocks of one file, and those that are added to them; ``save`` keeps what was used."""

    def __init__(self, file: Path | None) -> None:
        """Read a file, as far as it is sound; None: nothing is kept."""
        self._file = file
        self._found = _read(file) if file else {}
        self._used: dict[str, bytes] = {}

    def get(self, key: str) -> bytes | None:
        """Return the block of a key; None where there is none, or a damaged one."""
        block = self._found.get(key)
        if block is not None:
            self._used[key] = block
        return block

    def put(self, key: str, block: bytes) -> None:
        """Add a block."""
        if self._file:
            self._used[key] = block

    def save(self) -> None:
        """Write the blocks that were got or put, if that is not what the file holds; a full disk is logged."""
        if self._file is None or self._used.keys() == self._found.keys():
            return
        try:
            self._file.parent.mkdir(parents=True, exist_ok=True)
            _write(self._file, self._used)
        except OSError as error:
            log.warning("%s can't be written, so the next report computes again what it would hold: %s",
                        self._file, error)  # fmt: skip


def _write(file: Path, blocks: Mapping[str, bytes]) -> None:
    contents = _Contents(
        format_version=1,
        blocks=[
            _Block(key=key, bytes=len(block), sha256=_checksum(key, block))
            for key, block in sorted(blocks.items())
        ],
    )
    with atomic_write(file) as temporary, temporary.open("wb") as opened:
        opened.write(_CONTENTS.dump_json(contents) + b"\n")
        opened.writelines(block for _, block in sorted(blocks.items()))


def _read(file: Path) -> dict[str, bytes]:
    data = read_bytes(file, REMEDY)
    if data is None:
        return {}
    if isinstance(data, Damaged):
        log.warning("%s", data)
        return {}
    text, _, _ = data.partition(b"\n")
    try:
        contents = _CONTENTS.validate_json(text)
    except ValidationError as error:
        log.warning("%s", Damaged(file, why(error), REMEDY))
        return {}
    found, place, damaged = {}, len(text) + 1, 0
    for block in contents["blocks"]:
        content = data[place : place + block["bytes"]]
        place += block["bytes"]
        if len(content) == block["bytes"] and _checksum(block["key"], content) == block["sha256"]:
            found[block["key"]] = content
        else:
            damaged += 1
    if damaged:
        log.warning(
            "%s", Damaged(file, f"{damaged} of {len(contents['blocks'])} blocks are not as written", REMEDY)
        )
    return found


def _checksum(key: str, block: bytes) -> str:
    return hashlib.sha256(key.encode() + b"\n" + block).hexdigest()


def kept_files(folder: Path) -> list[Path]:
    """Return the files of blocks in a folder, and what killed writers left of others."""
    return [*own_files(folder, FILES), *left_over(folder)]
