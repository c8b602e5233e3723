"""Findings: the 14 of ChestX-ray14, in the one order that every table, index and figure uses, and any others."""

import re
from collections.abc import Iterable
from difflib import get_close_matches

PATHOLOGIES: tuple[str, ...] = (
    "atelectasis",
    "cardiomegaly",
    "consolidation",
    "effusion",
    "edema",
    "emphysema",
    "fibrosis",
    "hernia",
    "infiltration",
    "mass",
    "nodule",
    "pneumonia",
    "pneumothorax",
    "pleural_thickening",
)
"""Names in study files, index columns and run folders."""

POSITIVE, NEGATIVE, UNKNOWN = 1, 0, -1
"""A label's three values. UNKNOWN is a null in files (so that nobody sums it) and -1 in numpy arrays."""

NO_FINDING = "no_finding"
"""NIH's word for an image on which nothing was reported: what a table says of it, else what its findings imply."""

NO_DISEASES = frozenset({"support_devices"})
"""Findings that an image without a disease may have: ``no_finding`` says nothing about them."""

_SYNONYMS = {
    "atelectases": "atelectasis",
    "cardiac_enlargement": "cardiomegaly",
    "enlarged_heart": "cardiomegaly",
    "consolidations": "consolidation",
    "pleural_effusion": "effusion",
    "pleural_effusions": "effusion",
    "oedema": "edema",
    "pulmonary_edema": "edema",
    "pulmonary_oedema": "edema",
    "pulmonary_emphysema": "emphysema",
    "pulmonary_fibrosis": "fibrosis",
    "hiatal_hernia": "hernia",
    "hiatus_hernia": "hernia",
    "infiltrate": "infiltration",
    "infiltrates": "infiltration",
    "lung_mass": "mass",
    "pulmonary_mass": "mass",
    "lung_nodule": "nodule",
    "pulmonary_nodule": "nodule",
    "normal": NO_FINDING,
    "no_findings": NO_FINDING,
}
"""Other words for the same, as publishers spell them."""

_MISSPELT = 0.85
"""Likeness (difflib's ratio) of a slip of the keyboard; ``bronchopneumonia`` is at 0.72 and another finding."""
_CODES = re.compile(r"\s*[(\[]\s*(y|yes|j|ja|1|0)\s*[/,|]\s*(n|no|nein|0|1)\s*[)\]]\s*$")
"""What a table's column says of its own values."""


def title(pathology: str) -> str:
    """Return the name as people write it: ``pleural_thickening`` becomes ``Pleural thickening``."""
    return pathology.replace("_", " ").capitalize()


def parse_finding(text: str) -> str | None:
    """Return the identifier of a finding, one of the 14 or any other; None where ``text`` names nothing.

    Case, spaces, hyphens and other signs make no difference, and synonyms of the 14 are the 14:
    ``Pleural_Thickening`` is ``pleural_thickening``, ``Pleural Effusion`` is ``effusion``, and ``Rib fracture`` is
    ``rib_fracture``. Codes of the values in brackets are no part of the name: ``Effusion (Y/N)`` is ``effusion``.
    """
    name = _CODES.sub("", text.lower())
    identifier = re.sub(r"[^a-z0-9]+", "_", name).strip("_")
    if not identifier or identifier[0].isdigit():
        return None
    return _SYNONYMS.get(identifier, identifier)


def parse_pathology(text: str) -> str | None:
    """Return which of the 14 ``text`` names, or None; see ``parse_finding``."""
    identifier = parse_finding(text)
    return identifier if identifier in PATHOLOGIES else None


def checked_finding(text: str) -> str:
    """Return the identifier of a finding, which a pack may have or not.

    Raises:
        ValueError: ``text`` is no finding's name, or most likely one of the 14 misspelt.
    """
    identifier = parse_finding(text)
    if identifier is None or identifier == NO_FINDING:
        raise ValueError(
            f"{text!r} names no finding; take one of {', '.join(PATHOLOGIES)}, or another that the pack has"
        )
    if (meant := misspelt(text)) is not None:
        raise ValueError(f"unknown pathology: {text!r}; did you mean {meant!r}?")
    return identifier


def misspelt(text: str) -> str | None:
    """Return which of the 14 is meant by a name that is most likely a slip; None for any other name."""
    identifier = parse_finding(text)
    if identifier is None or identifier in PATHOLOGIES:
        return None
    return next(iter(get_close_matches(identifier, PATHOLOGIES, 1, _MISSPELT)), None)


def in_order(findings: Iterable[str]) -> tuple[str, ...]:
    """Return findings in the order of tables: the 14 first, then the others by name."""
    given = set(findings)
    return (*(name for name in PATHOLOGIES if name in given), *sorted(given - {*PATHOLOGIES}))
