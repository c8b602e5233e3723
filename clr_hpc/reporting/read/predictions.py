"""Predictions of runs, aligned: what each model of a run says of each image."""

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clr_hpc.store.predictions import FLOORS

REPORTED_SPLITS = ("validation", "test")
Names = NDArray[np.str_]


@dataclass(frozen=True, slots=True)
class Scores:
    """One model on the images of one split; runs of one task have the same images in the same order."""

    images: NDArray[np.int32]
    """(N,) positions in the split's list of images, ascending."""
    patients: NDArray[np.int32]
    """(N,) positions in the split's list of patients."""
    labels: NDArray[np.bool_]
    """(N,)"""
    scores: NDArray[np.float64]
    """(N,)"""

    def among(self, kept: NDArray[np.bool_]) -> "Scores":
        """Return the scores of those images ``(N,)`` that are ``kept``."""
        return Scores(self.images[kept], self.patients[kept], self.labels[kept], self.scores[kept])


@dataclass(frozen=True, slots=True)
class SplitScores:
    """All models of one run on the images of one split."""

    images: NDArray[np.int32]
    patients: NDArray[np.int32]
    labels: NDArray[np.bool_]
    by_model: Mapping[str, NDArray[np.float32]]
    """Each (N,), as the file holds them."""
    floors: Mapping[str, NDArray[np.float32]] = field(default_factory=dict)
    """Scores (N,) of rules that a one-class model must beat; empty where none are recorded."""
    findings: Names = field(default_factory=lambda: np.empty(0, np.str_))
    """(N,) the pathologies of each image, separated by ``|``; empty where they are not recorded."""

    def of(self, model: str) -> Scores:
        """Return what one model says."""
        return Scores(self.images, self.patients, self.labels, self.by_model[model].astype(np.float64))

    def of_floor(self, floor: str) -> Scores:
        """Return what a floor says."""
        return Scores(self.images, self.patients, self.labels, self.floors[floor].astype(np.float64))


@dataclass(frozen=True, slots=True)
class TestImages:
    """What is known of the images of the test split, by position."""

    __test__ = False  # pytest takes names in Test for tests

    patients: int
    """Number of different patients."""
    view: Names
    """(N,) such as ``PA``; empty where it isn't known."""
    sex: Names
    """(N,) such as ``F``; empty where it isn't known."""
    age_years: NDArray[np.float64]
    """(N,) NaN where it isn't known."""


@dataclass(slots=True)
class Numbering:
    """Gives images and patients of each split one number over all runs."""

    images: dict[str, dict[str, int]] = field(default_factory=lambda: defaultdict(dict))
    patients: dict[str, dict[str, int]] = field(default_factory=lambda: defaultdict(dict))
    facts: dict[int, tuple[str, str, float]] = field(default_factory=dict)
    """View, sex and age in years of the test split's images, by number."""

    def test_images(self) -> TestImages:
        """Return what is known of all images of the test split that were numbered."""
        facts = [self.facts[number] for number in range(len(self.facts))]
        view, sex, age = zip(*facts, strict=True) if facts else ((), (), ())
        return TestImages(
            len(self.patients["test"]), np.array(view, np.str_), np.array(sex, np.str_), np.array(age, np.float64)
        )


def split_scores(predictions: Any, numbering: Numbering) -> dict[str, SplitScores]:
    """Return the validation and test splits of one run's predictions, a table of ``clr_hpc.store.predictions``."""
    table = predictions.to_pandas()
    by_split = {split: table[table["split"] == split] for split in REPORTED_SPLITS}
    return {split: _split_scores(rows, split, numbering) for split, rows in by_split.items() if len(rows)}


def _split_scores(rows: Any, split: str, numbering: Numbering) -> SplitScores:
    known = numbering.images[split]
    numbers = np.array([known.setdefault(name, len(known)) for name in rows["image"]], dtype=np.int32)
    order = np.argsort(numbers, kind="stable")
    models = rows["model"].to_numpy()[order]
    by_model = {model: order[models == model] for model in dict.fromkeys(rows["model"])}
    first = next(iter(by_model.values()))
    images = numbers[first]
    if split == "test":
        _note_facts(rows.iloc[first], images, numbering)
    patients = numbering.patients[split]
    scores = rows["score"].to_numpy(dtype=np.float32)
    floors = {
        name: rows[column].to_numpy(dtype=np.float32)[first]
        for name, column in FLOORS.items()
        if rows[column].notna().all()
    }
    return SplitScores(
        images,
        np.array([patients.setdefault(name, len(patients)) for name in rows["patient"].iloc[first]], np.int32),
        rows["label"].to_numpy()[first] == 1,
        {model: scores[positions] for model, positions in by_model.items()},
        floors,
        rows["findings"].fillna("").to_numpy(dtype=np.str_)[first],
    )


def _note_facts(rows: Any, images: NDArray[np.int32], numbering: Numbering) -> None:
    view, sex = (rows[column].fillna("").astype(str) for column in ("view", "sex"))
    ages = rows["age_years"].astype(np.float64)
    for image, *facts in zip(images.tolist(), view, sex, ages, strict=True):
        numbering.facts[image] = (facts[0], facts[1], facts[2])
