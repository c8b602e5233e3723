"""Fill the page's template: what stands in report.html, and in which order."""

import json
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, cast

from clr_hpc.config.steps import step_remarks
from clr_hpc.reporting import wording
from clr_hpc.reporting.figures.select import StudyFigures, model_styles
from clr_hpc.reporting.figures.svg import Styles, legend
from clr_hpc.reporting.page import answer
from clr_hpc.reporting.page.heat_maps import HeatMaps
from clr_hpc.reporting.page.lr_range import RangeTests
from clr_hpc.reporting.page.packed import PackedFigures
from clr_hpc.reporting.page.template import render_page
from clr_hpc.reporting.read.plan import against_plan
from clr_hpc.reporting.read.study import StudyRecord
from clr_hpc.reporting.stats.evaluate import Evaluation
from clr_hpc.reporting.stats.scoring import Setting
from clr_hpc.reporting.tables import contrasts as contrast_tables
from clr_hpc.reporting.tables import results as tables
from clr_hpc.reporting.tables.floors import floor_table
from clr_hpc.reporting.tables.plan import deviation_table, prediction_table, prediction_text
from clr_hpc.reporting.tables.table import Table
from clr_hpc.store.cache.blocks import KeptBlocks
from clr_hpc.store.pack_record import PackRecord, training_images

MOST_VALUES_SHOWN = 4
"""Of one entry of the runs' environments; start times, for instance, differ in every run."""


FILES = {
    "results.csv": "every measure",
    "runs.csv": "one row per run",
    "epochs.csv": "the data of the curves",
    "paper.tex": "LaTeX tables",
}
"""What is said of files whose names say too little."""


def environments(study: StudyRecord) -> list[tuple[str, list[str]]]:
    """Return each entry of the runs' environments with its values and the number of starts of each."""
    seen: dict[str, Counter[str]] = defaultdict(Counter)
    for run in study.runs:
        for start in run.environments:
            for key, value in _flat(start):
                seen[key][value] += 1
    return [(key, _shortened(values)) for key, values in seen.items()]


def _shortened(values: Counter[str]) -> list[str]:
    if len(values) == 1:
        return list(values)
    if len(values) > MOST_VALUES_SHOWN:
        return [f"{len(values)} values, from {min(values)} to {max(values)}; see each run's environment.json"]
    return [f"{value} ({wording.count(starts, 'start')})" for value, starts in values.most_common()]


def _flat(entry: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    """Yield ``("versions torch", "2.15.0")`` for ``{"versions": {"torch": "2.15.0"}}``."""
    for key, value in entry.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}{key} ")
        else:
            text = "none" if value is None else value if isinstance(value, str) else json.dumps(value)
            yield f"{prefix}{key}".replace("_", " "), text


def render(
    evaluation: Evaluation,
    styles: Styles,
    figures: StudyFigures,
    range_tests: RangeTests | None,
    heat_maps: HeatMaps | None = None,
    kept: KeptBlocks | None = None,
    files: Sequence[str] = (),
    has_figure_files: bool = False,
) -> str:
    """Return the complete page.

    Args:
        evaluation: all numbers.
        styles: of the arms.
        figures: all figures but those of ``range_tests``.
        range_tests: None: the study has none.
        heat_maps: None: they were not measured.
        kept: figures of the last page.
        files: names of the tables next to the page.
        has_figure_files: whether a folder of figures is there too.
    """
    study, binary, one_class = evaluation.study, evaluation.binary, evaluation.one_class
    contrasts = binary.compared
    prediction = against_plan(study)
    main = binary if binary.runs else one_class
    retrained, of_arms = bool(main.contrasts), answer.caveats(main.comparison)
    used = {
        section: {run.setting.arm: styles[run.setting.arm] for run in kind.runs}
        for section, kind in (("binary", binary), ("one-class", one_class))
    }
    packed = PackedFigures(kept or KeptBlocks(None))
    packed.prepare((figures.training_curves, figures.score_curves))
    return render_page(
        "report.html.jinja",
        packed=packed,
        heading=study.name,
        range_tests=range_tests,
        heat_maps=heat_maps,
        study=study,
        summary=_summary(evaluation),
        seeds=len({run.record.spec.seed for run in evaluation.runs}),
        counts=answer.run_counts(study),
        answers=_answers(evaluation),
        caveats=answer.contrast_caveats(binary.contrasts + one_class.contrasts, study.study.question.margin)
        + ([] if retrained else of_arms)
        + _step_caveats(study),
        arm_caveats=of_arms if retrained else [],
        left_out=[reason for contrast in binary.contrasts for reason in contrast.left_out],
        legend=lambda section, kind="binary": legend(used[kind], section),
        arm_table=tables.arm_table(binary.comparison, evaluation.frequent, evaluation.frequent_name),
        contrast_table=contrast_tables.contrast_table(contrasts),
        figures=figures,
        files={name: FILES.get(name, "") for name in files},
        has_figure_files=has_figure_files,
        contrast_legend=legend({contrast.arm: styles[contrast.arm] for contrast in contrasts}, "contrasts"),
        result_table=tables.result_table(binary.rows),
        cost_table=contrast_tables.cost_table(binary.costs),
        saving_table=contrast_tables.saving_table(binary.savings),
        model_table=tables.model_table(evaluation.models),
        model_legend=legend(model_styles(), "models"),
        one_class_table=tables.one_class_table(one_class.rows),
        floor_table=floor_table(evaluation.floors),
        one_class_contrast_table=contrast_tables.contrast_table(one_class.compared, "one-class-contrasts"),
        slice_table=tables.slice_table(evaluation.slices),
        failure_table=tables.failure_table(evaluation.runs),
        deviation_table=deviation_table(study),
        prediction=prediction_text(prediction) if prediction else "",
        prediction_table=prediction_table(prediction) if prediction else None,
        label_table=tables.label_table(study),
        environments=environments(study),
        pack=json.dumps(
            {key: value for key, value in study.pack.items() if key not in ("counts", "shards")}, indent=2
        ),
    )


def _step_caveats(study: StudyRecord) -> list[str]:
    """Return which settings of the study its steps could not follow."""
    pack = cast(PackRecord, study.pack)
    return step_remarks((run.spec for run in study.runs), lambda spec: training_images(pack, spec))


def _answers(evaluation: Evaluation) -> list[tuple[list[str], Table | None]]:
    """Return what the page opens with: sentences that answer the study's questions, and the table they rest on."""
    binary, one_class = evaluation.binary, evaluation.one_class
    answers: list[tuple[list[str], Table | None]] = []
    if binary.contrasts:
        found = [answer.verdict(binary.contrasts), answer.training_verdict(binary.contrasts)]
        answers.append((found, contrast_tables.answer_table(binary.contrasts, "pathology")))
    elif binary.runs:
        answers.append(([answer.ranking(binary.comparison, "pathology")], None))
    if one_class.contrasts:
        exploratory = "One-class models, exploratory: the study’s question is about the binary classifiers."
        opening = exploratory if binary.runs else answer.verdict(one_class.contrasts)
        table = contrast_tables.answer_table(one_class.contrasts, "task", "one-class-answer")
        answers.append(([opening], table))
    if best := answer.one_class_line(one_class.rows):
        answers.append(([best, *answer.floor_lines(evaluation.floors)], None))
    return answers


def _models(settings: Sequence[Setting]) -> str:
    """Name architectures and optimizers; apart, where each is trained with each."""
    models = list(dict.fromkeys(setting.model for setting in settings))
    networks, optimizers = (
        list(dict.fromkeys(getattr(setting, name) for setting in settings))
        for name in ("architecture", "optimizer")
    )
    if len(networks) > 1 and len(optimizers) > 1 and len(models) == len(networks) * len(optimizers):
        return f"{wording.listed(networks)}, each trained by {wording.listed(optimizers)}"
    return wording.listed(models)


def _summary(evaluation: Evaluation) -> str:
    """Return what was compared, on what, in one sentence."""
    study, settings = evaluation.study, [run.setting for run in evaluation.runs]
    by_stage: dict[str, dict[str, None]] = defaultdict(dict)
    for setting in settings:
        by_stage[setting.stage][setting.policy] = None
    arms = wording.listed([f"{stage} ({', '.join(policies)})" for stage, policies in by_stage.items()])
    models = _models(settings)
    pathologies = len({row.setting.task for row in evaluation.binary.rows})
    one_class = len({row.setting.task for row in evaluation.one_class.rows})
    tasks = [
        wording.count(number, noun)
        for number, noun in ((pathologies, "pathology"), (one_class, "one-class task"))
        if number
    ]
    counts, size = study.pack["counts"], study.study.training.image_size
    return (
        f"{arms[:1].upper()}{arms[1:]}, with {models}, on {wording.listed(tasks)}: "
        f"{wording.count(len(study.runs), 'run')} on "
        f"{wording.count(counts['images'], 'image')} of {wording.count(counts['patients'], 'patient')}, "
        f"at {size} × {size} pixels."
    )
