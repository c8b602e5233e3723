"""What the header of a DICOM file says of its image: whose it is, and what it shows."""

import re
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from pydicom import Dataset

from clr_hpc.data.tables.values import parse_age_years, parse_sex

WITHOUT_PIXELS = "a DICOM file without pixels"
"""A report, an index, or a file cut short in front of them."""
RADIOGRAPHY = frozenset({"", "CR", "DX", "DR"})
"""Modalities; DR is no name of the standard, and in use. Fluoroscopy (RF) is none of them."""
FRONTAL = frozenset({None, "PA", "AP"})
"""Views that are not left out; None is one that isn't known."""
_CHEST = re.compile("CHEST|THORAX|T[OÓ]RAX|LUNG")
_POSTURE = re.compile(r"(HF|FF|LF|RF|AF|PF)(P|S|DR|DL)|ERECT|UPRIGHT|STANDING|SITTING|SUPINE|PRONE")
"""What the tag for a patient's position is for; some write the view there."""
_WORDS_OF_VIEW = {
    "DECUBITUS": {"LLD", "RLD", "DECUBITUS", "DECUB"},
    "OBLIQUE": {"LLO", "RLO", "LPO", "RPO", "LAO", "RAO", "OBLIQUE", "OBL"},
    "LATERAL": {"LL", "RL", "LAT", "LATERAL", "LLAT", "RLAT"},
    "PA": {"PA", "POSTEROANTERIOR", "POSTERO"},
    "AP": {"AP", "ANTEROPOSTERIOR", "ANTERO"},
}


TAGS = (
    *("SOPInstanceUID", "StudyInstanceUID", "AccessionNumber", "SpecificCharacterSet", "Modality"),
    *("BodyPartExamined", "AnatomicRegionSequence", "ImageLaterality", "Laterality", "BurnedInAnnotation"),
    *("ViewPosition", "ViewCodeSequence", "PatientPosition", "PatientOrientation", "SeriesDescription"),
    *("PatientID", "PatientAge", "PatientBirthDate", "StudyDate", "PatientSex"),
)
"""All that ``read_tags`` looks at."""


@dataclass(frozen=True, slots=True)
class DicomTags:
    """The tags that are read; blank where a file lacks them."""

    image: str
    """SOP instance UID."""
    study: str
    accession: str
    patient: str
    modality: str
    body_part: str
    view: str | None
    """``PA``, ``AP``, ``LATERAL``, ``OBLIQUE``, ``DECUBITUS``, another word of the file, or None."""
    laterality: str
    age_years: float | None
    sex: str | None
    has_burned_in_text: bool


def read_tags(dataset: Dataset) -> DicomTags:
    """Return what a header says; raises whatever pydicom raises for values that are damaged."""
    return DicomTags(
        image=_text(dataset, "SOPInstanceUID"),
        study=_text(dataset, "StudyInstanceUID"),
        accession=_text(dataset, "AccessionNumber"),
        patient=_text(dataset, "PatientID"),
        modality=_text(dataset, "Modality").upper(),
        body_part=(_text(dataset, "BodyPartExamined") or _meaning(dataset, "AnatomicRegionSequence")).upper(),
        view=_view(dataset),
        laterality=_text(dataset, "ImageLaterality") or _text(dataset, "Laterality"),
        age_years=_age_years(dataset),
        sex=parse_sex(_text(dataset, "PatientSex")),
        has_burned_in_text=_text(dataset, "BurnedInAnnotation").upper() == "YES",
    )


def why_unfit(tags: DicomTags) -> str | None:
    """Return why an image is no chest radiograph for a pack, or None; a missing tag is no reason."""
    if tags.modality not in RADIOGRAPHY:
        return f"modality {tags.modality}; CR or DX is needed"
    if tags.body_part and not _CHEST.search(tags.body_part):
        return f"body part {tags.body_part}, not the chest"
    if tags.has_burned_in_text:
        return "text is burned into its pixels, which may name the patient"
    return None


def why_not_frontal(tags: DicomTags) -> str | None:
    """Return why an image is left out where only frontal views are wanted, or None."""
    return None if tags.view in FRONTAL else f"view {tags.view}, not PA or AP; --lateral admits other views"


def _text(dataset: Dataset, keyword: str) -> str:
    value = dataset.get(keyword)
    return "" if value is None else "/".join(map(str, value)) if _is_list(value) else str(value).strip()


def _is_list(value: Any) -> bool:
    return not isinstance(value, str) and hasattr(value, "__iter__")


def _meaning(dataset: Dataset, keyword: str) -> str:
    """Return what the first code of a sequence means."""
    items = dataset.get(keyword)
    return _text(items[0], "CodeMeaning") if items else ""


def _view(dataset: Dataset) -> str | None:
    """Return the view by the tags that name it, in the order of how far they are to be trusted."""
    position = _text(dataset, "PatientPosition").upper()
    for text in (_text(dataset, "ViewPosition"), _meaning(dataset, "ViewCodeSequence"), position):
        if text and not _POSTURE.fullmatch(text.upper()):
            return next(iter(_views_in(text)), text.upper())
    if _text(dataset, "PatientOrientation")[:1] in ("A", "P"):  # where rows lead: to the front or the back
        return "LATERAL"
    described = _views_in(_text(dataset, "SeriesDescription"))
    return described[0] if len(described) == 1 else None


def _views_in(text: str) -> list[str]:
    """Return the views that a text names, those that are not frontal first."""
    words = set(re.findall("[A-Z]+", text.upper()))
    return [view for view, names in _WORDS_OF_VIEW.items() if words & names]


def _age_years(dataset: Dataset) -> float | None:
    """Return the age at the study, by its tag or by two dates."""
    if text := _text(dataset, "PatientAge"):
        return parse_age_years(text)
    try:
        born, taken = (
            datetime.strptime(_text(dataset, keyword), "%Y%m%d") for keyword in ("PatientBirthDate", "StudyDate")
        )
    except ValueError:
        return None
    return parse_age_years(f"{(taken - born).days}D")
