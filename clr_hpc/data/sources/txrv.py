"""Data sets of torchxrayvision, and any other that has their ``img``, ``labels``, ``pathologies`` and ``csv``.

torchxrayvision itself is not imported here: the class that the user names brings it.
"""

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Annotated, Any

import numpy as np
from numpy.typing import NDArray

from clr_hpc.config.pathologies import PATHOLOGIES, UNKNOWN, in_order, parse_finding
from clr_hpc.data.given_class import find_class, make, without_folders
from clr_hpc.data.images.files import RESAMPLING
from clr_hpc.data.images.gray import fit_square
from clr_hpc.data.source import ImageRecord, ImageSource, Option, RejectedImageError, SourceError, SourceTable
from clr_hpc.data.tables.values import is_missing, parse_view

_BOUND = 1024
"""torchxrayvision scales the range of an image's type to -1024 ... 1024."""


@dataclass(frozen=True)
class TxrvSource(ImageSource):
    """Pack a data set of torchxrayvision, such as torchxrayvision.datasets.NIH_Dataset."""

    name: Annotated[str, Option("The data set's class.", metavar="PACKAGE.CLASS", is_argument=True)]
    arguments: Annotated[
        tuple[tuple[str, str], ...],
        Option("An argument of the class; repeat.", flag="--arg", metavar="NAME=VALUE"),
    ] = ()
    image_is_patient: Annotated[bool, Option("Each image counts as another patient.")] = False

    def table(self) -> SourceTable:
        """Return a record per sample, named by its number.

        Raises:
            SourceError: the class can't be imported, is no such data set, or doesn't name patients.
        """
        dataset = _dataset(self.name, self.arguments)
        names = _findings(self.name, dataset)
        findings = in_order({*PATHOLOGIES, *names})
        labels = np.asarray(dataset.labels, dtype=np.float64)
        places = [names.index(finding) if finding in names else None for finding in findings]
        columns = {name: _column(dataset, name) for name in ("patientid", "view", "age_years", "sex_male")}
        if columns["patientid"] is None and not self.image_is_patient:
            raise SourceError(
                f"{self.name} has no column 'patientid', so nothing says which images are of one patient; give "
                "--image-is-patient where each image is of another"
            )
        records = []
        for number, row in enumerate(labels):
            cells = {name: None if column is None else column[number] for name, column in columns.items()}
            male = _number(cells["sex_male"])
            image = f"{number:07d}"
            records.append(
                ImageRecord(
                    image=image,
                    patient=image if self.image_is_patient else str(cells["patientid"]),
                    labels=tuple(UNKNOWN if place is None else _label(row[place]) for place in places),
                    view=None if cells["view"] is None else parse_view(str(cells["view"])),
                    age_years=_number(cells["age_years"]),
                    sex=None if male is None else "M" if male else "F",
                )
            )
        return SourceTable(
            records=tuple(records),
            findings=findings,
            resampling=RESAMPLING,
            provenance={
                "kind": "txrv",
                "dataset": self.name,
                "arguments": without_folders(self.arguments),
                "labels_sha256": hashlib.sha256(labels.tobytes()).hexdigest(),
                "patients": "each image counts as another patient"
                if self.image_is_patient
                else "column patientid",
            },
        )

    def read(self, record: ImageRecord, size: int) -> tuple[NDArray[np.uint8], str]:
        dataset = _dataset(self.name, self.arguments)
        try:
            image = np.asarray(dataset[int(record.image)]["img"], dtype=np.float32)
        except (OSError, ValueError, KeyError) as error:
            raise RejectedImageError(f"can't be read: {type(error).__name__}: {error}") from error
        return fit_square(to_bytes(image), size), hashlib.sha256(image.tobytes()).hexdigest()


def to_bytes(image: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Return ``(height, width)`` uint8 of an image ``(1, height, width)`` from -1024 to 1024.

    Raises:
        RejectedImageError: it has another shape or range.
    """
    if image.ndim != 3 or image.shape[0] != 1:
        raise RejectedImageError(f"shape {image.shape}; (1, height, width) is needed")
    if not np.isfinite(image).all() or abs(image).max() > _BOUND * 1.001:
        raise RejectedImageError(f"values from {image.min():g} to {image.max():g}; -1024 to 1024 are needed")
    scaled = np.rint((image[0] + _BOUND) * (255 / (2 * _BOUND)))
    return np.asarray(np.clip(scaled, 0, 255), dtype=np.uint8)


@cache
def _dataset(name: str, arguments: tuple[tuple[str, str], ...]) -> Any:
    """Return the data set: one per process, since reading its tables takes a while."""
    made = make(find_class(name), name, arguments)
    lacking = [attribute for attribute in ("pathologies", "labels", "csv") if not hasattr(made, attribute)]
    if lacking:
        raise SourceError(
            f"{name} has no {' and no '.join(lacking)}; name a data set of torchxrayvision, or one like those"
        )
    return made


def _findings(name: str, dataset: Any) -> list[str]:
    """Return the finding of each of a data set's pathologies."""
    found = [parse_finding(str(pathology)) or "" for pathology in dataset.pathologies]
    if len({*found} - {""}) < len(found):
        raise SourceError(f"{name} has two pathologies of one name, or one without: {list(dataset.pathologies)}")
    return found


def _column(dataset: Any, name: str) -> Sequence[Any] | None:
    return list(dataset.csv[name]) if name in dataset.csv else None


def _label(value: float) -> int:
    return UNKNOWN if math.isnan(value) or value not in (0, 1) else int(value)


def _number(value: Any) -> float | None:
    if value is None or is_missing(str(value)):
        return None
    return float(value)


SOURCE = TxrvSource
