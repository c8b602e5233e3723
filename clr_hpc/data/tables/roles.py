"""What the columns of a table seem to hold, by their names and by what stands in them."""

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

from clr_hpc.config.pathologies import PATHOLOGIES, parse_finding
from clr_hpc.data.tables.findings_cell import FindingsCells, names_of_14
from clr_hpc.data.tables.label_table import LabelTable
from clr_hpc.data.tables.values import (
    FRONTAL,
    SIDES,
    ValueRules,
    is_missing,
    meaning_of,
    parse_age_years,
    parse_number,
    parse_sex,
    parse_view,
)

_NAMES = {
    "image": "image imageindex imageid imagename imagefile imagefilename imagepath file filename filepath path "
    "img imgname imgpath dicomid dicom sopinstanceuid uid",
    "patient": "patient patientid patientno patientnr patientnumber patno patnr subject subjectid pid mrn person "
    "personid case caseid",
    "view": "view viewposition projection position appa frontallateral orientation modalityview",
    "age": "age patientage ageyears ageyrs ageinyears years yrs ageatstudy",
    "sex": "sex gender patientsex patientgender",
    "split": "split subset fold set partition part dataset",
    "reader": "reader readerid rad radid radiologist radiologistid annotator annotatorid rater raterid doctor",
    "box": "x y w h width height xmin ymin xmax ymax x1 y1 x2 y2 left top right bottom",
    "findings": "finding findings findinglabel findinglabels label labels diagnosis diagnoses class classname "
    "pathology pathologies disease diseases",
}
_ROLE_OF_NAME = {name: role for role, names in _NAMES.items() for name in names.split()}
_IMAGE_NAME = re.compile(r"\.(png|jpe?g|tiff?|bmp|gif|webp|dcm|dicom)$", re.IGNORECASE)
_MOST = 0.9
"""Share of a column's different values that must be of a kind."""
_SIDES_OF_BOX = 4


@dataclass(frozen=True)
class Column:
    """A column with its different values."""

    name: str
    values: frozenset[str]
    """Without those that are missing."""
    is_full: bool
    """Whether no cell is missing."""

    @property
    def role_of_name(self) -> str | None:
        """What a column of this name holds in most tables."""
        plain = re.sub(r"[^a-z0-9]+", "", self.name.lower())
        return "box" if plain.startswith("bbox") else _ROLE_OF_NAME.get(plain)

    def mostly(self, test: Callable[[str], object]) -> bool:
        """Return whether nearly all values pass."""
        return bool(self.values) and sum(bool(test(text)) for text in self.values) >= _MOST * len(self.values)


@dataclass
class Roles:
    """Columns by what they hold."""

    image: str
    patient: str | None = None
    view: list[str] = field(default_factory=list)
    age: str | None = None
    sex: str | None = None
    split: str | None = None
    reader: str | None = None
    boxes: list[str] = field(default_factory=list)
    labels: list[str] = field(default_factory=list)
    """Columns named as one of the 14, or as No Finding."""
    other_labels: list[str] = field(default_factory=list)
    """Columns of labels that have another name."""
    findings: str | None = None
    other_names: list[str] = field(default_factory=list)
    """Names in that column that are none of the 14."""

    def of_column(self, name: str) -> str:
        """Return what a column is taken for, in words; "" where it isn't read."""
        words = [
            *(["image"] if name == self.image else []),
            *(["patient"] if name == self.patient else []),
            *(["view"] if name in self.view else []),
            *(word for word in ("age", "sex", "split", "reader") if getattr(self, word) == name),
            *(["box, not read"] if name in self.boxes else []),
            *([f"label {parse_finding(name)}"] if name in self.labels else []),
            *([f"label {parse_finding(name)}, none of the 14"] if name in self.other_labels else []),
            *(["list of findings"] if name == self.findings else []),
        ]
        return ", ".join(words)


def find_roles(table: LabelTable) -> Roles:
    """Return what a table's columns seem to hold."""
    cells_of = map(set, zip(*(row.cells for row in table.rows), strict=True))
    columns = [
        Column(name, frozenset(text for text in cells if not is_missing(text)), not any(map(is_missing, cells)))
        for name, cells in zip(table.columns, cells_of, strict=True)
        if name
    ]
    roles = Roles(_image(columns))
    left = [column for column in columns if column.name != roles.image]
    roles.patient = _named(columns, "patient")
    for role, test in _TESTS.items():
        if (found := _named(left, role, test)) is not None:
            setattr(roles, role, found)
    views = [column for column in left if _is_view(column)]
    # Frontal/Lateral says less than AP/PA
    roles.view = [column.name for column in sorted(views, key=lambda column: "FRONTAL" in _views(column))]
    boxes = [column.name for column in left if column.role_of_name == "box" and column.mostly(_is_number)]
    roles.boxes = boxes if len(boxes) >= _SIDES_OF_BOX else []
    taken = {*roles.boxes, *roles.view, roles.patient, roles.age, roles.sex, roles.split, roles.reader}
    left = [column for column in left if column.name not in taken]
    labels = [column for column in left if column.mostly(_is_label) or not column.values]
    roles.labels = [column.name for column in labels if names_of_14(column.name)]
    roles.other_labels = [column.name for column in labels if _is_other_label(column)]
    if not roles.labels:
        _find_list(roles, [column for column in left if column not in labels])
    return roles


def _image(columns: Sequence[Column]) -> str:
    files = [column for column in columns if column.mostly(_IMAGE_NAME.search)]
    named = [column for column in columns if column.role_of_name == "image"]
    of_patient = [column for column in columns if column.role_of_name == "patient"]
    candidates = files or named or of_patient or [column for column in columns if column.is_full] or columns
    return max(candidates, key=lambda column: (column.is_full, len(column.values))).name


def _named(columns: Iterable[Column], role: str, test: Callable[[str], object] | None = None) -> str | None:
    """Return the column that has a name of the role, else the only one whose values all are of its kind."""
    named = [column for column in columns if column.role_of_name == role and (test is None or column.mostly(test))]
    if named or test is None:
        return named[0].name if named else None
    alike = [column.name for column in columns if column.values and all(map(test, column.values))]
    return alike[0] if len(alike) == 1 and role in ("sex", "split") else None


def _is_side(text: str) -> bool:
    return text.casefold() in SIDES


_TESTS: dict[str, Callable[[str], object]] = {
    "age": lambda text: parse_age_years(text) is not None,
    "sex": parse_sex,
    "split": _is_side,
    "reader": lambda _: True,
}


def _views(column: Column) -> set[str | None]:
    return {parse_view(text) for text in column.values}


def _is_view(column: Column) -> bool:
    views = _views(column)
    known = {*FRONTAL, "LATERAL"}
    return bool(views & {*FRONTAL}) and (column.role_of_name == "view" or views <= known)


def _is_number(text: str) -> bool:
    return parse_number(text) is not None


def _is_label(text: str) -> bool:
    try:
        return meaning_of(text) is not None
    except ValueError:
        return False


def _is_other_label(column: Column) -> bool:
    """Return whether a column of another name holds yes, and also something else."""
    if names_of_14(column.name) or parse_finding(column.name) is None or not all(map(_is_label, column.values)):
        return False
    meanings = {meaning_of(text) for text in column.values}
    return "positive" in meanings and (len(meanings) > 1 or not column.is_full)


def _find_list(roles: Roles, columns: Sequence[Column]) -> None:
    """Find the column that lists findings: it has their names, or a name of its own and some of theirs."""
    cells = FindingsCells(PATHOLOGIES, {}, ValueRules(), ignores_others=True)
    best = 0.0
    for column in columns:
        names = {name for text in column.values for name in cells.names(text)}
        known = {name for name in names if names_of_14(name)}
        share = len(known) / max(1, len(names)) + (column.role_of_name == "findings")
        if known and share > max(best, 0.3):
            best, roles.findings = share, column.name
            roles.other_names = sorted(name for name in names - known if parse_finding(name) is not None)
