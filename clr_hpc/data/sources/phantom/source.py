"""The phantom as a source: a table of films that are drawn when they are read."""

import hashlib
import re
from dataclasses import dataclass
from itertools import count
from typing import Annotated

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from clr_hpc.config.pathologies import NEGATIVE, PATHOLOGIES, POSITIVE
from clr_hpc.data.source import ImageRecord, ImageSource, Option, RejectedImageError, SourceTable
from clr_hpc.data.sources.phantom.anatomy import draw_anatomy, pose
from clr_hpc.data.sources.phantom.canvas import FILM_PIXELS
from clr_hpc.data.sources.phantom.chest import Chest, draw_devices
from clr_hpc.data.sources.phantom.film import expose
from clr_hpc.data.sources.phantom.findings import draw, reshape
from clr_hpc.data.sources.phantom.patients import Examination, Patient, draw_patient

GENERATOR_VERSION = 1
"""Rises with every change of the pixels or the table that one seed gives."""
_NAME = re.compile(r"phantom_(?P<patient>\d{5,})_(?P<follow_up>\d{3})\.png")


@dataclass(frozen=True, slots=True)
class PhantomSource(ImageSource):
    """Draw the built-in phantom, which needs no download.

    One seed gives the same films, however many are drawn.
    """

    default_size = 64
    default_validation_fraction = 0.2

    images: Annotated[int, Option("How many to draw.", minimum=1)] = 3000
    seed: Annotated[int, Option("Seed of patients, findings and exposure.")] = 0

    def __post_init__(self) -> None:
        if self.images < 1:
            raise ValueError(f"images={self.images} must be at least 1")
        if self.seed < 0:
            raise ValueError(f"seed={self.seed} must not be negative")

    def table(self) -> SourceTable:
        """Return the first ``images`` films of the population ``seed``, patient by patient."""
        records: list[ImageRecord] = []
        for number in count():
            records += _records(number, draw_patient(self.seed, number))
            if len(records) >= self.images:
                break
        provenance: dict[str, object] = {
            "kind": "phantom",
            "images": self.images,
            "seed": self.seed,
            "generator_version": GENERATOR_VERSION,
        }
        by_name = sorted(records[: self.images], key=lambda record: record.image)
        return SourceTable(records=tuple(by_name), provenance=provenance)

    def read(self, record: ImageRecord, size: int) -> tuple[NDArray[np.uint8], str]:
        """Draw one film and shrink it to ``(size, size)``; the SHA-256 is that of the film before shrinking.

        Raises:
            RejectedImageError: the record isn't one of this source.
        """
        patient, follow_up = self._find(record.image)
        film = draw_film(patient, patient.examinations[follow_up])
        checksum = hashlib.sha256(film.tobytes()).hexdigest()
        if size == FILM_PIXELS:
            return film, checksum
        filter_ = Image.Resampling.BOX if size < FILM_PIXELS else Image.Resampling.BICUBIC
        return np.array(Image.fromarray(film).resize((size, size), filter_)), checksum

    def _find(self, image: str) -> tuple[Patient, int]:
        """Return who is on the film ``image``, and which of the patient's films it is."""
        match = _NAME.fullmatch(image)
        if match:
            patient, follow_up = draw_patient(self.seed, int(match["patient"])), int(match["follow_up"])
            if follow_up < len(patient.examinations):
                return patient, follow_up
        raise RejectedImageError(f"{image!r} is no film of the phantom; take the records from its table")


def draw_film(patient: Patient, examination: Examination) -> NDArray[np.uint8]:
    """Return the film of one examination, ``(FILM_PIXELS, FILM_PIXELS)``."""
    rng = np.random.default_rng(examination.entropy)
    healthy = draw_anatomy(np.random.default_rng(patient.entropy), patient.sex, patient.age_years)
    posed = pose(healthy, examination.view, rng)
    chest = Chest(reshape(posed, examination.lesions), np.random.default_rng(patient.entropy))
    draw(chest, examination.lesions)
    draw_devices(chest, examination.view, rng)
    return expose(chest.attenuation(), rng)


def _records(number: int, patient: Patient) -> list[ImageRecord]:
    return [
        ImageRecord(
            image=f"phantom_{number:05d}_{follow_up:03d}.png",
            patient=f"phantom_{number:05d}",
            labels=_labels({lesion.pathology for lesion in examination.lesions}),
            view=examination.view,
            age_years=float(examination.age_years),
            sex=patient.sex,
        )
        for follow_up, examination in enumerate(patient.examinations)
    ]


def _labels(present: set[str]) -> tuple[int, ...]:
    return tuple(POSITIVE if pathology in present else NEGATIVE for pathology in PATHOLOGIES)
