"""What the columns of a table are for, as data that describes any publisher's table."""

import re
from dataclasses import dataclass, field
from typing import Literal

from clr_hpc.config.base import shown
from clr_hpc.data.source import SourceError
from clr_hpc.data.tables.label_table import LabelTable
from clr_hpc.data.tables.values import ValueRules

ReadersRule = Literal["any", "majority", "all"]
"""How many of an image's readers must say yes."""
RowKind = Literal["image", "finding"]

NO_PATIENT = (
    "nothing says which images are of one patient, and those must share a split; give --patient-column COLUMN, or "
    r"--patient-from PATTERN that finds the patient in image names, such as '(patient\d+)', or --image-is-patient "
    "where each image is of another patient"
)


@dataclass(frozen=True, slots=True)
class TableLayout:
    """Columns by what they hold, and how their cells are read. Case and blanks of their names don't matter."""

    image: str
    """Column with the image's name or path."""
    patient: str | None = None
    patient_from: str | None = None
    """Pattern with one group that finds the patient in the image's name."""
    image_is_patient: bool = False
    labels: tuple[tuple[str, str], ...] = ()
    """Column and finding; with ``findings_column`` also name in its cells and finding, "" for one to leave out."""
    findings: tuple[str, ...] = ()
    """Findings of the pack besides the 14: columns, or names in the cells of ``findings_column``."""
    findings_column: str | None = None
    """Column whose cells list what was found: ``A|B``, ``['a', 'b']``, ``a;b``, ``a, b``."""
    other_findings: Literal["reject", "ignore"] = "reject"
    """What becomes of an image with a name in that column that is none of the pack's findings."""
    rows: RowKind | None = None
    """Whether a row lists all findings of its image, or one of them; None: one where no cell lists several."""
    view: tuple[str, ...] = ()
    """Columns with the view; the first one that says something counts."""
    age: str | None = None
    sex: str | None = None
    split: str | None = None
    reader: str | None = None
    """Column that names who read the image."""
    readers: ReadersRule | None = None
    """None: readers who contradict each other have the image rejected."""
    values: ValueRules = field(default_factory=ValueRules)

    def positions(self, table: LabelTable) -> dict[str, int]:
        """Return where the table has the columns that are named, by role.

        Raises:
            SourceError: it lacks one, or the patient is given in several ways.
        """
        named = {
            "image": self.image,
            "patient": self.patient,
            "findings": self.findings_column,
            "age": self.age,
            "sex": self.sex,
            "split": self.split,
            "reader": self.reader,
        }
        self._check_patients()
        found = {role: table.column(name) for role, name in named.items() if name is not None}
        return found | {
            "view" if number == 1 else f"view {number}": table.column(name)
            for number, name in enumerate(self.view, start=1)
        }

    @property
    def patients(self) -> str | None:
        """How patients are told apart, in words; None where nothing says it."""
        if self.patient is not None:
            return f"column {self.patient}"
        if self.patient_from is not None:
            return f"pattern {self.patient_from} in image names"
        return "each image counts as another patient" if self.image_is_patient else None

    def patient_pattern(self) -> re.Pattern[str] | None:
        """Return what finds the patient in the image's name, if that is asked for.

        Raises:
            SourceError: it is no pattern, or has not one group.
        """
        if self.patient_from is None:
            return None
        try:
            pattern = re.compile(self.patient_from)
        except re.error as error:
            raise SourceError(
                f"--patient-from {shown(self.patient_from)} is no regular expression: {error}; "
                r"give one such as '(patient\d+)'"
            ) from error
        if pattern.groups != 1:
            raise SourceError(
                f"--patient-from {shown(self.patient_from)} has {pattern.groups} groups; put what names the "
                r"patient into one pair of brackets, such as '(patient\d+)', and write others as (?:...)"
            )
        return pattern

    def _check_patients(self) -> None:
        given = [
            option
            for option, is_given in (
                ("--patient-column", self.patient is not None),
                ("--patient-from", self.patient_from is not None),
                ("--image-is-patient", self.image_is_patient),
            )
            if is_given
        ]
        if len(given) > 1:
            raise SourceError(
                f"{' and '.join(given)} are given; the patient is named in one way, keep one of them"
            )
        self.patient_pattern()
