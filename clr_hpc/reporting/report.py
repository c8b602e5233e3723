"""Make a study's report: one HTML page that needs no network, its tables as CSV and LaTeX, and figure files."""

from pathlib import Path

from clr_hpc.reporting.figures.files import FigureFiles, check_figures, write_figures
from clr_hpc.reporting.figures.select import study_figures
from clr_hpc.reporting.figures.svg import arm_styles
from clr_hpc.reporting.page.heat_maps import read_heat_maps
from clr_hpc.reporting.page.lr_range import read_range_tests
from clr_hpc.reporting.page.page import render
from clr_hpc.reporting.page.template import has_rows, write_tables, write_text
from clr_hpc.reporting.read.plan import against_plan
from clr_hpc.reporting.read.study import read_study
from clr_hpc.reporting.stats.evaluate import Evaluation, evaluate
from clr_hpc.reporting.stats.run.kept import known_predictions
from clr_hpc.reporting.tables import export
from clr_hpc.reporting.tables.export import paper_tables
from clr_hpc.reporting.tables.floors import floors_csv
from clr_hpc.store import layout
from clr_hpc.store.cache.blocks import KeptBlocks


def write_report(study_folder: Path, figure_files: FigureFiles = "main") -> Path:
    """Write ``report/report.html``, its tables and its figures into a study's folder, and return the page's path.

    The same run folders give the same bytes.

    Args:
        study_folder: made by ``clr-hpc run``; see docs/reference/formats.md.
        figure_files: which figures ``report/figures/`` holds, as SVG and PDF.

    Raises:
        ReportError: the folder is not a study's.
    """
    cache = study_folder / layout.REPORT_CACHE
    known = known_predictions(study_folder)
    study = read_study(study_folder, known=known)
    known.save()
    evaluation = evaluate(study, cache)
    heat_maps = read_heat_maps(study_folder, evaluation.study.pack["checksum"])
    range_tests = read_range_tests(study_folder)
    styles = arm_styles({run.setting.arm: run.setting.policy for run in evaluation.runs})
    figures = study_figures(evaluation, styles)
    kept = KeptBlocks(cache / layout.KNOWN_FIGURES)
    tables = _tables(evaluation) | {"localisation.csv": heat_maps.csv if heat_maps else ""}
    files = [name for name, text in tables.items() if has_rows(text)]
    page = render(evaluation, styles, figures, range_tests, heat_maps, kept, files, figure_files != "none")
    kept.save()
    output = study_folder / layout.REPORT
    output.mkdir(parents=True, exist_ok=True)
    write_tables(output, tables)
    write_text(output / "report.html", page)
    write_figures(output / layout.FIGURES, figure_files, figures, range_tests.drawings if range_tests else ())
    return output / "report.html"


def report(study_folder: str | Path, figures: FigureFiles = "main") -> Path:
    """Write a study's report, as ``clr-hpc report`` does, and return the path of its page.

    Args:
        study_folder: made by ``clr-hpc run``.
        figures: which ones are also written as SVG and PDF files: ``main``, ``all`` or ``none``.

    Raises:
        ReportError: the folder is not a study's.
        ValueError: ``figures`` is none of the three.
    """
    check_figures(figures)
    return write_report(Path(study_folder), figures)


def _tables(evaluation: Evaluation) -> dict[str, str]:
    kinds = (evaluation.binary, evaluation.one_class)
    arms = {
        "all pathologies": evaluation.binary.comparison,
        evaluation.frequent_name: evaluation.frequent,
        "one-class": evaluation.one_class.comparison,
    }
    prediction = against_plan(evaluation.study)
    return {
        "results.csv": export.results_csv(row for kind in kinds for row in kind.rows),
        "arms.csv": export.comparisons_csv("compared_over", arms),
        "contrasts.csv": export.contrasts_csv(contrast for kind in kinds for contrast in kind.contrasts),
        "verdicts.csv": export.verdicts_csv(contrast for kind in kinds for contrast in kind.contrasts),
        "models.csv": export.comparisons_csv("arm", evaluation.models),
        "costs.csv": export.costs_csv(evaluation.binary.costs, evaluation.binary.savings),
        "one-class-costs.csv": export.costs_csv(evaluation.one_class.costs, evaluation.one_class.savings),
        "slices.csv": export.slices_csv(evaluation.slices),
        "one-class-floors.csv": floors_csv(evaluation.floors),
        "runs.csv": export.runs_csv(evaluation.runs),
        "epochs.csv": export.epochs_csv(evaluation.runs),
        "labels.csv": export.labels_csv(evaluation.study),
        "predicted.csv": export.predicted_csv(prediction) if prediction else "",
        "paper.tex": paper_tables(evaluation.binary.rows, evaluation.binary.contrasts),
    }
