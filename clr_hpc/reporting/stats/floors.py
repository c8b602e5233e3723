"""One-class models against two floors: rules that know a film's exposure alone (mean gray, five statistics)."""

from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from clr_hpc.config.pathologies import PATHOLOGIES, title
from clr_hpc.reporting.read.predictions import SplitScores, TestImages
from clr_hpc.reporting.stats.bootstrap import (
    LEVEL,
    RESAMPLES,
    SMALLEST_DEFINED_SHARE,
    Draws,
    Interval,
    Sampled,
    defined_share,
    patient_draws,
)
from clr_hpc.reporting.stats.scoring import LAST, ScoredRun, Setting, validation_auroc
from clr_hpc.reporting.stats.subgroups import has_enough, sampled_auroc

ALL = "all"


@dataclass(frozen=True, slots=True)
class FloorRow:
    """One setting on some of the test images: its AUROC, and that of each floor."""

    setting: Setting
    part: str
    """``all``, a view, or a pathology against the class."""
    images: int
    anomalous: int
    auroc: Sampled
    floors: dict[str, Sampled]
    differences: dict[str, Interval | None]
    """Of the AUROC from each floor's, over patients; None where they are too few for an interval."""
    validation_auroc: float
    """Mean over the seeds, on all validation images."""

    @property
    def is_above(self) -> bool:
        """Whether the AUROC lies above every floor, each difference of zero excluded."""
        return all(interval is not None and interval.low > 0 for interval in self.differences.values())


def floor_rows(
    runs: Iterable[ScoredRun], test: TestImages, generator: np.random.Generator
) -> tuple[FloorRow, ...]:
    """Return the rows of all settings whose runs have recorded the floors.

    With a generator like that of ``score_runs`` the same patients are drawn, so that the page has one interval of
    each AUROC.
    """
    draws = patient_draws(test.patients, RESAMPLES, generator)
    groups: dict[Setting, list[ScoredRun]] = defaultdict(list)
    for run in runs:
        if run.models and run.record.predictions["test"].floors:
            groups[run.setting].append(run)
    return tuple(
        row
        for setting, group in groups.items()
        for name, mask in _parts(group[0].record.predictions["test"], test)
        if (row := _row(setting, group, name, mask, draws)) is not None
    )


def chosen_rows(rows: Iterable[FloorRow]) -> dict[str, tuple[FloorRow, int]]:
    """Return, for each class, the setting that is best on validation on all test images, and of how many it is."""
    by_class: dict[str, list[FloorRow]] = defaultdict(list)
    for row in rows:
        if row.part == ALL and row.validation_auroc == row.validation_auroc:
            by_class[row.setting.task.partition(": ")[0]].append(row)
    return {
        name: (max(found, key=lambda row: row.validation_auroc), len(found)) for name, found in by_class.items()
    }


def difference(one: Sampled, other: Sampled) -> Interval | None:
    """Return the interval of a difference of two AUROCs on the same draws of patients.

    None where an AUROC of them would have none, since too few draws define it or a class has one patient.
    """
    drawn = one.draws - other.draws
    degrees = min(one.degrees, other.degrees)
    if defined_share(drawn) < SMALLEST_DEFINED_SHARE or degrees < 1:
        return None
    half = stats.t.ppf((1 + LEVEL) / 2, degrees) * float(np.nanstd(drawn, ddof=1))
    value = one.value - other.value
    return Interval(max(-1.0, value - half), min(1.0, value + half))


def _parts(scores: SplitScores, test: TestImages) -> Iterator[tuple[str, NDArray[np.bool_]]]:
    """Yield names and masks ``(N,)`` of the images: all, each view, each pathology with all of the class."""
    yield ALL, np.ones(len(scores.labels), bool)
    views = test.view[scores.images]
    for view in sorted(set(views.tolist()) - {""}):
        yield f"view {view}", views == view
    for pathology in PATHOLOGIES if len(scores.findings) else ():
        has_it = np.array([pathology in found.split("|") for found in scores.findings.tolist()], bool)
        if (has_it & scores.labels).any():
            yield title(pathology), ~scores.labels | has_it


def _row(
    setting: Setting, group: list[ScoredRun], name: str, mask: NDArray[np.bool_], draws: Draws
) -> FloorRow | None:
    first = group[0].record.predictions["test"]
    if not has_enough(first.of(LAST).among(mask)):
        return None
    by_seed = [sampled_auroc(run.record.predictions["test"].of(LAST).among(mask), draws) for run in group]
    auroc = Sampled.over_seeds(by_seed)
    floors = {floor: sampled_auroc(first.of_floor(floor).among(mask), draws) for floor in first.floors}
    return FloorRow(
        setting=setting,
        part=name,
        images=int(mask.sum()),
        anomalous=int((mask & first.labels).sum()),
        auroc=auroc,
        floors=floors,
        differences={floor: difference(auroc, sampled) for floor, sampled in floors.items()},
        validation_auroc=float(np.mean([validation_auroc(run.record) for run in group])),
    )
