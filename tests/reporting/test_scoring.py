from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import roc_auc_score

from clr_hpc.reporting.collect import read_study
from clr_hpc.reporting.compare import compare_policies
from clr_hpc.reporting.scoring import ScoredRun, result_rows, score_runs

StudyMaker = Callable[..., Path]


def scored(folder: Path) -> tuple[ScoredRun, ...]:
    return score_runs(read_study(folder), np.random.default_rng(0))


def run_folders(folder: Path, part: str) -> list[Path]:
    return sorted(path for path in (folder / "runs").iterdir() if part in path.name)


def relabel(run: Path, positives: int) -> None:
    """Leave only the first images positive: of three images a patient at most."""
    predictions = pd.read_parquet(run / "predictions.parquet")
    predictions["label"] = (np.arange(len(predictions)) < positives).astype(np.int8)
    predictions.to_parquet(run / "predictions.parquet")


def test_a_runs_auroc_is_that_of_its_predictions(make_study: StudyMaker) -> None:
    folder = make_study()
    for run in scored(folder):
        table = pd.read_parquet(folder / "runs" / run.record.spec.name / "predictions.parquet")
        assert run.auroc == pytest.approx(roc_auc_score(table["label"], table["score"]), abs=1e-12)


def test_rows_are_means_over_the_seeds_that_are_done(make_study: StudyMaker) -> None:
    folder = make_study(pathologies=("edema",), seeds=(0, 1, 2))
    (run_folders(folder, "constant.seed2")[0] / "result.json").unlink()
    runs = scored(folder)
    row = next(row for row in result_rows(runs) if row.setting.policy == "Constant")
    areas = [run.auroc for run in runs if run.setting.policy == "Constant" and run.record.status == "done"]
    assert (row.done, row.planned) == (2, 3)
    assert row.auroc == pytest.approx(np.mean(areas))
    assert row.seed_spread == pytest.approx(np.std(areas, ddof=1))
    assert "unfinished" in row.note


def test_one_class_is_not_defined_with_the_reason(make_study: StudyMaker) -> None:
    folder = make_study()
    for run in run_folders(folder, "effusion"):
        relabel(run, positives=0)
    runs = scored(folder)
    row = next(row for row in result_rows(runs) if row.setting.pathology == "effusion")
    assert np.isnan(row.auroc)
    assert row.interval is None
    assert row.note.startswith("no positive image among")
    assert compare_policies(runs).pathologies == ("pneumothorax",)


def test_too_few_patients_of_one_class_have_no_interval(make_study: StudyMaker) -> None:
    folder = make_study()
    for run in run_folders(folder, "effusion"):
        relabel(run, positives=1)
    row = next(row for row in result_rows(scored(folder)) if row.setting.pathology == "effusion")
    assert np.isfinite(row.auroc)
    assert row.interval is None
    assert row.note.startswith("1 patient of one class: only 6")


def test_a_done_run_without_predictions_says_so(make_study: StudyMaker) -> None:
    folder = make_study()
    (run_folders(folder, "effusion")[0] / "predictions.parquet").unlink()
    assert scored(folder)[0].note == "predictions.parquet is missing"


def test_the_generator_of_the_draws_changes_them_and_not_the_auroc(make_study: StudyMaker) -> None:
    study = read_study(make_study())
    one, other = score_runs(study, np.random.default_rng(0))[0], score_runs(study, np.random.default_rng(1))[0]
    assert one.auroc == other.auroc
    assert not np.array_equal(one.draws, other.draws)
    assert np.array_equal(one.draws, score_runs(study, np.random.default_rng(0))[0].draws)
