"""Several rows for one image: those that agree are one, readers are counted, the rest contradicts."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import Any

from clr_hpc.config.pathologies import NEGATIVE, NO_FINDING, POSITIVE, UNKNOWN, title
from clr_hpc.data.source import ImageRecord
from clr_hpc.data.tables.layout import ReadersRule

_FIELDS = ("patient", "view", "age_years", "sex", "official_split")
Labels = Sequence[int]


class ContradictionError(ValueError):
    """Rows say different things of one image; the message names the first."""


def merge(records: Sequence[ImageRecord], findings: Sequence[str]) -> ImageRecord:
    """Return what rows say together: what one leaves open another may know.

    Raises:
        ContradictionError: two know different things.
    """
    first = records[0]
    if all(record == first for record in records):
        return first
    agreed = _agreed_fields(records)
    labels = tuple(
        _agreed_label(name, column)
        for name, column in zip(findings, zip(*(record.labels for record in records), strict=True), strict=True)
    )
    clear = [record.no_finding for record in records if record.no_finding is not None]
    return replace(first, **agreed, labels=labels, no_finding=_agreed_label(NO_FINDING, clear) if clear else None)


def unite(records: Sequence[ImageRecord]) -> ImageRecord:
    """Return the findings of rows that name one each.

    Raises:
        ContradictionError: a finding and 'No Finding' are there, or something else differs.
    """
    labels = tuple(map(max, zip(*(record.labels for record in records), strict=True)))
    clear = [record.no_finding for record in records if record.no_finding is not None]
    if POSITIVE in clear and NEGATIVE in clear:
        raise ContradictionError("'No Finding' and a finding")
    return replace(records[0], **_agreed_fields(records), labels=labels, no_finding=max(clear, default=None))


def vote(records: Sequence[ImageRecord], rule: ReadersRule) -> ImageRecord:
    """Return what readers say together, by a rule for each finding; who leaves it open has no vote.

    Raises:
        ContradictionError: they differ in something that is no reading, such as the patient.
    """
    count = _RULES[rule]
    labels = tuple(count(column) for column in zip(*(record.labels for record in records), strict=True))
    # a vote on whether anything was found, so that readers who found different things don't make a clear image
    found = [_not(record.no_finding) for record in records if record.no_finding is not None]
    return replace(
        records[0], **_agreed_fields(records), labels=labels, no_finding=_not(count(found)) if found else None
    )


def _agreed_fields(records: Sequence[ImageRecord]) -> dict[str, Any]:
    agreed: dict[str, Any] = {}
    for field in _FIELDS:
        values = dict.fromkeys(getattr(record, field) for record in records)
        known = [value for value in values if value not in (None, "")]
        if len(known) > 1:
            raise ContradictionError(f"{field.replace('_', ' ')} {known[0]} and {known[1]}")
        agreed[field] = known[0] if known else getattr(records[0], field)
    return agreed


def _agreed_label(name: str, values: Iterable[int]) -> int:
    known = {*values} - {UNKNOWN}
    if len(known) > 1:
        raise ContradictionError(f"{title(name)} 1 and 0")
    return known.pop() if known else UNKNOWN


def _any(votes: Labels) -> int:
    return max(votes)  # 1 before 0 before -1


def _all(votes: Labels) -> int:
    known = [vote for vote in votes if vote != UNKNOWN]
    return min(known, default=UNKNOWN)


def _majority(votes: Labels) -> int:
    for_it, against = votes.count(POSITIVE), votes.count(NEGATIVE)
    if for_it == against:
        return UNKNOWN  # a tie: the readers together don't know
    return POSITIVE if for_it > against else NEGATIVE


def _not(label: int) -> int:
    return {POSITIVE: NEGATIVE, NEGATIVE: POSITIVE}.get(label, UNKNOWN)


_RULES: dict[ReadersRule, Callable[[Labels], int]] = {"any": _any, "majority": _majority, "all": _all}
