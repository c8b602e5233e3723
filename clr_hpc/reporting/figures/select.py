"""Which figures the report holds, each under the choice that brings it up in the page."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Protocol

from clr_hpc.config.network import network
from clr_hpc.reporting import wording
from clr_hpc.reporting.figures import curves, dots, layers
from clr_hpc.reporting.figures.picture import Picture
from clr_hpc.reporting.figures.svg import ArmStyle, Styles, arm_styles
from clr_hpc.reporting.read.study import StudyRecord
from clr_hpc.reporting.stats.evaluate import Evaluation, label_counts
from clr_hpc.reporting.stats.scoring import ResultRow, ScoredRun

FIRST_SHOWN = "Pneumothorax"
"""The article's example; shown first where the study has it."""
RETRAINING = "retraining"
STAGES = {"retrain": RETRAINING, "control": RETRAINING, "scratch": "from scratch", "baseline": "baseline"}
"""Stages drawn into one figure of curves: those that start from the same weights."""


class Insertable(Protocol):
    """Markup, or what templates take for it."""

    def __html__(self) -> str:
        """Return the markup."""


@dataclass(frozen=True, slots=True)
class Drawing:
    """Figures of one choice, such as one pathology of one model."""

    heading: str
    choice: Mapping[str, str]
    draw: Sequence[Callable[[], Insertable]]
    """Returns each figure."""
    first: bool = False
    """Whether it is shown before the reader chooses."""
    content: Callable[[], bytes] | None = None
    """Returns all that decides the figures, which are taken from the last report where it is the same; None: they
    are drawn anew for each report."""

    @property
    def figures(self) -> list[Insertable]:
        """The figures, drawn."""
        return [draw() for draw in self.draw]


@dataclass(frozen=True, slots=True)
class StudyFigures:
    """All figures of a study's report but those of its LR range tests."""

    forest: Picture | None
    training_differences: Picture | None
    models: Picture | None
    labels: Picture
    overviews: Sequence[Drawing]
    one_class_overviews: Sequence[Drawing]
    architectures: Sequence[Drawing]
    training_curves: Sequence[Drawing]
    score_curves: Sequence[Drawing]


def study_figures(evaluation: Evaluation, styles: Styles) -> StudyFigures:
    """Return the figures of a study; those of drawings are drawn when they are first asked for."""
    contrasts = evaluation.binary.compared
    return StudyFigures(
        forest=dots.forest(contrasts, styles) if contrasts else None,
        training_differences=dots.training_accuracy_differences(contrasts, styles) if contrasts else None,
        models=dots.models_side_by_side(evaluation.models, model_styles()) if evaluation.models else None,
        labels=dots.label_counts(label_counts(evaluation.study)),
        overviews=[_kept(each) for each in overviews(evaluation.binary.rows, styles)],
        one_class_overviews=[_kept(each) for each in one_class_overviews(evaluation.one_class.rows, styles)],
        architectures=[_kept(each) for each in architectures(evaluation.study)],
        training_curves=keep_shown(training_curves(evaluation.runs, styles)),
        score_curves=keep_shown(score_curves(evaluation.binary.runs, styles)),
    )


def shown_first(drawings: Sequence[Drawing]) -> Drawing | None:
    """Return the drawing of a section that the page shows before the reader chooses."""
    return next((drawing for drawing in drawings if drawing.first), drawings[0] if drawings else None)


def keep_shown(drawings: Iterable[Drawing]) -> list[Drawing]:
    """Return the drawings of a section, the one shown first such that it is drawn once for page and files."""
    every = list(drawings)
    first = shown_first(every)
    return [_kept(drawing) if drawing is first else drawing for drawing in every]


def _kept(drawing: Drawing) -> Drawing:
    return replace(drawing, draw=[_Once(draw) for draw in drawing.draw])


class _Once:
    """Draws a figure when it is first asked for; unlike a cached function it can be sent to a process."""

    def __init__(self, draw: Callable[[], Insertable]) -> None:
        self._draw = draw
        self._drawn: Insertable | None = None

    def __call__(self) -> Insertable:
        if self._drawn is None:
            self._drawn = self._draw()
        return self._drawn

    def __reduce__(self) -> tuple[type["_Once"], tuple[Callable[[], Insertable]]]:
        return _Once, (self._draw,)


def model_styles() -> dict[str, ArmStyle]:
    """Return how the models that a run ends with are drawn."""
    return arm_styles({name: name for name in wording.MODEL_TITLES.values()})


def overviews(rows: Iterable[ResultRow], styles: Styles) -> Iterator[Drawing]:
    """Yield AUROC and training accuracy over all classifiers, a drawing a model."""
    for model, group in _done_by_model(rows).items():
        figures = (dots.auroc_by_task, dots.training_accuracy_by_task)
        yield Drawing(model, {"model": model}, [partial(draw, group, styles, model) for draw in figures])


def one_class_overviews(rows: Iterable[ResultRow], styles: Styles) -> Iterator[Drawing]:
    """Yield AUROC and false-positive rate of the one-class models, a drawing a model."""
    for model, group in _done_by_model(rows).items():
        key = f"{model}, one class"
        figures = (dots.auroc_by_task, dots.false_positives_by_task)
        yield Drawing(model, {"model": model}, [partial(draw, group, styles, key) for draw in figures])


def _done_by_model(rows: Iterable[ResultRow]) -> dict[str, list[ResultRow]]:
    by_model: dict[str, list[ResultRow]] = defaultdict(list)
    for row in rows:
        by_model[row.setting.model].append(row)
    return {model: group for model, group in by_model.items() if any(row.done for row in group)}


def training_curves(runs: Iterable[ScoredRun], styles: Styles) -> Iterator[Drawing]:
    """Yield accuracy, AUROC and rate over epochs, a drawing a task, model and starting point."""
    groups: dict[tuple[str, str, str], list[ScoredRun]] = defaultdict(list)
    for run in runs:
        if run.record.epochs:
            setting = run.setting
            groups[setting.task, setting.model, STAGES[run.record.spec.stage]].append(_shown(run))
    shown_stage = RETRAINING if any(stage == RETRAINING for _, _, stage in groups) else ""
    several = len({stage for _, _, stage in groups}) > 1
    for (task, model, stage), group in groups.items():
        heading = f"{task}: {model}" + (f", {stage}" if several else "")
        draw = [
            partial(draw, group, styles, heading) for draw in (curves.accuracy_and_rate, curves.validation_curves)
        ]
        first = task == FIRST_SHOWN and stage == (shown_stage or stage)
        choice = {"task": task, "model": model, "stage": stage}
        yield Drawing(heading, choice, draw, first, partial(_of_epochs, group, styles, heading))


def score_curves(runs: Iterable[ScoredRun], styles: Styles) -> Iterator[Drawing]:
    """Yield ROC, precision-recall and calibration curves, a drawing a task and model."""
    groups: dict[tuple[str, str], list[ScoredRun]] = defaultdict(list)
    for run in runs:
        if run.models:
            groups[run.setting.task, run.setting.model].append(_shown(run))
    for (task, model), group in groups.items():
        heading = f"{task}: {model}"
        figures = (curves.roc_curves, curves.precision_recall_curves, curves.calibration_curves)
        draw = [partial(draw, group, styles, heading) for draw in figures]
        content = partial(_of_curves, group, styles, heading)
        yield Drawing(heading, {"task": task, "model": model}, draw, task == FIRST_SHOWN, content)


def _shown(run: ScoredRun) -> ScoredRun:
    """Return what curves show of a run: little enough to be sent to a process that draws them."""
    record = replace(run.record, result={}, environments=(), predictions={}, layers={})
    scores = run.scores and replace(run.scores, models={}, influences={}, right=None, slices={}, floors={})
    return replace(run, record=record, scores=scores)


def _of_epochs(runs: Sequence[ScoredRun], styles: Styles, heading: str) -> bytes:
    """Return what training curves show."""
    parts = [heading.encode()]
    for run in runs:
        arm, record = run.setting.arm, run.record
        parts += [repr((arm, styles[arm], run.setting.one_class, record.epochs)).encode()]
        parts += [record.progress.tobytes(), record.learning_rate.tobytes()]
    return b"".join(parts)


def _of_curves(runs: Sequence[ScoredRun], styles: Styles, heading: str) -> bytes:
    """Return what ROC, precision-recall and calibration curves show."""
    parts = [heading.encode()]
    for run in runs:
        if run.scores is not None and run.scores.curves:
            parts.append(repr((run.setting.arm, styles[run.setting.arm])).encode())
            parts += [name.encode() + points.tobytes() for name, points in run.scores.curves.items()]
    return b"".join(parts)


def architectures(study: StudyRecord) -> Iterator[Drawing]:
    """Yield the layers of each architecture, as the first of its binary runs that has left them."""
    drawn = set()
    for run in study.runs:
        name = network(run.spec.architecture).title
        if run.layers and run.spec.task.kind == "binary" and name not in drawn:
            drawn.add(name)
            yield Drawing(name, {"architecture": name}, [partial(layers.layers, run.layers, name)])
