"""Which views a pack takes."""

from collections import Counter
from collections.abc import Sequence

from clr_hpc.config.base import shown
from clr_hpc.data.source import ImageRecord, SourceError
from clr_hpc.data.tables.values import FRONTAL, parse_view


def wanted_views(given: Sequence[str], frontal: bool) -> frozenset[str] | None:
    """Return the views to take, None for all.

    Args:
        given: as somebody writes them: ``PA``, ``ap``, ``PA,AP``.
        frontal: whether those from the front and the back are taken.

    Raises:
        SourceError: one of them is empty.
    """
    words = [word for text in given for word in text.split(",")]
    views = {view for word in words if (view := parse_view(word)) is not None}
    if len(views) < len({*words}) and not views:
        raise SourceError(f"--view {shown(','.join(given))} names no view; give PA, AP, LATERAL or another")
    return frozenset(views | ({*FRONTAL} if frontal else set())) or None


def select_views(
    records: Sequence[ImageRecord], views: frozenset[str] | None
) -> tuple[tuple[ImageRecord, ...], dict[str, int]]:
    """Return the records of these views, and how many others there are of each view, or "unknown"."""
    if views is None:
        return tuple(records), {}
    left_out = Counter(record.view or "unknown" for record in records if record.view not in views)
    return tuple(record for record in records if record.view in views), dict(sorted(left_out.items()))
