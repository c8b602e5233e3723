"""What all readers share: a file becomes the record that it holds, or a ``Damaged`` that says what is wrong."""

import hashlib
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Annotated, TypeVar

from pydantic import AfterValidator, ConfigDict, Field, TypeAdapter, ValidationError, with_config

from clr_hpc.config.base import UserError
from clr_hpc.config.given_file import FileError, read_given

T = TypeVar("T")
LONGEST_REASON = 300
"""Characters."""


@dataclass(frozen=True)
class Damaged:
    """A file that is not what was written, and what to do about it."""

    file: Path
    reason: str
    remedy: str

    def __str__(self) -> str:
        """Return all three in one line."""
        return f"{self.file}: {self.reason}; {self.remedy}"


class DamagedError(UserError):
    """A file is damaged that can't be done without; the message is that of its ``Damaged``."""


def required(found: T | Damaged) -> T:
    """Return a record.

    Raises:
        DamagedError: the file is damaged.
    """
    if isinstance(found, Damaged):
        raise DamagedError(str(found))
    return found


def read_bytes(file: Path, remedy: str) -> bytes | Damaged | None:
    """Return what a file holds; None where there is no such file."""
    try:
        return read_given(file)
    except FileError as error:
        return None if error.is_absent else Damaged(file, f"it can't be read: {error.mistake.rule}", remedy)


def read_record(file: Path, kind: TypeAdapter[T], remedy: str) -> T | Damaged | None:
    """Return the record of a JSON file; None where there is no such file."""
    found = read_bytes(file, remedy)
    if found is None or isinstance(found, Damaged):
        return found
    try:
        return kind.validate_json(found)
    except ValidationError as error:
        return Damaged(file, why(error), remedy)


def why(error: ValidationError) -> str:
    """Return in one short line what is wrong with a record, and where."""
    first, *others = error.errors(include_url=False, include_context=False, include_input=False)
    place = ".".join(str(part) for part in first["loc"])
    text = " ".join(f"{place + ': ' if place else ''}{first['msg'].removeprefix('Value error, ')}".split())
    more = f", and {len(others)} more" if others else ""
    return f"{text[:LONGEST_REASON]}{more}"


def sha256_of(file: Path) -> str:
    """Return a file's SHA-256 in hexadecimal.

    Raises:
        OSError: it can't be read.
    """
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()


def _is_time(text: str) -> str:
    if datetime.fromisoformat(text).tzinfo is None:
        raise ValueError("a time needs its zone, such as +00:00")
    return text


record = with_config(ConfigDict(extra="allow", strict=True, allow_inf_nan=False))
"""Decorates the TypedDict of a record: types are not converted; keys of later versions are kept."""
Number = Annotated[float, Field(ge=-1e39, le=1e39)]
"""What float32 may hold."""
Seconds = Annotated[float, Field(ge=0, le=1e10)]
Epochs = Annotated[float, Field(ge=0, le=1e9)]
Rate = Annotated[float, Field(ge=0, le=1e39)]
PolicyRate = Annotated[float, Field(ge=0)]
"""What a policy may hold, however far it is off: a diverged run resumes from a checkpoint that has it."""
Count = Annotated[int, Field(ge=0, le=2**53)]
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Time = Annotated[str, AfterValidator(_is_time)]
"""ISO 8601 with a zone."""
