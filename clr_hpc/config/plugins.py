"""What other packages add, found by entry points: read when it is asked for, imported when it is used."""

from functools import cache
from importlib.metadata import EntryPoint, entry_points
from typing import TypeVar

T = TypeVar("T")


class PluginError(ValueError):
    """An entry point does not lead to what it should; the message names its package."""


@cache
def plugins(group: str) -> dict[str, EntryPoint]:
    """Return the entry points of a group by name, sorted."""
    return {point.name: point for point in sorted(entry_points(group=group), key=lambda point: point.name)}


def load_plugin(point: EntryPoint, expected: type[T]) -> T:
    """Import what an entry point leads to, an instance of ``expected``.

    Raises:
        PluginError: it can't be imported, or is something else.
    """
    where = f"{point.value} (entry point {point.name} of {point.group}, package {_package(point)})"
    try:
        found = point.load()
    except Exception as error:
        raise PluginError(
            f"{where} can't be loaded: {type(error).__name__}: {error}; fix or uninstall it"
        ) from error
    if not isinstance(found, expected):
        raise PluginError(f"{where} is {found!r}; it must be a {expected.__name__}")
    return found


def _package(point: EntryPoint) -> str:
    return "unknown" if point.dist is None else point.dist.name
