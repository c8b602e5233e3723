"""Fill the page's template: what stands in report.html, and in which order."""

import json
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib.resources import files
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

import clr_hpc
from clr_hpc.reporting import figures, tables, wording
from clr_hpc.reporting.answer import caveats, run_counts, verdict
from clr_hpc.reporting.collect import StudyRecord
from clr_hpc.reporting.compare import Comparison
from clr_hpc.reporting.scoring import ResultRow, ScoredRun
from clr_hpc.reporting.svg import PolicyStyle, policy_styles
from clr_hpc.spec.pathologies import title

MOST_VALUES_SHOWN = 4
"""Of one entry of the runs' environments; when it started, say, differs in every run."""


@dataclass(frozen=True, slots=True)
class Drawing:
    """Pictures of one choice, such as one pathology of one model."""

    heading: str
    choice: Mapping[str, str]
    pictures: tuple[Markup, ...]


def render(
    study: StudyRecord,
    runs: tuple[ScoredRun, ...],
    rows: tuple[ResultRow, ...],
    comparisons: Mapping[str, Comparison],
) -> str:
    """Return the whole page; ``comparisons`` are over all pathologies first, then over the frequent ones."""
    (_, overall), (frequent_name, frequent) = comparisons.items()
    styles = policy_styles(list(dict.fromkeys(run.setting.policy for run in runs)))
    environment = Environment(
        loader=PackageLoader("clr_hpc.reporting", "."),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
    )
    return environment.get_template("report.html.jinja").render(
        version=clr_hpc.__version__,
        style=_asset("report.css"),
        script=_asset("report.js"),
        study=study,
        summary=_summary(study, rows),
        seeds=len({run.record.spec.seed for run in runs}),
        counts=run_counts(study),
        verdict=verdict(overall),
        caveats=caveats(overall),
        legends={section: figures.legend(styles, section) for section in ("pathologies", "curves")},
        policy_table=tables.policy_table(overall, frequent, frequent_name),
        result_table=tables.result_table(rows),
        failure_table=tables.failure_table(runs),
        label_table=tables.label_table(study),
        label_figure=figures.label_counts(tables.label_counts(study)),
        overviews=list(_overviews(rows, styles)),
        curves=list(_curves(runs, styles)),
        environments=_environments(study),
        pack=json.dumps(
            {key: value for key, value in study.pack.items() if key not in ("counts", "shards")}, indent=2
        ),
    )


def _summary(study: StudyRecord, rows: tuple[ResultRow, ...]) -> str:
    """Return what was compared, on what, in one sentence."""
    settings = [row.setting for row in rows]
    policies = wording.listed(list(dict.fromkeys(setting.policy for setting in settings)))
    models = wording.listed(list(dict.fromkeys(setting.model for setting in settings)))
    pathologies = len({setting.pathology for setting in settings})
    training, counts = study.study.training, study.pack["counts"]
    return (
        f"{policies}, with {models}, on {pathologies} {'pathology' if pathologies == 1 else 'pathologies'}: "
        f"{wording.count(len(study.runs), 'run')} of {wording.count(training.epochs, 'epoch')} on "
        f"{wording.count(counts['images'], 'image')} of {wording.count(counts['patients'], 'patient')}, "
        f"seen at {training.image_size} × {training.image_size} pixels."
    )


def _asset(name: str) -> Markup:
    return Markup((files("clr_hpc.reporting") / name).read_text(encoding="utf-8"))


def _overviews(rows: tuple[ResultRow, ...], styles: Mapping[str, PolicyStyle]) -> Iterator[Drawing]:
    by_model: dict[str, list[ResultRow]] = defaultdict(list)
    for row in rows:
        by_model[row.setting.model].append(row)
    for model, group in by_model.items():
        if any(row.done for row in group):
            pictures = (
                figures.auroc_by_pathology(group, styles, model),
                figures.training_accuracy_by_pathology(group, styles, model),
            )
            yield Drawing(model, {"model": model}, pictures)


def _curves(runs: tuple[ScoredRun, ...], styles: Mapping[str, PolicyStyle]) -> Iterator[Drawing]:
    groups: dict[tuple[str, str], list[ScoredRun]] = defaultdict(list)
    for run in runs:
        if run.record.epochs:
            groups[run.setting.pathology, run.setting.model].append(run)
    for (pathology, model), group in groups.items():
        heading = f"{title(pathology)}: {model}"
        pictures = (
            figures.accuracy_and_rate(group, styles, heading),
            figures.validation_curves(group, styles, heading),
        )
        yield Drawing(heading, {"pathology": title(pathology), "model": model}, pictures)


def _environments(study: StudyRecord) -> list[tuple[str, list[str]]]:
    """Return each entry of the runs' environments with the values it had and in how many starts."""
    seen: dict[str, Counter[str]] = defaultdict(Counter)
    for run in study.runs:
        for start in run.environments:
            for key, value in _flat(start):
                seen[key][value] += 1
    return [(key, _told(values)) for key, values in seen.items()]


def _told(values: Counter[str]) -> list[str]:
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
