"""The values of cells: ages and sexes as publishers spell them."""

import re
from functools import cache

AGE_YEARS_MAX = 120
"""NIH's first edition has ages up to 414; above this an age counts as unknown."""

_YEARS_OF_UNIT = {"": 1.0, "Y": 1.0, "M": 1 / 12, "W": 7 / 365.25, "D": 1 / 365.25}


@cache
def parse_age_years(text: str) -> float | None:
    """Return years from ``58``, ``058Y``, ``013M``, ``002W`` or ``007D``; None where it can't be an age."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([YMWD]?)", text.strip().upper())
    if match is None:
        return None
    years = float(match[1]) * _YEARS_OF_UNIT[match[2]]
    return round(years, 3) if years <= AGE_YEARS_MAX else None


def parse_sex(text: str) -> str | None:
    """Return ``F``, ``M`` or None."""
    return {"F": "F", "FEMALE": "F", "M": "M", "MALE": "M"}.get(text.strip().upper())
