"""The AUROC on parts of the test split: by view, sex and age."""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from clr_hpc.reporting.read.predictions import Scores, TestImages
from clr_hpc.reporting.stats.bootstrap import (
    Draws,
    Interval,
    Sampled,
    patient_draws,
    resampled_areas,
    side_by_side,
)
from clr_hpc.reporting.stats.scoring import LAST, ScoredRun

RESAMPLES_OF_SLICES = 400
"""Fewer than for the main results, since every run is measured on every slice."""
AGES = {"under 40": (-np.inf, 40.0), "40 to 60": (40.0, 60.0), "60 and over": (60.0, np.inf)}
"""Years, the lower bound included."""
FEWEST_OF_A_CLASS = 5
"""Images; below it a slice of a task is left out of the mean, the same for every arm."""


@dataclass(frozen=True, slots=True)
class SliceRow:
    """One arm on one slice: means over the tasks that have enough images of both classes in it."""

    attribute: str
    slice: str
    arm: str
    auroc: float
    interval: Interval | None
    tasks: int
    images: int
    """Of the slice in the test split."""
    note: str
    """Why it isn't defined; else empty."""


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


def slice_rows(
    runs: Iterable[ScoredRun], test: TestImages, generator: np.random.Generator
) -> tuple[SliceRow, ...]:
    """Return one row a slice and arm; a mean weighs every task alike."""
    measured = [run for run in runs if run.models]
    draws = patient_draws(test.patients, RESAMPLES_OF_SLICES, generator)
    by_arm: dict[str, list[ScoredRun]] = defaultdict(list)
    for run in measured:
        by_arm[run.setting.arm].append(run)
    with side_by_side() as pool:
        found = [
            pool.submit(_row, attribute, name, arm, group, mask, draws)
            for (attribute, name), mask in slices(test).items()
            for arm, group in by_arm.items()
        ]
        return tuple(row.result() for row in found)


def _row(
    attribute: str,
    name: str,
    arm: str,
    runs: list[ScoredRun],
    mask: NDArray[np.bool_],
    draws: Draws,
) -> SliceRow:
    by_task: dict[str, list[Sampled]] = defaultdict(list)
    for run in runs:
        scores = run.record.predictions["test"].of(LAST)
        part = scores.among(mask[scores.images])
        if has_enough(part):
            by_task[run.setting.task].append(sampled_auroc(part, draws))
    mean = Sampled.over_tasks([Sampled.over_seeds(sampled) for sampled in by_task.values()]) if by_task else None
    return SliceRow(
        attribute=attribute,
        slice=name,
        arm=arm,
        auroc=mean.value if mean else float("nan"),
        interval=mean.interval if mean else None,
        tasks=len(by_task),
        images=int(mask.sum()),
        note="" if mean else f"no task with {FEWEST_OF_A_CLASS} images of each class in it",
    )


def has_enough(part: Scores) -> bool:
    """Return whether there are enough images of both classes for an AUROC."""
    return bool(min(part.labels.sum(), (~part.labels).sum()) >= FEWEST_OF_A_CLASS)


def sampled_auroc(part: Scores, draws: Draws) -> Sampled:
    """Return the AUROC of images of both classes, from draws ``(P, B)`` of patients."""
    once = np.ones((len(draws), 1))
    on_all = resampled_areas(part.labels, part.scores, part.patients, once)
    drawn = resampled_areas(part.labels, part.scores, part.patients, draws, on_all).auroc
    rarest = min(len(np.unique(part.patients[mask])) for mask in (part.labels, ~part.labels))
    return Sampled(float(on_all.auroc[0]), drawn, rarest - 1)
