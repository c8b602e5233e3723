"""The queue of the runs of trials."""

import math
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from pathlib import Path

from clr_hpc.config.base import UserError
from clr_hpc.config.run import RunSpec
from clr_hpc.config.study import Study
from clr_hpc.config.tuned_study import CHECKSUM_OF_NO_PACK, corners, trial_runs
from clr_hpc.data.manifest import Counts, LabelCounts
from clr_hpc.places.queue import Assignment, Finished, Queue, Wait, has_no_result
from clr_hpc.store.metrics import read_metrics
from clr_hpc.store.records import Damaged
from clr_hpc.store.results import check_result, is_done, read_result
from clr_hpc.training.run import ExitStatus
from clr_hpc.tuning.tuner import Trial, Tuner

ROUNDING = 1e-6
"""Epochs."""


def value_after(folder: Path, epochs: float, objective: str) -> float | None:
    """Return a run's validation metric after so many epochs; None where it hasn't come so far.

    Args:
        folder: of the run.
        epochs: infinity asks for the last one of a run that is done.
        objective: ``auroc`` or ``loss``.

    Raises:
        ValueError: the metric isn't defined there.
    """
    measured = [
        entry
        for entry in read_metrics(folder)
        if entry.get("split") == "validation" and entry["progress"] <= epochs + ROUNDING
    ]
    is_there = bool(measured) and measured[-1]["progress"] >= epochs - ROUNDING
    if not is_there and not (
        measured and is_done(check_result(folder))
    ):  # its own early stopping may have ended it before
        return None
    value: float | None = measured[-1][objective]
    if value is None:
        raise ValueError(
            f"the validation {objective} is not defined: the split has one class only; "
            "pack with a larger validation split, or take objective: loss"
        )
    return value


def check_objective(study: Study, counts: Counts) -> None:
    """See that the validation split of a pack has what the objective of a search is measured on.

    Args:
        study: with the ``tune`` section.
        counts: of the study's pack.

    Raises:
        UserError: it hasn't, so that every trial would fail at its end.
    """
    assert study.tune is not None
    (spec, *_) = trial_runs(study, next(corners(study.tune)), CHECKSUM_OF_NO_PACK)
    label = spec.task.label
    split = counts.splits.get("validation")
    found = LabelCounts() if split is None else split.of(spec.training.select).labels[label]
    has_both, has_any = bool(found.positive and found.negative), bool(found.positive or found.negative)
    if not (has_both if study.tune.objective == "auroc" else has_any):
        instead = ", or take objective: loss" if has_any else ""
        raise UserError(
            f"objective: {study.tune.objective} can't be measured, since the validation split has "
            f"{found.positive} images with {label} and {found.negative} without; pack with a larger validation "
            f"split{instead}"
        )


def failure_of(folder: Path) -> str | None:
    """Return why a run failed; None where it didn't."""
    result = read_result(folder)
    if isinstance(result, Damaged):
        return str(result)
    return result["reason"] if result is not None and result["status"] == "failed" else None


def cost_of(folder: Path) -> tuple[float, float]:
    """Return the epochs that a run has been trained, and the seconds that this took; zeros before it began."""
    entries = read_metrics(folder)
    return (entries[-1]["progress"], entries[-1]["elapsed_seconds"]) if entries else (0.0, 0.0)


@dataclass
class _Stretch:
    """A trial on its way to a rung."""

    trial: Trial
    missing: dict[str, RunSpec]
    """Runs that have not come so far, by their names."""
    by_seed: dict[int, float] = field(default_factory=dict)


class TrialQueue(Queue):
    """Assigns runs of the current trials, and asks the search for another trial where all of these are taken."""

    def __init__(
        self,
        tuner: Tuner,
        study: Study,
        pack_checksum: str,
        runs_folder: Path,
        on_end: Callable[[Trial], None],
    ) -> None:
        """Resume the current trials.

        Args:
            tuner: decides on trials.
            study: with the ``tune`` section.
            pack_checksum: of the study's pack.
            runs_folder: where each run has its folder.
            on_end: called when a trial was measured or failed.
        """
        self._tuner, self._study, self._pack_checksum = tuner, study, pack_checksum
        self._runs_folder, self._on_end = runs_folder, on_end
        self._metric = study.tune.objective if study.tune else "auroc"
        self._stretches: dict[int, _Stretch] = {}
        self._trial_of: dict[str, int] = {}
        self._baselines_ended: set[str] = set()
        for trial in tuner.under_way():
            self._begin(trial)

    def next(self, _worker: int, busy: Collection[RunSpec], /) -> Assignment | Wait | Finished:
        """Return a run of a current trial or of a new one, up to the trial's next rung."""
        taken = {spec.name for spec in busy}
        while True:
            for stretch in self._stretches.values():
                for spec in stretch.missing.values():
                    wanted = self._first_wanted(spec)
                    if wanted.name not in taken:
                        return Assignment(wanted, self._until_epochs(wanted))
            is_idle = not self._stretches
            trial = self._tuner.next(nothing_is_under_way=is_idle)
            if trial is None:
                return "finished" if is_idle else "wait"
            self._begin(trial)

    def ended(self, spec: RunSpec, outcome: ExitStatus, /) -> None:
        """Read a run's value, and record the trial's where this was the last of its runs."""
        if spec.name not in self._trial_of:
            if not has_no_result(outcome):
                self._baselines_ended.add(spec.name)
            return
        stretch = self._stretches.get(self._trial_of[spec.name])
        if stretch is not None and spec.name in stretch.missing:
            self._look_at(stretch, spec)
            if outcome == "failed" and spec.name in stretch.missing and stretch.trial.failure is None:
                unwritten = f"{self._runs_folder / spec.name} could not be written"
                self._tuner.failed(stretch.trial, f"seed {spec.seed}: {unwritten}")
            self._close_if_complete(stretch)

    def _until_epochs(self, spec: RunSpec) -> float:
        stretch = self._stretches.get(self._trial_of.get(spec.name, -1))
        target = None if stretch is None else stretch.trial.target
        return math.inf if target is None or target >= self._tuner.plan.epochs else float(target)

    def _begin(self, trial: Trial) -> None:
        try:
            runs = trial_runs(self._study, trial.values, self._pack_checksum)
        except ValueError as error:
            self._tuner.failed(trial, str(error))
            self._on_end(trial)
            return
        stretch = _Stretch(trial, {spec.name: spec for spec in runs})
        self._stretches[trial.number] = stretch
        for spec in runs:
            self._trial_of[spec.name] = trial.number
            self._look_at(stretch, spec, is_begun=False)
        self._close_if_complete(stretch)

    def _look_at(self, stretch: _Stretch, spec: RunSpec, is_begun: bool = True) -> None:
        """Take a run's value where it has come as far as it is to come; fail the trial where it never will."""
        folder = self._runs_folder / spec.name
        try:
            value = value_after(folder, self._until_epochs(spec), self._metric)
            reason = failure_of(folder) if value is None and is_begun else None
        except ValueError as error:
            value, reason = None, str(error)
        if value is not None:
            del stretch.missing[spec.name]
            stretch.by_seed[spec.seed] = value
        elif reason is not None:
            self._tuner.failed(stretch.trial, f"seed {spec.seed}: {reason}")

    def _close_if_complete(self, stretch: _Stretch) -> None:
        trial = stretch.trial
        if trial.failure is None:
            if stretch.missing:
                return
            self._tuner.measured(trial, stretch.by_seed)
        del self._stretches[trial.number]
        self._on_end(trial)

    def _first_wanted(self, spec: RunSpec) -> RunSpec:
        """Return the run, or the baseline that must be trained before it."""
        if spec.start is None or spec.start.baseline.name in self._baselines_ended:
            return spec
        baseline = spec.start.baseline
        if value_after(self._runs_folder / baseline.name, math.inf, "loss") is not None:
            self._baselines_ended.add(baseline.name)
            return spec
        return baseline
