"""Fill the page's template: what stands in report.html, and in which order."""

import json
from collections import defaultdict

from clr_hpc.reporting import wording
from clr_hpc.reporting.figures import dots
from clr_hpc.reporting.figures.select import (
    architectures,
    model_styles,
    one_class_overviews,
    overviews,
    score_curves,
    training_curves,
)
from clr_hpc.reporting.figures.svg import arm_styles, legend
from clr_hpc.reporting.page.answer import (
    caveats,
    contrast_caveats,
    contrast_lines,
    one_class_line,
    ranking,
    run_counts,
    verdict,
)
from clr_hpc.reporting.page.lr_range import RangeTests
from clr_hpc.reporting.page.provenance import environments
from clr_hpc.reporting.page.template import render_page
from clr_hpc.reporting.read.plan import against_plan
from clr_hpc.reporting.stats.evaluate import Evaluation, label_counts
from clr_hpc.reporting.tables import contrasts as contrast_tables
from clr_hpc.reporting.tables import results as tables
from clr_hpc.reporting.tables.plan import deviation_table, prediction_table, prediction_text


def render(evaluation: Evaluation, range_tests: RangeTests | None) -> str:
    """Return the whole page."""
    study, binary, one_class = evaluation.study, evaluation.binary, evaluation.one_class
    styles = arm_styles({run.setting.arm: run.setting.policy for run in evaluation.runs})
    contrasts = binary.compared
    prediction = against_plan(study)
    used = {
        section: {run.setting.arm: styles[run.setting.arm] for run in kind.runs}
        for section, kind in (("binary", binary), ("one-class", one_class))
    }
    return render_page(
        "report.html.jinja",
        heading=study.name,
        range_tests=range_tests,
        study=study,
        summary=_summary(evaluation),
        seeds=len({run.record.spec.seed for run in evaluation.runs}),
        counts=run_counts(study),
        answers=_answers(evaluation),
        caveats=contrast_caveats(binary.contrasts + one_class.contrasts)
        + caveats(binary.comparison if binary.runs else one_class.comparison),
        left_out=[reason for contrast in binary.contrasts for reason in contrast.left_out],
        legend=lambda section, kind="binary": legend(used[kind], section),
        arm_table=tables.arm_table(binary.comparison, evaluation.frequent, evaluation.frequent_name),
        contrast_table=contrast_tables.contrast_table(contrasts),
        forest=dots.forest(contrasts, styles) if contrasts else None,
        training_differences=dots.training_accuracy_differences(contrasts, styles) if contrasts else None,
        contrast_legend=legend({contrast.arm: styles[contrast.arm] for contrast in contrasts}, "contrasts"),
        result_table=tables.result_table(binary.rows),
        overviews=list(overviews(binary.rows, styles)),
        curves=list(training_curves(evaluation.runs, styles)),
        score_curves=list(score_curves(binary.runs, styles)),
        cost_table=contrast_tables.cost_table(binary.costs),
        saving_table=contrast_tables.saving_table(binary.savings),
        model_table=tables.model_table(evaluation.models),
        model_figure=dots.models_side_by_side(evaluation.models, model_styles()) if evaluation.models else None,
        model_legend=legend(model_styles(), "models"),
        one_class_table=tables.one_class_table(one_class.rows),
        one_class_overviews=list(one_class_overviews(one_class.rows, styles)),
        one_class_contrast_table=contrast_tables.contrast_table(one_class.compared, "one-class-contrasts"),
        slice_table=tables.slice_table(evaluation.slices),
        failure_table=tables.failure_table(evaluation.runs),
        deviation_table=deviation_table(study),
        prediction=prediction_text(prediction) if prediction else "",
        prediction_table=prediction_table(prediction) if prediction else None,
        label_table=tables.label_table(study),
        label_figure=dots.label_counts(label_counts(study)),
        architectures=list(architectures(study)),
        environments=environments(study),
        pack=json.dumps(
            {key: value for key, value in study.pack.items() if key not in ("counts", "shards")}, indent=2
        ),
    )


def _answers(evaluation: Evaluation) -> list[tuple[str, list[str]]]:
    """Return the first lines: a sentence for each question that the study asks, and what it rests on."""
    binary, one_class = evaluation.binary, evaluation.one_class
    answers = []
    if binary.contrasts:
        answers.append((verdict(binary.contrasts), contrast_lines(binary.contrasts, "pathology")))
    elif binary.runs:
        answers.append((ranking(binary.comparison, "pathology"), []))
    if one_class.contrasts:
        opening = "One-class models. " if binary.runs else ""
        answers.append((opening + verdict(one_class.contrasts), contrast_lines(one_class.contrasts, "task")))
    if best := one_class_line(one_class.rows):
        answers.append(("", [best]))
    return answers


def _summary(evaluation: Evaluation) -> str:
    """Return what was compared, on what, in one sentence."""
    study, settings = evaluation.study, [run.setting for run in evaluation.runs]
    by_stage: dict[str, dict[str, None]] = defaultdict(dict)
    for setting in settings:
        by_stage[setting.stage][setting.policy] = None
    arms = wording.listed([f"{stage} ({', '.join(policies)})" for stage, policies in by_stage.items()])
    models = wording.listed(list(dict.fromkeys(setting.model for setting in settings)))
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
        f"seen at {size} × {size} pixels."
    )
