"""One-class models against two floors: rules that know a film's exposure alone (mean gray, five statistics)."""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from scipy import stats

from clr_hpc.reporting.stats.bootstrap import LEVEL, SMALLEST_DEFINED_SHARE, Interval, Sampled, defined_share
from clr_hpc.reporting.stats.run.parts import ALL
from clr_hpc.reporting.stats.run.scores import RunScores
from clr_hpc.reporting.stats.scoring import ScoredRun, Setting, validation_auroc


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


def floor_rows(runs: Iterable[ScoredRun]) -> tuple[FloorRow, ...]:
    """Return the rows of all settings whose runs have recorded the floors.

    They are measured on the draws of the report's other numbers, so that the page has one interval of each AUROC.
    """
    groups: dict[Setting, list[tuple[ScoredRun, RunScores]]] = defaultdict(list)
    for run in runs:
        if run.scores is not None and run.scores.floors:
            groups[run.setting].append((run, run.scores))
    return tuple(_row(setting, group, part) for setting, group in groups.items() for part in group[0][1].floors)


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
    drawn = np.subtract(one.draws, other.draws, dtype=np.float64)
    degrees = min(one.degrees, other.degrees)
    if defined_share(drawn) < SMALLEST_DEFINED_SHARE or degrees < 1:
        return None
    half = stats.t.ppf((1 + LEVEL) / 2, degrees) * float(np.nanstd(drawn, ddof=1))
    value = one.value - other.value
    return Interval(max(-1.0, value - half), min(1.0, value + half))


def _row(setting: Setting, group: list[tuple[ScoredRun, RunScores]], part: str) -> FloorRow:
    by_seed = [scores.floors[part] for _, scores in group if part in scores.floors]
    first = by_seed[0]
    auroc = Sampled.over_seeds([each.auroc for each in by_seed])
    return FloorRow(
        setting=setting,
        part=part,
        images=first.images,
        anomalous=first.anomalous,
        auroc=auroc,
        floors=dict(first.floors),
        differences={floor: difference(auroc, sampled) for floor, sampled in first.floors.items()},
        validation_auroc=float(np.mean([validation_auroc(run.record) for run, _ in group])),
    )
