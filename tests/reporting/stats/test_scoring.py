from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray
from sklearn.metrics import roc_auc_score

from clr_hpc.reporting.read.study import read_study
from clr_hpc.reporting.stats.compare import arms, compare
from clr_hpc.reporting.stats.scoring import ScoredRun, result_rows, score_runs

StudyMaker = Callable[..., Path]


def scored(folder: Path) -> tuple[ScoredRun, ...]:
    return score_runs(read_study(folder), np.random.default_rng(0))


def run_folders(folder: Path, part: str) -> list[Path]:
    return sorted(path for path in (folder / "runs").iterdir() if part in path.name)


def draws(run: ScoredRun) -> NDArray[np.float64]:
    return run.models["last"]["auroc"].sampled.draws


def relabel(run: Path, positives: int) -> None:
    """Leave only the first images of each split positive: of three images a patient at most."""
    predictions = pd.read_parquet(run / "predictions.parquet")
    place = predictions.groupby(["split", "model"]).cumcount()
    predictions["label"] = (place < positives).astype(np.int8)
    predictions.to_parquet(run / "predictions.parquet")


def test_a_runs_auroc_is_that_of_its_predictions(make_study: StudyMaker) -> None:
    folder = make_study()
    for run in scored(folder):
        table = pd.read_parquet(folder / "runs" / run.record.spec.name / "predictions.parquet")
        table = table[(table["split"] == "test") & (table["model"] == "last")]
        assert run.auroc == pytest.approx(roc_auc_score(table["label"], table["score"]), abs=1e-12)


def test_one_class_scores_may_be_negative_and_have_no_calibration(make_study: StudyMaker) -> None:
    folder = make_study(("edema",), skill={"constant": 2.5}, one_class=("deep_svdd",))
    for run in run_folders(folder, "no_finding"):
        table = pd.read_parquet(run / "predictions.parquet")
        table.assign(score=table["score"] - 50).to_parquet(run / "predictions.parquet")
    runs = [run for run in scored(folder) if run.setting.one_class]
    assert runs
    assert all(run.auroc > 0.8 for run in runs)
    assert all(run.scores is not None and not run.scores.curves for run in runs)


def test_rows_are_means_over_the_seeds_that_are_done(make_study: StudyMaker) -> None:
    folder = make_study(pathologies=("edema",), seeds=(0, 1, 2))
    (run_folders(folder, "constant.seed2")[0] / "result.json").unlink()
    runs = scored(folder)
    row = next(row for row in result_rows(runs) if row.setting.policy == "Constant")
    areas = [run.auroc for run in runs if run.setting.policy == "Constant" and run.record.status == "done"]
    assert (row.done, row.planned) == (2, 3)
    assert row.auroc.value == pytest.approx(np.mean(areas))
    assert row.auroc.spread == pytest.approx(np.std(areas, ddof=1))
    assert "unfinished" in row.note


def test_one_class_is_not_defined_with_the_reason(make_study: StudyMaker) -> None:
    folder = make_study()
    for run in run_folders(folder, "effusion"):
        relabel(run, positives=0)
    runs = scored(folder)
    row = next(row for row in result_rows(runs) if row.setting.task == "Effusion")
    assert np.isnan(row.auroc.value)
    assert row.auroc.interval is None
    assert row.note.startswith("no positive image among")
    assert compare(arms(runs)).tasks == ("Pneumothorax",)


def test_too_few_patients_of_one_class_have_no_interval(make_study: StudyMaker) -> None:
    folder = make_study()
    for run in run_folders(folder, "effusion"):
        relabel(run, positives=1)
    row = next(row for row in result_rows(scored(folder)) if row.setting.task == "Effusion")
    assert np.isfinite(row.auroc.value)
    assert row.auroc.interval is None
    assert row.note.startswith("1 patient of one class: only 6")


def test_a_done_run_without_predictions_says_so(make_study: StudyMaker) -> None:
    folder = make_study()
    (run_folders(folder, "effusion")[0] / "predictions.parquet").unlink()
    assert scored(folder)[0].note == "predictions.parquet is missing or holds no test image"


def test_the_generator_of_the_draws_changes_them_and_not_the_auroc(make_study: StudyMaker) -> None:
    study = read_study(make_study())
    one, other = score_runs(study, np.random.default_rng(0))[0], score_runs(study, np.random.default_rng(1))[0]
    assert one.auroc == other.auroc
    assert not np.array_equal(draws(one), draws(other))
    assert np.array_equal(draws(one), draws(score_runs(study, np.random.default_rng(0))[0]))


def test_thresholds_come_from_validation_and_never_from_the_test_split(make_study: StudyMaker) -> None:
    folder = make_study(pathologies=("edema",), skill={"triangular": 1.0})
    before = scored(folder)[0].thresholds
    file = next(folder.glob("runs/*/predictions.parquet"))
    predictions = pd.read_parquet(file)
    test = predictions["split"] == "test"
    predictions.loc[test, "label"] = 1 - predictions.loc[test, "label"]
    predictions.to_parquet(file)
    assert scored(folder)[0].thresholds == before
    assert set(before) == {"last", "swa", "snapshots"}


def test_the_threshold_of_one_class_is_that_of_its_training_scores(make_study: StudyMaker) -> None:
    folder = make_study(pathologies=("edema",), skill={"triangular": 1.0}, one_class=("deep_svdd",))
    run = next(run for run in scored(folder) if run.setting.one_class)
    table = pd.read_parquet(folder / "runs" / run.record.spec.name / "predictions.parquet")
    normal = table[(table["split"] == "test") & (table["model"] == "last") & (table["label"] == 0)]["score"]
    above = (normal > run.record.result["models"]["last"]["threshold"]).mean()
    assert run.models["last"]["specificity"].value == pytest.approx(1 - above, abs=1e-12)
    assert "not probabilities" in run.models["last"]["brier"].reason
    assert np.isnan(run.models["last"]["brier"].value)


def test_arms_are_policies_until_there_are_stages(make_study: StudyMaker) -> None:
    alone = {run.setting.arm for run in scored(make_study(pathologies=("edema",)))}
    assert alone == {"Constant", "Triangular", "Modified triangular2"}


def test_arms_of_stages(make_study: StudyMaker) -> None:
    folder = make_study(
        pathologies=("edema",), skill={"triangular": 1.0}, retrained={"cosine": 1.0, "triangular": 1.2}
    )
    assert [run.setting.arm for run in scored(folder)] == [
        "Cosine decay, baseline",
        "Cosine decay, control",
        "Triangular, retrained",
        "Triangular, from scratch",
    ]
