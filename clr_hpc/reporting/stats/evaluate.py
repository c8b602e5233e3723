"""All that is computed from a study's folder before anything is drawn or written."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from clr_hpc.config.pathologies import title
from clr_hpc.config.study import Question
from clr_hpc.reporting.read.study import StudyRecord
from clr_hpc.reporting.stats.compare import Comparison, arms, compare, models_of_an_arm
from clr_hpc.reporting.stats.contrast import ArmContrast, against_control
from clr_hpc.reporting.stats.cost import ArmCost, Saving, arm_costs, saving
from clr_hpc.reporting.stats.floors import FloorRow, floor_rows
from clr_hpc.reporting.stats.scoring import ResultRow, ScoredRun, result_rows, score_runs
from clr_hpc.reporting.stats.subgroups import SliceRow, slice_rows

POSITIVES_OF_A_FREQUENT_PATHOLOGY = 100
"""In the pack; the AUROC of a rarer pathology is too uncertain."""
BOOTSTRAP_SEED = 0
"""Fixed, so that a report made again is the same."""


@dataclass(frozen=True, slots=True)
class TaskKind:
    """Evaluation of the binary classifiers, or of the one-class models."""

    runs: tuple[ScoredRun, ...]
    rows: tuple[ResultRow, ...]
    comparison: Comparison
    contrasts: tuple[ArmContrast, ...]
    """Of retraining and its control; empty where the study has no retraining."""
    costs: tuple[ArmCost, ...]

    @property
    def compared(self) -> list[ArmContrast]:
        """Those contrasts in which anything could be compared."""
        return [contrast for contrast in self.contrasts if contrast.tasks]

    @property
    def savings(self) -> list[tuple[ArmContrast, Saving]]:
        """Cost of each arm of retraining relative to its control."""
        return [(contrast, saving(contrast)) for contrast in self.compared]


@dataclass(frozen=True, slots=True)
class Evaluation:
    """A study, evaluated."""

    study: StudyRecord
    runs: tuple[ScoredRun, ...]
    binary: TaskKind
    one_class: TaskKind
    frequent: Comparison
    """The binary arms over pathologies that are frequent in the pack."""
    models: Mapping[str, Comparison]
    """By arm: last, averaged and snapshot models side by side; arms with several models alone."""
    slices: tuple[SliceRow, ...]
    floors: tuple[FloorRow, ...]
    """One-class models against what exposure alone comes to; empty where no run has recorded that."""

    @property
    def frequent_name(self) -> str:
        """Name of the set of frequent pathologies."""
        return f"{POSITIVES_OF_A_FREQUENT_PATHOLOGY} positives or more"


def evaluate(study: StudyRecord, cache: Path | None = None) -> Evaluation:
    """Compute all numbers of the report; the same run folders give the same numbers.

    Args:
        study: as it was read.
        cache: folder with the scores of earlier reports; None: all are computed.
    """
    runs = score_runs(study, np.random.default_rng(BOOTSTRAP_SEED), cache)
    question = study.study.question
    binary = tuple(run for run in runs if not run.setting.one_class)
    one_class = tuple(run for run in runs if run.setting.one_class)
    counts = label_counts(study)
    frequent = {title(label) for label, images in counts.items() if images >= POSITIVES_OF_A_FREQUENT_PATHOLOGY}
    names = dict.fromkeys(run.setting.arm for run in runs)
    by_arm = {arm: compare(models_of_an_arm(runs, arm)) for arm in names}
    return Evaluation(
        study=study,
        runs=runs,
        binary=_evaluate_kind(binary, question if binary else None),
        one_class=_evaluate_kind(one_class, None if binary else question),
        frequent=compare(entry for entry in arms(binary) if entry.run.setting.task in frequent),
        models={arm: comparison for arm, comparison in by_arm.items() if len(comparison.contenders) > 1},
        slices=slice_rows(binary, study.test),
        floors=floor_rows(one_class),
    )


def label_counts(study: StudyRecord) -> dict[str, int]:
    """Return the number of images with each label of the pack, over all splits."""
    splits = study.pack["counts"]["splits"].values()
    return {
        label: sum(split.get("labels", {}).get(label, {}).get("positive", 0) for split in splits)
        for label in study.labels
    }


def _evaluate_kind(runs: tuple[ScoredRun, ...], question: Question | None) -> TaskKind:
    """Evaluate one kind of task; a study has one question, so it is about one kind."""
    contrasts = against_control(runs, question)
    comparison = compare(arms(runs), question.margin if question and not contrasts else None)
    return TaskKind(runs, result_rows(runs), comparison, contrasts, arm_costs(runs))
