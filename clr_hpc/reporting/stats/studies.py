"""Several studies on the same findings and test images: each by its best settings, paired image by image."""

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from clr_hpc.reporting.read.predictions import models_of
from clr_hpc.reporting.read.study import RunRecord, StudyRecord
from clr_hpc.reporting.stats.bootstrap import RESAMPLES, Draws, Interval, Sampled, patient_draws
from clr_hpc.reporting.stats.compare import Comparison, Entry, compare
from clr_hpc.reporting.stats.difference import Difference
from clr_hpc.reporting.stats.pairs import Pair, balanced
from clr_hpc.reporting.stats.run.scores import scores_of_model
from clr_hpc.reporting.stats.scoring import (
    ScoredRun,
    Setting,
    mean_of_numbers,
    settings_of,
    validation_auroc,
)
from clr_hpc.reporting.stats.significance import holm

BOOTSTRAP_SEED = 0


@dataclass(frozen=True, slots=True)
class Chosen:
    """The setting of one finding that is best on validation in one study."""

    study: str
    finding: str
    """As tables write it."""
    setting: Setting
    model: str
    """``last``, ``snapshots`` or ``swa``."""
    runs: Mapping[int, RunRecord]
    """Those that are done, by seed."""

    @property
    def test_images(self) -> NDArray[np.int32]:
        """``(N,)`` numbers of the images that its first run was tested on."""
        return next(iter(self.runs.values())).predictions["test"].images

    @property
    def validation_auroc(self) -> float:
        """Mean over its seeds, NaN where one has none."""
        return float(np.mean([validation_auroc(run, self.model) for run in self.runs.values()]))


@dataclass(frozen=True, slots=True)
class FindingResult:
    """One finding in one study, on the seeds that all studies have."""

    chosen: Chosen
    auroc: float
    interval: Interval | None
    """Over patients, for these models."""
    average_precision: float
    difference: Difference | None
    """From the reference; None for the reference itself."""
    p_adjusted: float
    """Over patients and seeds, after Holm over all findings and studies; NaN with one seed."""


@dataclass(frozen=True, slots=True)
class StudiesCompared:
    """All that the page of a comparison shows."""

    comparison: Comparison
    """Contenders are the studies; the reference is the best on validation."""
    findings: tuple[FindingResult, ...]
    seeds: tuple[int, ...]
    margin: float
    images: int
    patients: int


def best_settings(name: str, study: StudyRecord) -> list[Chosen]:
    """Return for each finding the setting with the highest mean validation AUROC, as ``clr-hpc predict`` takes it.

    Of equal ones the first in the order of the study. Runs that are not done have no part in it.
    """
    labels = settings_of([run.spec for run in study.runs])
    groups: dict[tuple[Setting, str], dict[int, RunRecord]] = defaultdict(dict)
    for run, setting in zip(study.runs, labels, strict=True):
        if run.status == "done" and "test" in run.predictions and not setting.one_class:
            for model in models_of(run.predictions, "test"):
                groups[setting, model][run.spec.seed] = run
    best: dict[str, Chosen] = {}
    for (setting, model), runs in groups.items():
        chosen = Chosen(name, setting.task, setting, model, runs)
        known = best.get(setting.task)
        if known is None or _order(chosen) > _order(known):
            best[setting.task] = chosen
    return list(best.values())


def _order(chosen: Chosen) -> float:
    return float(np.nan_to_num(chosen.validation_auroc, nan=-1.0))


def compare_studies(
    chosen: Sequence[Chosen], seeds: Sequence[int], patients: int, margin: float
) -> StudiesCompared:
    """Compare studies that have the same findings on the same test images.

    Args:
        chosen: one for each study and finding.
        seeds: which all of them have.
        patients: in the test split.
        margin: AUROC; a smaller difference counts as none.
    """
    draws = patient_draws(patients, RESAMPLES, np.random.default_rng(BOOTSTRAP_SEED))
    entries = {
        (each.study, each.finding, seed): _entry(each, each.runs[seed], draws) for each in chosen for seed in seeds
    }
    comparison = compare(entries.values(), margin, of_one_length=False)
    reference = comparison.contenders[0].name if comparison.contenders else chosen[0].study

    def of(study: str, finding: str) -> list[Entry]:
        return [entries[study, finding, seed] for seed in seeds]

    results = [_result(each, reference, of) for each in chosen]
    adjusted = holm([each.difference.p_value if each.difference else float("nan") for each in results])
    return StudiesCompared(
        comparison,
        tuple(replace(each, p_adjusted=p) for each, p in zip(results, adjusted, strict=True)),
        tuple(seeds),
        margin,
        len(np.unique(np.concatenate([each.test_images for each in chosen]))),
        patients,
    )


def _entry(chosen: Chosen, record: RunRecord, draws: Draws) -> Entry:
    of_run = scores_of_model(record.predictions, chosen.model, draws)
    # what the studies differ in may be the network: it is no cell of its own
    setting = replace(chosen.setting, architecture="", optimizer="")
    run = ScoredRun(record, setting, of_run, "")
    return Entry(chosen.study, run, chosen.model, of_run.models[chosen.model])


def _result(chosen: Chosen, reference: str, of: Callable[[str, str], list[Entry]]) -> FindingResult:
    own, others = of(chosen.study, chosen.finding), of(reference, chosen.finding)
    pairs = [
        Pair(chosen.finding, "", entry.run.record.spec.seed, entry, other)
        for entry, other in zip(own, others, strict=True)
    ]
    sampled = [entry.measures["auroc"].sampled for entry in own]
    defined = all(entry.measures["auroc"].interval for entry in own)
    is_reference = chosen.study == reference
    return FindingResult(
        chosen,
        auroc=mean_of_numbers(each.value for each in sampled),
        interval=Sampled.over_seeds(sampled).interval if defined else None,
        average_precision=mean_of_numbers(entry.measures["average_precision"].value for entry in own),
        difference=None if is_reference or not defined else balanced(pairs).auroc(lambda entry: entry.influence),
        p_adjusted=float("nan"),
    )
