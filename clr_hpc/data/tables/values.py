"""The values of cells: labels, views, ages, sexes and sides as publishers spell them."""

import re
from dataclasses import dataclass
from functools import cache
from typing import Literal

from clr_hpc.config.pathologies import NEGATIVE, POSITIVE, UNKNOWN

AGE_YEARS_MAX = 120
"""NIH's first edition has ages up to 414; above this an age counts as unknown."""

MISSING = frozenset(("", "na", "n/a", "nan", "null", "none", "nil", "#n/a", "#na", "<na>", "nat"))
"""How programs write that a cell is empty, in lower case."""
_LONGEST_MISSING = max(map(len, MISSING))

Meaning = Literal["unknown", "negative", "positive"]
"""What a blank or an uncertain label is read as."""
_Cell = Literal["unknown", "negative", "positive", "blank", "uncertain"]
LABEL_OF_MEANING: dict[Meaning, int] = {"unknown": UNKNOWN, "negative": NEGATIVE, "positive": POSITIVE}

_WORDS: dict[str, _Cell] = {
    **dict.fromkeys(("true", "t", "yes", "y", "positive", "pos", "present", "+"), "positive"),
    **dict.fromkeys(("false", "f", "no", "n", "negative", "neg", "absent"), "negative"),
    **dict.fromkeys(("uncertain", "u", "equivocal", "indeterminate"), "uncertain"),
    **dict.fromkeys(("unknown", "?"), "unknown"),
    **dict.fromkeys(MISSING, "blank"),
}
_NUMBERS: dict[float, _Cell] = {1.0: "positive", 0.0: "negative", -1.0: "uncertain"}
_VIEWS = {
    "PA": ("POSTEROANTERIOR", "POSTERIORANTERIOR", "P-A"),
    "AP": ("ANTEROPOSTERIOR", "ANTERIORPOSTERIOR", "A-P", "APSUPINE", "APHORIZONTAL", "APERECT", "APPORTABLE"),
    "LATERAL": ("LAT", "L", "LL", "RL", "LLAT", "RLAT", "LEFTLATERAL", "RIGHTLATERAL"),
    "FRONTAL": (),
}
_VIEW_OF = {re.sub("[^A-Z]", "", word): view for view, words in _VIEWS.items() for word in (view, *words)}
FRONTAL = ("PA", "AP", "FRONTAL")
"""Views from the front or the back; FRONTAL where a table doesn't tell which."""
SIDES = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("validation", "validate", "valid", "val", "dev"), "validation"),
    **dict.fromkeys(("test", "testing"), "test"),
    **dict.fromkeys(("train_val", "trainval"), "train_val"),
}
"""Spellings of a split, in lower case."""
_YEARS_OF_UNIT = {"": 1.0, "Y": 1.0, "M": 1 / 12, "W": 7 / 365.25, "D": 1 / 365.25}


@dataclass(frozen=True, slots=True)
class ValueRules:
    """What cells mean that say neither yes nor no."""

    blank: Meaning = "unknown"
    uncertain: Meaning = "unknown"
    """CheXpert's -1."""
    words: tuple[tuple[str, Meaning], ...] = ()
    """A publisher's own spellings, which go before all others."""
    other: Meaning | None = None
    """What any other text means, such as the run lengths of a mask; None: an error."""

    def label(self, text: str) -> int:
        """Return the label that a cell holds.

        Raises:
            ValueError: it holds none; the message gives the value, the rule and the remedy.
        """
        match self._meaning(text):
            case "blank":
                return LABEL_OF_MEANING[self.blank]
            case "uncertain":
                return LABEL_OF_MEANING[self.uncertain]
            case meaning:
                return LABEL_OF_MEANING[meaning]

    def _meaning(self, text: str) -> _Cell:
        for word, meaning in self.words:
            if text.casefold() == word.casefold():
                return meaning
        try:
            return meaning_of(text)
        except ValueError:
            if self.other is None:
                raise
            return self.other


def is_missing(text: str) -> bool:
    """Return whether a cell is empty, however that is spelled."""
    return len(text) <= _LONGEST_MISSING and text.casefold() in MISSING


@cache
def meaning_of(text: str) -> _Cell:
    """Return ``positive``, ``negative``, ``uncertain``, ``unknown`` or ``blank``, whatever the spelling.

    Raises:
        ValueError: the cell holds no label; the message gives the value, the rule and the remedy.
    """
    if (word := _WORDS.get(text.strip().casefold())) is not None:
        return word
    number = parse_number(text)
    if number is not None and number in _NUMBERS:
        return _NUMBERS[number]
    if number is not None and 0 < number < 1:
        # no threshold is right for all tables: a probability, a share of readers and a severity look alike
        raise ValueError(f"{text!r} lies between no (0) and yes (1); choose a threshold, and write 0 or 1")
    raise ValueError(f"{text!r} is not a label; 1 is yes, 0 is no, -1 is uncertain, a blank is unknown")


def parse_number(text: str) -> float | None:
    """Return a decimal number, with a point or a comma; None where the text is another."""
    match = re.fullmatch(r"\s*[+-]?(\d+([.,]\d*)?|[.,]\d+)(e[+-]?\d+)?\s*", text, flags=re.ASCII | re.IGNORECASE)
    return float(text.replace(",", ".")) if match else None


@cache
def parse_age_years(text: str) -> float | None:
    """Return years from ``58``, ``058Y``, ``013M``, ``002W`` or ``007D``; None where it can't be an age."""
    match = re.fullmatch(r"(\d+(?:[.,]\d+)?)\s*([YMWD]?)", text.strip().upper())
    if match is None:
        return None
    years = float(match[1].replace(",", ".")) * _YEARS_OF_UNIT[match[2]]
    return round(years, 3) if years <= AGE_YEARS_MAX else None


_SEX_OF = {
    **dict.fromkeys(("f", "female", "w", "woman", "weiblich", "femme", "mujer", "femenino"), "F"),
    **dict.fromkeys(("m", "male", "man", "männlich", "maennlich", "homme", "hombre", "masculino"), "M"),
}


def parse_sex(text: str) -> str | None:
    """Return ``F``, ``M`` or None."""
    return _SEX_OF.get(text.strip().casefold())


@cache
def parse_view(text: str) -> str | None:
    """Return ``PA``, ``AP``, ``LATERAL`` or ``FRONTAL``, another view as it is written, None where none is."""
    if is_missing(text.strip()):
        return None
    upper = text.strip().upper()
    return _VIEW_OF.get(re.sub("[^A-Z]", "", upper), upper)
