"""Lists in a study file, whose entries are names or mappings with a name."""

from collections import Counter
from collections.abc import Mapping
from typing import Any

from clr_hpc.config.base import shown, unknown


def named(value: Any, field: str, known: Mapping[str, type]) -> Any:
    """Let a list hold bare names besides mappings with a name, and name the nearest for an unknown one."""
    if not isinstance(value, list | tuple):
        raise ValueError(f"{field}={shown(value)} must be a list")
    entries = [{"name": entry} if isinstance(entry, str) else entry for entry in value]
    for entry in entries:
        name = entry.get("name") if isinstance(entry, dict) else getattr(entry, "name", None)
        if name not in known:
            raise ValueError(unknown(f"name in {field}", str(name), list(known)))
    return tuple(entries)


def check_entries(field: str, entries: tuple[Any, ...], may_be_empty: bool = False) -> None:
    """See that a list has entries, and none of them twice.

    Raises:
        ValueError: it is empty or has one twice.
    """
    shown = [repr(entry) for entry in entries]
    if not shown and not may_be_empty:
        raise ValueError(f"{field} is empty; name at least one")
    twice = sorted(entry for entry, times in Counter(shown).items() if times > 1)
    if twice:
        raise ValueError(f"{field} has {', '.join(twice)} twice; drop one")
