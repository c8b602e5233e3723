"""How well heat maps find boxes: means over images, intervals over patients, against chance and rivals."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from clr_hpc.config.pathologies import title
from clr_hpc.reporting.stats.bootstrap import LEVEL, RESAMPLES, Draws, Interval, Sampled, patient_draws
from clr_hpc.reporting.stats.difference import Difference, Variance, mean_difference
from clr_hpc.reporting.wording import listed
from clr_hpc.store.explanations import ComparedRecord, ExplanationsRecord, FindingRecord

Kind = Literal["pointing", "inside", "overlap"]


@dataclass(frozen=True, slots=True)
class Located:
    """One figure of one finding's maps, each a mean over images in [0, 1]."""

    value: float
    interval: Interval | None
    """Over patients, for these very models."""
    chance: float
    random: float
    """Of networks with random weights, or of ``rival``."""
    over_chance: Difference
    over_random: Difference
    over_middle: Difference | None = None
    """Of the pointing game: over always pointing at the middle of the image, where a heart, for instance, lies."""
    rival: str = "random weights"
    """What ``random`` is of; of one-class models ``maps of other images``."""

    @property
    def result(self) -> str:
        """What the intervals of the differences say; exploratory, as it is adjusted for nothing."""
        chance = self.over_chance.patient_interval
        if chance is None or chance.low <= 0 <= chance.high:
            return "no significant difference from chance"
        if chance.high < 0:
            return "worse than chance"
        better, others = ["chance"], list[str]()
        for rival, over in ((self.rival, self.over_random), ("the middle of the image", self.over_middle)):
            if over is not None:
                interval = over.patient_interval
                (better if interval is not None and interval.low > 0 else others).append(rival)
        return f"better than {listed(better)}" + (f", not than {' or '.join(others)}" if others else "")


@dataclass(frozen=True, slots=True)
class FoundBoxes:
    """What the maps of one finding come to."""

    finding: str
    """Its title."""
    record: FindingRecord
    patients: int
    pointing: Located
    inside: Located
    overlap: Located
    centre: float
    """The pointing game of always pointing at the middle of the image."""
    rank_correlation: float
    """Mean over the images where it is defined, of trained and random maps; NaN where there is none."""
    without_heat: int
    """Images in whose map nothing speaks for the finding."""

    @property
    def figures(self) -> dict[Kind, Located]:
        """All three, in the order of tables."""
        return {"pointing": self.pointing, "inside": self.inside, "overlap": self.overlap}

    @property
    def images(self) -> int:
        """Number of images with boxes."""
        return len(self.record["images"])


def found_boxes(record: ExplanationsRecord, generator: np.random.Generator) -> tuple[FoundBoxes, ...]:
    """Return what is to be reported of each finding, in the record's order."""
    return tuple(_of_finding(finding, generator) for finding in record["findings"])


def _of_finding(record: FindingRecord, generator: np.random.Generator) -> FoundBoxes:
    images = record["images"]
    names, patients = np.unique([image["patient"] for image in images], return_inverse=True)
    draws = patient_draws(len(names), RESAMPLES, generator)
    owners = patients.astype(np.int32)
    correlations = [value for image in images if (value := image["rank_correlation"]) is not None]
    rival = "maps of other images" if record.get("rival") == "other images" else "random weights"
    return FoundBoxes(
        finding=title(record["finding"]),
        record=record,
        patients=len(names),
        pointing=_located(images, "pointing", owners, draws, rival),
        inside=_located(images, "inside", owners, draws, rival),
        overlap=_located(images, "overlap", owners, draws, rival),
        centre=float(np.mean([image["centre"] for image in images])),
        rank_correlation=float(np.mean(correlations)) if correlations else float("nan"),
        without_heat=sum(not image["has_heat"] for image in images),
    )


def _located(
    images: Sequence[ComparedRecord], kind: Kind, patients: NDArray[np.int32], draws: Draws, rival: str
) -> Located:
    trained = np.array([image["trained"][kind] for image in images])
    random = np.array([image["random"][kind] for image in images])
    chance = np.array([image["chance_overlap" if kind == "overlap" else "area"] for image in images])
    middle = np.array([image["centre"] for image in images])
    is_hit = kind == "pointing"

    def over(other: NDArray[np.float64]) -> Difference:
        difference = mean_difference(trained - other, patients)
        return _not_surer_than_hits_are(difference, trained, other, len(draws)) if is_hit else difference

    return Located(
        float(trained.mean()),
        _interval_of_hits(trained, patients) if is_hit else _interval(trained, patients, draws),
        float(chance.mean()),
        float(random.mean()),
        over(chance),
        over(random),
        over(middle) if is_hit else None,
        rival,
    )


def _interval(values: NDArray[np.float64], patients: NDArray[np.int32], draws: Draws) -> Interval | None:
    """Return the interval of a mean of ``values`` ``(N,)`` on draws of patients ``(P, B)``."""
    images = np.bincount(patients, minlength=len(draws)) @ draws
    drawn = np.bincount(patients, values, len(draws)) @ draws / images
    return Sampled(float(values.mean()), drawn, len(draws) - 1).interval


def _interval_of_hits(hits: NDArray[np.float64], patients: NDArray[np.int32]) -> Interval | None:
    """Return the exact binomial interval of a share of ``hits`` ``(N,)`` with as many trials as it is worth.

    Their number is that of independent images of the same variance (Korn & Graubard 1998, Survey Methodology 24,
    193-201), at most that of the patients. Draws of few hits would show less variance than there is, and those of
    no hit none. None with a single patient.
    """
    share, variance = float(hits.mean()), mean_difference(hits, patients).patients
    if variance is None:
        return None
    trials = float(len(np.unique(patients)))
    if variance.value > 0:
        trials = min(trials, share * (1 - share) / variance.value)
    found, tail = share * trials, (1 - LEVEL) / 2
    low = stats.beta.ppf(tail, found, trials - found + 1) if share > 0 else 0.0
    high = stats.beta.ppf(1 - tail, found + 1, trials - found) if share < 1 else 1.0
    return Interval(float(low), float(high))


def _not_surer_than_hits_are(
    found: Difference, hits: NDArray[np.float64], rival: NDArray[np.float64], patients: int
) -> Difference:
    """Return a difference with at least the variance that a share of hits has: Laplace's estimate, or the rival.

    Images without a hit vary in nothing, and would else be surely worse than chance however few they are.
    """
    if found.patients is None:
        return found
    shares = ((float(hits.mean()) * patients + 1) / (patients + 2), float(rival.mean()))
    least = Variance(max(share * (1 - share) for share in shares) / patients, patients - 1)
    return found if found.patients.value >= least.value else replace(found, patients=least)
