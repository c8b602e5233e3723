"""Parts of the test split, and the AUROC on them: by view, sex and age; for one-class models by pathology, too."""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from clr_hpc.config.pathologies import PATHOLOGIES, title
from clr_hpc.reporting.read.predictions import Scores, SplitScores, TestImages
from clr_hpc.reporting.stats.bootstrap import Draws, Sampled, resampled_areas

RESAMPLES_OF_SLICES = 400
"""Fewer than for the main results, since every run is measured on every slice."""
AGES = {"under 40": (-np.inf, 40.0), "40 to 60": (40.0, 60.0), "60 and over": (60.0, np.inf)}
"""Years, the lower bound included."""
ALL = "all"
FEWEST_OF_A_CLASS = 5
"""Images; below it a slice of a task is left out of the mean, the same for every arm."""


def slices(test: TestImages) -> dict[tuple[str, str], NDArray[np.bool_]]:
    """Return ``(N,)`` masks of test images by attribute and slice; images without the attribute are in none."""
    found = {}
    for attribute, values in (("View", test.view), ("Sex", test.sex)):
        for value in sorted(set(values.tolist()) - {""}):
            found[attribute, value] = values == value
    for name, (low, high) in AGES.items():
        mask = (test.age_years >= low) & (test.age_years < high)
        if mask.any():
            found["Age", name] = mask
    return found


def parts_of_anomalies(scores: SplitScores, test: TestImages) -> Iterator[tuple[str, NDArray[np.bool_]]]:
    """Yield names and masks ``(N,)`` of the images: all, each view, each pathology with all of the class."""
    yield ALL, np.ones(len(scores.labels), bool)
    views = test.view[scores.images]
    for view in sorted(set(views.tolist()) - {""}):
        yield f"view {view}", views == view
    for pathology in PATHOLOGIES if len(scores.findings) else ():
        has_it = np.array([pathology in found.split("|") for found in scores.findings.tolist()], bool)
        if (has_it & scores.labels).any():
            yield title(pathology), ~scores.labels | has_it


def has_enough(part: Scores) -> bool:
    """Return whether there are enough images of both classes for an AUROC."""
    return bool(min(part.labels.sum(), (~part.labels).sum()) >= FEWEST_OF_A_CLASS)


def sampled_auroc(part: Scores, draws: Draws) -> Sampled:
    """Return the AUROC of images of both classes, from draws ``(P, B)`` of patients."""
    once = np.ones((len(draws), 1))
    on_all = resampled_areas(part.labels, part.scores, part.patients, once)
    drawn = resampled_areas(part.labels, part.scores, part.patients, draws, on_all).auroc
    rarest = min(len(np.unique(part.patients[mask])) for mask in (part.labels, ~part.labels))
    return Sampled(float(on_all.auroc[0]), drawn.astype(np.float32), rarest - 1)
