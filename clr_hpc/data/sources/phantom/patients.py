"""Who is examined: patients, their follow-ups, and which findings come together, stay and resolve."""

from dataclasses import dataclass

import numpy as np

from clr_hpc.data.sources.phantom.anatomy import LEFT, RIGHT, Side

MAX_EXAMINATIONS = 8
_COURSE, _ANATOMY, _EXPOSURE, _LESION = range(4)

_SYNDROMES: dict[str, tuple[float, dict[str, float]]] = {
    "heart failure": (0.20, {"cardiomegaly": 0.7, "edema": 0.75, "effusion": 0.55}),
    "pneumonia": (0.15, {"pneumonia": 1.0, "infiltration": 0.25, "effusion": 0.2}),
    "lobar pneumonia": (0.16, {"consolidation": 1.0, "pneumonia": 0.25, "effusion": 0.2, "atelectasis": 0.15}),
    "obstructive lung disease": (0.13, {"emphysema": 1.0, "nodule": 0.15, "pneumothorax": 0.12, "fibrosis": 0.1}),
    "interstitial lung disease": (0.12, {"fibrosis": 1.0, "pleural_thickening": 0.25, "infiltration": 0.15}),
    "cancer": (0.16, {"mass": 0.85, "nodule": 0.5, "atelectasis": 0.25, "effusion": 0.2}),
    "granuloma": (0.07, {"nodule": 1.0}),
    "collapsed lung": (0.15, {"pneumothorax": 1.0, "atelectasis": 0.2, "effusion": 0.15}),
    "hypoventilation": (0.13, {"atelectasis": 1.0, "infiltration": 0.15, "effusion": 0.15}),
    "unspecific infiltrate": (0.13, {"infiltration": 1.0}),
    "hiatal hernia": (0.14, {"hernia": 1.0, "atelectasis": 0.1}),
    "old pleurisy": (0.12, {"pleural_thickening": 1.0, "effusion": 0.1}),
    "enlarged heart": (0.05, {"cardiomegaly": 1.0}),
}
"""Name: probability that a patient has it, and of each of its findings then."""

_ACUTE = {"atelectasis", "consolidation", "effusion", "edema", "infiltration", "pneumonia", "pneumothorax"}
"""Findings that may resolve between two examinations; the others stay."""
_RESOLVES = 0.35


@dataclass(frozen=True, slots=True)
class Lesion:
    """One finding of one patient as one examination meets it."""

    pathology: str
    side: Side
    severity: float
    """Severity from 0, barely visible, to 1, extreme."""
    entropy: tuple[int, ...]
    """Seeds what stays the same over all follow-ups, such as its place."""

    def rng(self) -> np.random.Generator:
        """Return a fresh generator that always draws the same numbers for this lesion."""
        return np.random.default_rng(self.entropy)


@dataclass(frozen=True, slots=True)
class Examination:
    """One film of one patient."""

    view: str
    age_years: int
    lesions: tuple[Lesion, ...]
    entropy: tuple[int, ...]
    """Seeds breath, position, exposure and noise."""


@dataclass(frozen=True, slots=True)
class Patient:
    """One patient with all examinations, in their order."""

    sex: str
    age_years: int
    """Age at the first examination."""
    examinations: tuple[Examination, ...]
    entropy: tuple[int, ...]
    """Seeds the anatomy."""


def draw_patient(seed: int, number: int) -> Patient:
    """Return patient ``number`` of the population ``seed``: the same one at every call.

    View, age and sex are drawn apart from the findings, so that they tell nothing about them.
    """
    rng = np.random.default_rng((seed, number, _COURSE))
    count = int(min(rng.geometric(0.4), MAX_EXAMINATIONS))
    sex = "FM"[int(rng.integers(2))]
    age_years = int(np.clip(rng.normal(52, 17), 18, 92))
    years_later = np.concatenate([[0], np.cumsum(rng.geometric(0.6, count - 1) - 1)])
    views = rng.choice(["PA", "AP"], size=count, p=[0.65, 0.35])
    lesions = _draw_courses(rng, seed, number, count)
    examinations = tuple(
        Examination(
            view=str(views[i]),
            age_years=min(age_years + int(years_later[i]), 95),
            lesions=tuple(lesions[i]),
            entropy=(seed, number, _EXPOSURE, i),
        )
        for i in range(count)
    )
    return Patient(sex, age_years, examinations, entropy=(seed, number, _ANATOMY))


def _draw_courses(rng: np.random.Generator, seed: int, number: int, count: int) -> list[list[Lesion]]:
    """Return the lesions of each of ``count`` examinations."""
    present: list[dict[str, Lesion]] = [{} for _ in range(count)]
    for syndrome_number, (probability, members) in enumerate(_SYNDROMES.values()):
        begins = 0 if rng.random() < 0.75 else int(rng.integers(count))
        side = LEFT if rng.random() < 0.5 else RIGHT
        if rng.random() >= probability:
            continue
        for member_number, (pathology, share) in enumerate(members.items()):
            severity = rng.uniform(0.0, 1.0)
            if rng.random() >= share:
                continue
            entropy = (seed, number, _LESION, syndrome_number, member_number)
            for i in range(begins, count):
                present[i].setdefault(pathology, Lesion(pathology, side, float(severity), entropy))
                severity = float(np.clip(severity + rng.normal(0, 0.12), 0.0, 1.0))
                if pathology in _ACUTE and rng.random() < _RESOLVES:
                    break
    return [list(lesions.values()) for lesions in present]
