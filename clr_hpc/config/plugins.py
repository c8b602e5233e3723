"""What other packages add, found by entry points: read when it is asked for, imported when it is used."""

from collections.abc import Callable
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from importlib.util import find_spec
from typing import Any

from clr_hpc.config.base import UserError


class PluginError(UserError, ValueError):
    """An entry point does not lead to what it should; the message names its package."""


@cache
def plugins(group: str) -> dict[str, EntryPoint]:
    """Return the entry points of a group by name, sorted."""
    return {point.name: point for point in sorted(entry_points(group=group), key=lambda point: point.name)}


class MissingExtraError(UserError):
    """Something that an extra of this package installs is not there."""


def require(module: str, extra: str, what: str) -> None:
    """Look for a package that an extra installs, and import nothing.

    Args:
        module: of the package.
        extra: that installs it.
        what: needs it, for the error: ``--on ray``.

    Raises:
        MissingExtraError: it is not there.
    """
    if find_spec(module) is None:
        raise MissingExtraError(
            f"{what} needs {module}, which is not installed; install it: pip install 'clr-hpc[{extra}]'"
        )


def load_plugin(point: EntryPoint, is_right: Callable[[Any], bool], rule: str) -> Any:
    """Import what an entry point leads to.

    Args:
        point: of ``plugins``.
        is_right: whether something is what the group asks for.
        rule: what that is, for the error.

    Raises:
        PluginError: it can't be imported, or is something else.
    """
    package = "an unknown package" if point.dist is None else point.dist.name
    where = f"{point.value}, entry point {point.name} ({point.group}) of {package}"
    try:
        found = point.load()
    except Exception as error:
        reason = f"{type(error).__name__}: {error}"
        raise PluginError(f"{where}, can't be loaded: {reason}; fix or uninstall it") from error
    if not is_right(found):
        raise PluginError(f"{where}, is {found!r}; it must be {rule}; fix or uninstall it")
    return found
