"""Make a study's report: one HTML page that needs no network, and its tables as CSV."""

from pathlib import Path

import numpy as np

from clr_hpc.durable import written_whole
from clr_hpc.reporting import csv_files, tables
from clr_hpc.reporting.collect import read_study
from clr_hpc.reporting.compare import compare_policies
from clr_hpc.reporting.page import render
from clr_hpc.reporting.scoring import result_rows, score_runs

POSITIVES_OF_A_FREQUENT_PATHOLOGY = 100
"""In the whole pack; the AUROC of a rarer one says little."""
BOOTSTRAP_SEED = 0
"""Fixed, so that a report made again says the same."""


def write_report(study_folder: Path) -> Path:
    """Write ``report/report.html`` and its CSV tables into a study's folder, and return the path of the page.

    The same run folders give the same bytes.

    Args:
        study_folder: made by ``clr-hpc run``; see docs/architecture.md.

    Raises:
        ReportError: the folder is not a study's.
    """
    study = read_study(study_folder)
    runs = score_runs(study, np.random.default_rng(BOOTSTRAP_SEED))
    rows = result_rows(runs)
    counts = tables.label_counts(study)
    frequent = tuple(label for label, images in counts.items() if images >= POSITIVES_OF_A_FREQUENT_PATHOLOGY)
    frequent_name = f"{POSITIVES_OF_A_FREQUENT_PATHOLOGY} positives or more"
    comparisons = {"all": compare_policies(runs), frequent_name: compare_policies(runs, frequent)}
    output = study_folder / "report"
    output.mkdir(parents=True, exist_ok=True)
    for name, text in {
        "results.csv": csv_files.results_csv(rows),
        "policies.csv": csv_files.policies_csv(comparisons),
        "runs.csv": csv_files.runs_csv(runs),
        "epochs.csv": csv_files.epochs_csv(runs),
        "labels.csv": csv_files.labels_csv(study),
        "report.html": render(study, runs, rows, comparisons),
    }.items():
        with written_whole(output / name) as aside:
            aside.write_text(text, encoding="utf-8", newline="")
    return output / "report.html"
