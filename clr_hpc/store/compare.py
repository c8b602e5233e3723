"""What two studies differ in, key by key, for people."""

from collections.abc import Iterator
from typing import Any

from clr_hpc.config.base import shown
from clr_hpc.config.study import Study

MOST_SHOWN = 5
"""Keys; more are counted."""
IGNORED = {"name", "pack", "tune", "measured"}
"""Keys on which runs don't depend, or that others are told of: packs differ by their checksums."""
_ABSENT = object()


def differences(before: Study, after: Study) -> list[str]:
    """Return a text such as ``training.epochs: 3 → 2`` for each key that differs, the last one for all others."""
    raw = [study.model_dump(mode="json", exclude=IGNORED) for study in (before, after)]
    found = [f"{key}: {_text(old)} → {_text(new)}" for key, old, new in _differing("", *raw)]
    more = len(found) - MOST_SHOWN
    return found if more <= 0 else [*found[:MOST_SHOWN], f"{more} more"]


def _differing(key: str, before: Any, after: Any) -> Iterator[tuple[str, Any, Any]]:
    if isinstance(before, list) and isinstance(after, list) and len(before) == len(after):
        before, after = dict(enumerate(before)), dict(enumerate(after))
    if not (isinstance(before, dict) and isinstance(after, dict)):
        if before != after:
            yield key, before, after
        return
    for name in dict.fromkeys((*before, *after)):
        inside = f"{key}.{name}" if key else str(name)
        yield from _differing(inside, before.get(name, _ABSENT), after.get(name, _ABSENT))


def _text(value: Any) -> str:
    return "nothing" if value is _ABSENT or value is None else shown(value)
