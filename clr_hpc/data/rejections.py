"""What was left out of a pack, as a file and in words."""

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from clr_hpc.data.source import Rejection
from clr_hpc.store.atomic import atomic_write
from clr_hpc.store.csv_text import csv_text

_MOST_REASONS = 6


def write_rejections(path: Path, rejections: Sequence[Rejection]) -> None:
    """Write ``image,reason``."""
    text = csv_text([{"image": one.image, "reason": one.reason} for one in rejections], ("image", "reason"))
    with atomic_write(path) as temporary:
        temporary.write_text(text, encoding="utf-8", newline="")


def sorted_rejections(rejections: Iterable[Rejection]) -> list[Rejection]:
    """Return rejections by image, then by reason."""
    return sorted(rejections, key=lambda rejection: (rejection.image, rejection.reason))


def counted_reasons(rejections: Sequence[Rejection]) -> str:
    """Return how often each reason is there, the most frequent first.

    Reasons that differ in a number or a quoted name are counted as one:
    ``2 × no label in the label table, 3 × such as: rows 2, 3 of the table contradict one another``
    """
    first: dict[str, str] = {}
    counts: Counter[str] = Counter()
    for rejection in rejections:
        kind = re.sub(r"'[^']*'|\d+(, \d+)*", "…", rejection.reason)
        first.setdefault(kind, rejection.reason)
        counts[kind] += 1
    parts = [
        f"{count:,} × {'' if first[kind] == kind or count == 1 else 'such as: '}{first[kind]}"
        for kind, count in counts.most_common(_MOST_REASONS)
    ]
    more = [f"{len(counts) - _MOST_REASONS} further reasons"] if len(counts) > _MOST_REASONS else []
    return ", ".join([*parts, *more])


def strict_message(rejections: Sequence[Rejection], listing: Path) -> str:
    """Return the error for a pack that must have no rejection."""
    shown = "\n".join(f"  {rejection.image}: {rejection.reason}" for rejection in rejections[:20])
    more = f"\n  and {len(rejections) - 20:,} more" if len(rejections) > 20 else ""
    return f"no pack was made, {len(rejections):,} rejected (all are in {listing}):\n{shown}{more}"


def nothing_left(rejections: Sequence[Rejection], source: Mapping[str, object], listing: Path) -> str:
    """Return the error for a pack without an image.

    Args:
        rejections: why.
        source: what the source says of itself, which counts what is not rejected one by one.
        listing: the file with all rejections.
    """
    if left_out := source.get("images_of_other_views"):
        return f"no image is of a view that is wanted, only of {left_out}; name another --view or another column"
    rows_without_file = source.get("rows_without_file")
    if rejections:
        return f"no image is left to pack: {counted_reasons(rejections)}; {listing} lists each"
    rows = f" ({rows_without_file:,} rows have no file)" if isinstance(rows_without_file, int) else ""
    return f"no image is both in the table and in the images folder{rows}; check both paths"
