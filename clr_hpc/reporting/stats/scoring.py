"""The measures of each run's models, and a row for each setting over its seeds."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from clr_hpc.config.network import network
from clr_hpc.config.run import RunSpec
from clr_hpc.config.task import BinaryTask, OneClassTask
from clr_hpc.reporting import wording
from clr_hpc.reporting.read.predictions import Predictions
from clr_hpc.reporting.read.study import RunRecord, StudyRecord
from clr_hpc.reporting.stats.bootstrap import RESAMPLES, Interval, Sampled, patient_draws, side_by_side
from clr_hpc.reporting.stats.calibration import positive_weight
from clr_hpc.reporting.stats.metrics import MEASURES, Estimate
from clr_hpc.reporting.stats.run.kept import key_of, packed, unpacked
from clr_hpc.reporting.stats.run.parts import RESAMPLES_OF_SLICES
from clr_hpc.reporting.stats.run.scores import LAST, RunScores, TestPatients, Wanted, run_scores
from clr_hpc.store import layout
from clr_hpc.store.cache.blocks import KeptBlocks


@dataclass(frozen=True, slots=True)
class Setting:
    """What a row of the results stands for, as labels that people read."""

    task: str
    architecture: str
    optimizer: str
    stage: str
    policy: str
    start: str
    """What distinguishes its initial weights where those of a stage differ; else empty."""
    several_stages: bool
    """Whether the study has other stages, too."""
    threshold_quantile: float | None
    """Of the training scores, above which an image is anomalous; None for a binary task."""

    @property
    def variant(self) -> str:
        """Policy and start: what sets runs of one stage apart."""
        return ", ".join(filter(None, (self.policy, self.start)))

    @property
    def arm(self) -> str:
        """Policy, stage and start: what is compared. The stage is left out in a study of one stage."""
        return f"{self.variant}, {self.stage}" if self.several_stages else self.variant

    @property
    def one_class(self) -> bool:
        """Whether the task learns one class from its images alone."""
        return self.threshold_quantile is not None

    @property
    def expected_false_positive_rate(self) -> float:
        """What the quantile of a one-class model's threshold lets expect."""
        return 1 - (self.threshold_quantile or 0.0)

    @property
    def model(self) -> str:
        """Architecture and optimizer: what curves are chosen by in addition to the task."""
        return f"{self.architecture}, {self.optimizer}"


@dataclass(frozen=True, slots=True)
class ScoredRun:
    """A run with its labels and, where it is done, the measures of its models on the test split."""

    record: RunRecord
    setting: Setting
    scores: RunScores | None
    """None where the run has no predictions."""
    gap: str
    """Why there are no scores at all; else empty."""

    @property
    def models(self) -> Mapping[str, Mapping[str, Estimate]]:
        """Measures by model, then by measure; empty where the run has no predictions."""
        return self.scores.models if self.scores else {}

    @property
    def thresholds(self) -> Mapping[str, float | None]:
        """Threshold of each model; None where validation can't choose one."""
        return self.scores.thresholds if self.scores else {}

    @property
    def auroc(self) -> float:
        """Of the last model on the test split, NaN where it isn't defined."""
        return self.models[LAST]["auroc"].value if self.models else float("nan")

    @property
    def note(self) -> str:
        """Why the AUROC or its interval isn't defined; else empty."""
        return self.models[LAST]["auroc"].reason if self.models else self.gap

    @property
    def steps(self) -> int:
        """Optimizer steps that the run took, 0 where it isn't done."""
        return int(self.record.result.get("cost", {}).get("steps", 0))


@dataclass(frozen=True, slots=True)
class SeedMean:
    """One measure over the seeds for which it is defined."""

    value: float
    interval: Interval | None
    spread: float
    """Standard deviation over seeds, NaN with fewer than two."""
    note: str


@dataclass(frozen=True, slots=True)
class ResultRow:
    """One setting, as means over those of its seeds that are done. NaN: not defined."""

    setting: Setting
    planned: int
    done: int
    measures: Mapping[str, SeedMean]
    """Of the last model on the test split."""
    note: str
    training_accuracy: float
    validation_accuracy: float
    """At 0.5, as in training."""
    validation_auroc: float
    always_no_accuracy: float
    """Of answering "no" to every image of the test split."""
    always_no_training_accuracy: float
    positives: float
    images: float

    @property
    def auroc(self) -> SeedMean:
        """On the test split."""
        return self.measures["auroc"]

    @property
    def false_positive_rate(self) -> tuple[float, Interval | None]:
        """1 − specificity, and its interval."""
        specificity = self.measures["specificity"]
        bounds = specificity.interval
        return 1 - specificity.value, Interval(1 - bounds.high, 1 - bounds.low) if bounds else None


def score_runs(
    study: StudyRecord, generator: np.random.Generator, cache: Path | None = None
) -> tuple[ScoredRun, ...]:
    """Label every run and measure its models, also on draws of patients that come from ``generator``.

    Args:
        study: its predictions are released as they are measured.
        generator: of the draws.
        cache: folder with the scores of earlier reports; None: all are computed, and none is kept.
    """
    settings = settings_of([run.spec for run in study.runs])
    draws, slice_draws = (
        patient_draws(study.test.patients, count, generator) for count in (RESAMPLES, RESAMPLES_OF_SLICES)
    )
    patients = TestPatients(study.test, draws, slice_draws)
    first: dict[tuple[str, str, str], RunRecord] = {}
    for run, setting in zip(study.runs, settings, strict=True):
        if not setting.one_class and not _gap(run):  # whose scores are no probabilities
            first.setdefault((setting.task, setting.model, setting.arm), run)
    drawn = {id(run) for run in first.values()}
    by_task: dict[str, list[int]] = defaultdict(list)
    for place, run in enumerate(study.runs):
        by_task[run.spec.task.name].append(place)
    scored: dict[int, ScoredRun] = {}
    with side_by_side() as pool:
        for task, places in by_task.items():
            kept = KeptBlocks(cache / layout.scores_of(task) if cache else None)
            found = [
                pool.submit(
                    _scored, study.runs[place], settings[place], id(study.runs[place]) in drawn, patients, kept
                )
                for place in places
            ]
            scored |= {place: each.result() for place, each in zip(places, found, strict=True)}
            kept.save()
    return tuple(scored[place] for place in range(len(study.runs)))


def settings_of(specs: Sequence[RunSpec]) -> list[Setting]:
    """Return the labels of each spec, which say what sets it apart from the others."""
    tasks, starts = wording.task_labels(specs), wording.start_labels(specs)
    optimizers, policies = wording.optimizer_labels(specs), wording.policy_labels(specs)
    several_stages = len({spec.stage for spec in specs}) > 1
    settings = []
    for spec in specs:
        settings.append(
            Setting(
                task=tasks[spec.task.model_dump_json()],
                architecture=network(spec.architecture).title,
                optimizer=optimizers[spec.optimizer.model_dump_json()],
                stage=wording.STAGE_TITLES[spec.stage],
                policy=policies[spec.policy.model_dump_json()],
                start=starts[spec.start.model_dump_json()] if spec.start else "",
                several_stages=several_stages,
                threshold_quantile=spec.task.threshold_quantile if isinstance(spec.task, OneClassTask) else None,
            )
        )
    return settings


def _scored(
    run: RunRecord, setting: Setting, is_drawn: bool, patients: TestPatients, kept: KeptBlocks
) -> ScoredRun:
    gap = _gap(run)
    if gap:
        return ScoredRun(run, setting, None, gap)
    wanted = Wanted(
        setting.one_class,
        {name: float(model["threshold"]) for name, model in run.result["models"].items()}
        if setting.one_class
        else {},
        positive_weight(run),
        is_drawn,
    )
    checksum = run.predictions.checksum if isinstance(run.predictions, Predictions) else ""
    key = key_of(checksum, wanted, patients) if checksum else ""
    block = kept.get(key)
    if block is not None:
        return ScoredRun(run, setting, unpacked(block), "")
    scores = run_scores(run.predictions, wanted, patients)
    if isinstance(run.predictions, Predictions):
        run.predictions.release()
    if checksum:
        kept.put(key, packed(scores))
    return ScoredRun(run, setting, scores, "")


def _gap(run: RunRecord) -> str:
    """Return why a run has no scores; empty where it has some."""
    if run.status != "done":
        return f"{run.status}: {run.reason}"
    return "" if "test" in run.predictions else "predictions.parquet is missing or holds no test image"


def result_rows(runs: Iterable[ScoredRun]) -> tuple[ResultRow, ...]:
    """Return one row per setting, in the study's order."""
    groups: dict[Setting, list[ScoredRun]] = defaultdict(list)
    for run in runs:
        groups[run.setting].append(run)
    return tuple(_row(setting, group) for setting, group in groups.items())


def _row(setting: Setting, group: list[ScoredRun]) -> ResultRow:
    done = [run for run in group if run.record.status == "done"]
    notes = dict.fromkeys(run.note for run in group if run.note)
    counts = [run.record.result["models"][LAST]["test"] for run in done]
    return ResultRow(
        setting=setting,
        planned=len(group),
        done=len(done),
        measures={name: _over_seeds([run.models[LAST][name] for run in done if run.models]) for name in MEASURES},
        note="; ".join(notes),
        training_accuracy=mean_of_numbers(training_accuracy(run.record) for run in done),
        validation_accuracy=mean_of_numbers(_on_validation(run.record, "accuracy") for run in done),
        validation_auroc=mean_of_numbers(validation_auroc(run.record) for run in done),
        always_no_accuracy=mean_of_numbers(always_no_accuracy(run.record, "test") for run in done),
        always_no_training_accuracy=mean_of_numbers(always_no_accuracy(run.record, "train") for run in done),
        positives=mean_of_numbers(count["positives"] for count in counts),
        images=mean_of_numbers(count["images"] for count in counts),
    )


def _over_seeds(estimates: list[Estimate]) -> SeedMean:
    defined = [estimate for estimate in estimates if np.isfinite(estimate.value)]
    values = [estimate.value for estimate in defined]
    return SeedMean(
        value=mean_of_numbers(values),
        interval=_interval_over_seeds(defined),
        spread=float(np.std(values, ddof=1)) if len(values) > 1 else float("nan"),
        note="; ".join(dict.fromkeys(estimate.reason for estimate in estimates if estimate.reason)),
    )


def _interval_over_seeds(defined: list[Estimate]) -> Interval | None:
    if not defined or not all(estimate.interval for estimate in defined):
        return None
    if len(defined) == 1 or {estimate.value for estimate in defined} in ({0.0}, {1.0}):
        return defined[0].interval
    return Sampled.over_seeds([estimate.sampled for estimate in defined]).interval


def training_accuracy(record: RunRecord) -> float:
    """Return the accuracy on the whole training split at the end; NaN where the run has none.

    A one-class model sees one class in training, of which an accuracy says nothing.
    """
    accuracy = record.result["train"]["accuracy"] if isinstance(record.spec.task, BinaryTask) else None
    return float("nan") if accuracy is None else float(accuracy)


def validation_auroc(record: RunRecord, model: str = LAST) -> float:
    """Return the AUROC of a model on the validation split; NaN where it isn't defined."""
    if model == LAST:
        return _on_validation(record, "auroc")
    value = record.result["models"][model]["validation"]["auroc"]
    return float("nan") if value is None else float(value)


def _on_validation(record: RunRecord, metric: str) -> float:
    """Return a metric on the validation split at the end; NaN where it isn't defined."""
    value = record.result["validation"][metric]
    return float("nan") if value is None else float(value)


def always_no_accuracy(record: RunRecord, split: str) -> float:
    """Return the accuracy of a model that always answers "no" on a whole split; NaN before the run has ended."""
    return _share_of_no([record.result["models"][LAST][split]] if "models" in record.result else [])


def always_no_along_the_run(record: RunRecord, split: str) -> float:
    """Return the same on the images that the run's curve is of; NaN before the run has measured any."""
    return _share_of_no(line for line in record.epochs if line["split"] == split)


def _share_of_no(counts: Iterable[Mapping[str, Any]]) -> float:
    return next(
        (float(1 - count["positives"] / count["images"]) for count in counts if count["images"]), float("nan")
    )


def mean_of_numbers(values: Iterable[float | None]) -> float:
    """Return the mean of those values that are numbers, NaN where none is."""
    numbers = [value for value in values if value is not None and np.isfinite(value)]
    return float(np.mean(numbers)) if numbers else float("nan")
