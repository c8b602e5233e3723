"""The AUROC of each arm on parts of the test split: by view, sex and age."""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass

from clr_hpc.reporting.read.predictions import TestImages
from clr_hpc.reporting.stats.bootstrap import Interval, Sampled
from clr_hpc.reporting.stats.run.parts import FEWEST_OF_A_CLASS, slices
from clr_hpc.reporting.stats.scoring import ScoredRun


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


def slice_rows(runs: Iterable[ScoredRun], test: TestImages) -> tuple[SliceRow, ...]:
    """Return one row a slice and arm; a mean weighs every task alike."""
    by_arm: dict[str, list[ScoredRun]] = defaultdict(list)
    for run in runs:
        if run.models:
            by_arm[run.setting.arm].append(run)
    return tuple(
        _row(part, arm, group, int(mask.sum()))
        for part, mask in slices(test).items()
        for arm, group in by_arm.items()
    )


def _row(part: tuple[str, str], arm: str, runs: list[ScoredRun], images: int) -> SliceRow:
    by_task: dict[str, list[Sampled]] = defaultdict(list)
    for run in runs:
        if run.scores is not None and part in run.scores.slices:
            by_task[run.setting.task].append(run.scores.slices[part])
    mean = Sampled.over_tasks([Sampled.over_seeds(sampled) for sampled in by_task.values()]) if by_task else None
    return SliceRow(
        attribute=part[0],
        slice=part[1],
        arm=arm,
        auroc=mean.value if mean else float("nan"),
        interval=mean.interval if mean else None,
        tasks=len(by_task),
        images=images,
        note="" if mean else f"no task with {FEWEST_OF_A_CLASS} images of each class in it",
    )
