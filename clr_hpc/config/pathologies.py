"""The 14 findings of ChestX-ray14, in the one order that every table, index and figure of this project uses."""

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
"""NIH's word for an image on which none of the 14 was reported; as a label it is derived, never stored."""


def title(pathology: str) -> str:
    """Return the name as people write it: ``pleural_thickening`` becomes ``Pleural thickening``."""
    return pathology.replace("_", " ").capitalize()


def parse_pathology(text: str) -> str | None:
    """Return the identifier that ``text`` names, or None.

    Case, spaces, hyphens and underscores make no difference: ``Pleural_Thickening``, ``pleural thickening``.
    """
    identifier = "_".join(text.strip().lower().replace("-", " ").replace("_", " ").split())
    return identifier if identifier in PATHOLOGIES else None
