"""A study's models on its own test images and on those of another pack: the same measures, and how they differ."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from clr_hpc.reporting.read.evaluation import EvaluationRecord, Side
from clr_hpc.reporting.read.predictions import Scores
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
from clr_hpc.reporting.stats.difference import Difference, difference_of_independent
from clr_hpc.reporting.stats.metrics import Estimate, Resampled, measure
from clr_hpc.reporting.stats.run.parts import AGES, RESAMPLES_OF_SLICES, has_enough, sampled_auroc, slices
from clr_hpc.reporting.stats.scoring import Setting, settings_of
from clr_hpc.reporting.stats.significance import holm
from clr_hpc.store.evaluations import EvaluatedSetting

BOOTSTRAP_SEED = 0
"""Fixed, so that a page made again is the same."""
OF_SCORES = ("auroc", "average_precision", "sensitivity", "specificity", "brier")
Measured = Mapping[str, Estimate]


@dataclass(frozen=True, slots=True)
class SideResult:
    """What one setting is worth on one side."""

    images: int
    positives: int
    measures: Measured
    """``OF_SCORES`` and ``expected_observed``; with probabilities both again, ending in ``_calibrated``."""


@dataclass(frozen=True, slots=True)
class SettingResult:
    """One setting on both sides."""

    record: EvaluatedSetting
    setting: Setting
    internal: SideResult | None
    """None: no test image with a known label."""
    external: SideResult | None
    """None: the record has the reason."""
    differences: Mapping[str, Difference]
    """External minus internal, by measure; empty where a side is missing."""
    p_adjusted: float = float("nan")
    """Of the difference in AUROC, after Holm over all settings."""


@dataclass(frozen=True, slots=True)
class MeanAuroc:
    """Over the findings whose AUROC and interval are defined on both sides, those of the best settings."""

    tasks: tuple[str, ...]
    internal: Sampled
    external: Sampled
    difference: Difference


@dataclass(frozen=True, slots=True)
class SubgroupResult:
    """Mean AUROC of the best settings on a part of the images; both sides over the same findings."""

    attribute: str
    slice: str
    images: tuple[int, int]
    """Internal and external."""
    tasks: int
    internal: Sampled | None
    external: Sampled | None
    difference: Difference | None


@dataclass(frozen=True, slots=True)
class ExternalResults:
    """All that the page shows."""

    evaluation: EvaluationRecord
    settings: tuple[SettingResult, ...]
    mean: MeanAuroc | None
    """None where no finding is defined on both sides."""
    subgroups: tuple[SubgroupResult, ...]

    @property
    def best(self) -> list[SettingResult]:
        """Those that are best on validation, one a finding."""
        return [each for each in self.settings if each.record["is_best"]]


def evaluate(evaluation: EvaluationRecord) -> ExternalResults:
    """Compute all numbers of the page; the same files give the same numbers."""
    generator = np.random.default_rng(BOOTSTRAP_SEED)
    records = evaluation.record["settings"]
    sides = (evaluation.internal, evaluation.external)
    draws = [patient_draws(side.images.patients, RESAMPLES, generator) for side in sides]
    labels = settings_of([record["spec"] for record in records])
    results = []
    for number, (record, setting) in enumerate(zip(records, labels, strict=True)):
        internal, external = (
            _on_side(side, number, record, drawn) for side, drawn in zip(sides, draws, strict=True)
        )
        results.append(SettingResult(record, setting, internal, external, _differences(internal, external)))
    settings = _with_holm(results)
    return ExternalResults(
        evaluation, tuple(settings), _mean(settings), tuple(_subgroups(evaluation, settings, generator))
    )


def _on_side(side: Side, number: int, record: EvaluatedSetting, draws: Draws) -> SideResult | None:
    scores = side.scores.get(number)
    if scores is None:
        return None
    is_binary = record["spec"].task.kind == "binary"
    measures = measure(scores, record["threshold"], draws, is_binary, only=OF_SCORES)
    if is_binary:
        measures["expected_observed"] = expected_over_observed(scores, draws)
    if (calibrated := side.calibrated.get(number)) is not None:
        measures["brier_calibrated"] = measure(calibrated, None, draws, True, only=("brier",))["brier"]
        measures["expected_observed_calibrated"] = expected_over_observed(calibrated, draws)
    return SideResult(len(scores.labels), int(scores.labels.sum()), measures)


def expected_over_observed(model: Scores, draws: Draws) -> Estimate:
    """Return the sum of the probabilities over the number of positives, with Student's interval on the log scale.

    Above 1 the model expects more positives than there are (calibration in the large; Riley et al. 2016,
    doi:10.1136/bmj.i3140).

    Args:
        model: probabilities and labels.
        draws: ``(P, B)`` how often each patient is in each draw.
    """
    columns = np.stack([model.scores, model.labels.astype(np.float64)], axis=1)
    once = Resampled(model, None, np.ones((len(draws), 1))).sums(columns)[:, 0]
    if once[1] == 0:
        nothing = Sampled(float("nan"), np.full(draws.shape[1], np.nan), 0)
        return Estimate(nothing, None, f"no positive image among {len(model.labels):,} images")
    drawn = Resampled(model, None, draws).sums(columns)
    ratios = np.full(draws.shape[1], np.nan)
    np.divide(drawn[0], drawn[1], out=ratios, where=drawn[1] > 0)
    patients = len(np.unique(model.patients[model.labels]))
    sampled = Sampled(float(once[0] / once[1]), ratios, patients - 1)
    if defined_share(ratios) < SMALLEST_DEFINED_SHARE or patients < 2 or sampled.value <= 0:
        return Estimate(sampled, None, "no interval: too few patients with a positive image")
    logarithm = Sampled(float(np.log(sampled.value)), np.log(ratios), sampled.degrees)
    half = stats.t.ppf((1 + LEVEL) / 2, logarithm.degrees) * logarithm.standard_error
    low, high = np.exp(logarithm.value + np.array([-half, half]))
    return Estimate(sampled, Interval(float(low), float(high)))


def _differences(internal: SideResult | None, external: SideResult | None) -> dict[str, Difference]:
    if internal is None or external is None:
        return {}
    shares = [
        key for key in (*OF_SCORES, "brier_calibrated") if key in internal.measures and key in external.measures
    ]
    return {
        key: difference_of_independent(external.measures[key].sampled, internal.measures[key].sampled)
        for key in shares
    }


def _with_holm(results: Sequence[SettingResult]) -> list[SettingResult]:
    p_values = [
        each.differences["auroc"].patient_p_value if each.differences else float("nan") for each in results
    ]
    return [replace(each, p_adjusted=p) for each, p in zip(results, holm(p_values), strict=True)]


def _mean(settings: Sequence[SettingResult]) -> MeanAuroc | None:
    counted = {
        each.setting.task: (each.internal.measures["auroc"], each.external.measures["auroc"])
        for each in settings
        if each.record["is_best"] and not each.setting.one_class and each.internal and each.external
    }
    counted = {task: both for task, both in counted.items() if all(auroc.interval for auroc in both)}
    if not counted:
        return None
    internal, external = (Sampled.over_tasks([both[side].sampled for both in counted.values()]) for side in (0, 1))
    difference = difference_of_independent(external, internal)
    return MeanAuroc(tuple(counted), internal, external, difference)


def _subgroups(
    evaluation: EvaluationRecord, settings: Sequence[SettingResult], generator: np.random.Generator
) -> list[SubgroupResult]:
    sides = (evaluation.internal, evaluation.external)
    draws = [patient_draws(side.images.patients, RESAMPLES_OF_SLICES, generator) for side in sides]
    masks = [slices(side.images) for side in sides]
    chosen = [
        number
        for number, each in enumerate(settings)
        if each.record["is_best"] and not each.setting.one_class and each.internal and each.external
    ]
    rows = []
    for attribute, name in sorted(dict.fromkeys((*masks[0], *masks[1])), key=_place):
        of_sides = [mask.get((attribute, name)) for mask in masks]
        by_task = [
            {} if mask is None else _by_task(side, chosen, mask, drawn)
            for side, mask, drawn in zip(sides, of_sides, draws, strict=True)
        ]
        if all(by_task):
            shared = by_task[0].keys() & by_task[1].keys()
            by_task = [{task: each[task] for task in each if task in shared} for each in by_task]
        internal, external = (Sampled.over_tasks(list(each.values())) if each else None for each in by_task)
        rows.append(
            SubgroupResult(
                attribute=attribute,
                slice=name,
                images=(_count(of_sides[0]), _count(of_sides[1])),
                tasks=max(map(len, by_task)),
                internal=internal,
                external=external,
                difference=difference_of_independent(external, internal) if internal and external else None,
            )
        )
    return rows


def _place(key: tuple[str, str]) -> tuple[int, int, str]:
    """Return where a slice stands: views, sexes, and ages from young to old."""
    attribute, name = key
    return ("View", "Sex", "Age").index(attribute), list(AGES).index(name) if name in AGES else 0, name


def _by_task(side: Side, chosen: Sequence[int], mask: NDArray[np.bool_], draws: Draws) -> dict[int, Sampled]:
    parts = {number: side.scores[number].among(mask[side.scores[number].images]) for number in chosen}
    return {number: sampled_auroc(part, draws) for number, part in parts.items() if has_enough(part)}


def _count(mask: NDArray[np.bool_] | None) -> int:
    return 0 if mask is None else int(mask.sum())
