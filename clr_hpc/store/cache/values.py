"""Numbers, texts and arrays as bytes and back, exactly. Nothing in them can run code."""

import json
from typing import Any

import numpy as np

ALIGNMENT = 8
_KINDS = ("float32", "float64", "int32", "int64", "uint8")
_ARRAY = "array"


def to_bytes(value: Any) -> bytes:
    """Return a value as bytes: a line of JSON, then the arrays one after the other.

    Args:
        value: of dicts with texts as keys, lists, texts, numbers, None, and arrays of ``_KINDS``.

    Raises:
        TypeError: anything else is in it.
    """
    parts: list[bytes] = []
    place = 0

    def plain(found: Any) -> Any:
        nonlocal place
        if isinstance(found, np.bool_ | np.integer):
            return found.item()
        if not isinstance(found, np.ndarray) or found.dtype.name not in _KINDS:
            raise TypeError(
                f"{type(found).__name__} can't be kept; make it a number, a text or an array of {_KINDS}"
            )
        data = np.ascontiguousarray(found).tobytes()
        entry = {_ARRAY: [found.dtype.name, list(found.shape), place]}
        parts.append(data + bytes(-len(data) % ALIGNMENT))
        place += len(parts[-1])
        return entry

    text = json.dumps(value, default=plain, ensure_ascii=False).encode()
    return b"".join([text, b"\n", *parts])


def from_bytes(data: bytes) -> Any:
    """Return the value that ``to_bytes`` was given; its arrays can't be written to."""
    text, _, arrays = data.partition(b"\n")

    def whole(entry: dict[str, Any]) -> Any:
        if entry.keys() != {_ARRAY}:
            return entry
        kind, shape, place = entry[_ARRAY]
        if kind not in _KINDS:
            raise ValueError(f"{kind} is no kind of array")
        return np.frombuffer(arrays, kind, int(np.prod(shape, dtype=np.int64)), place).reshape(shape)

    return json.loads(text, object_hook=whole)
