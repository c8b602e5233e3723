import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.linear_model import LogisticRegression

from clr_hpc.reporting.read.predictions import Scores
from clr_hpc.reporting.read.study import read_study
from clr_hpc.reporting.stats.calibration import corrected, positive_weight
from clr_hpc.reporting.stats.metrics import Estimate, measure
from clr_hpc.reporting.stats.scoring import score_runs

StudyMaker = Callable[..., Path]


def measured(labels: np.ndarray, scores: np.ndarray, weight: float) -> dict[str, Estimate]:
    number = np.arange(len(labels), dtype=np.int32)
    return measure(Scores(number, number, labels, scores), None, np.ones((len(labels), 1), np.int32), True, weight)


@given(st.floats(-15, 15), st.floats(0.02, 100))
def test_log_of_the_weight_is_subtracted_from_the_logit(logit: float, weight: float) -> None:
    (found,) = corrected(np.array([1 / (1 + np.exp(-logit))]), weight)
    assert found == pytest.approx(1 / (1 + np.exp(np.log(weight) - logit)), rel=1e-6)


def test_certain_scores_stay_certain() -> None:
    assert corrected(np.array([0.0, 1.0]), 40.0).tolist() == [0.0, 1.0]


def test_a_weighted_fit_is_an_unweighted_one_after_correction() -> None:
    """Logistic regression with and without class weights, of images of which 5 % are positive."""
    generator = np.random.default_rng(0)
    features = generator.normal(size=(40_000, 1))
    labels = generator.random(40_000) < 1 / (1 + np.exp(4 - 1.5 * features[:, 0]))
    train, test = slice(0, 20_000), slice(20_000, None)
    weight = (~labels[train]).sum() / labels[train].sum()
    found = {}
    for factor in (1.0, weight):
        model = LogisticRegression(C=1e6, class_weight={False: 1.0, True: factor})
        model.fit(features[train], labels[train])
        scores = model.predict_proba(features[test])[:, 1]
        found[factor] = {name: one.value for name, one in measured(labels[test], scores, factor).items()}
    plain, weighted = found[1.0], found[weight]
    assert plain["brier"] == plain["brier_corrected"] < 0.05
    assert weighted["brier"] > 2 * plain["brier"], "the raw output measures the weight"
    assert weighted["calibration_error"] > 0.2
    assert weighted["brier_corrected"] == pytest.approx(plain["brier"], rel=0.02)
    assert weighted["calibration_error_corrected"] == pytest.approx(plain["calibration_error"], abs=0.005)


@pytest.mark.parametrize(("imbalance", "weight"), [("none", 1.0), ("pos_weight", 3.0), ("balanced_sampling", 3.0)])
def test_the_weight_is_that_of_the_runs_own_training_split(
    make_study: StudyMaker, imbalance: str, weight: float
) -> None:
    study = read_study(make_study(("edema",), skill={"constant": 1.0}, imbalance=imbalance))
    assert positive_weight(study.runs[0]) == weight, "80 of 320 images"
    (run,) = score_runs(study, np.random.default_rng(0))
    brier, raw = (run.models["last"][name].value for name in ("brier_corrected", "brier"))
    assert (brier == raw) == (imbalance == "none")


def test_a_run_that_did_not_count_its_training_split_has_the_raw_values_alone(make_study: StudyMaker) -> None:
    folder = make_study(("edema",), skill={"constant": 1.0})
    (file,) = folder.glob("runs/*/result.json")
    result = json.loads(file.read_text())
    result["train"]["positives"] = 0
    file.write_text(json.dumps(result))
    (run,) = score_runs(read_study(folder), np.random.default_rng(0))
    assert np.isfinite(run.models["last"]["brier"].value)
    assert "weight of positives is not known" in run.models["last"]["brier_corrected"].reason


def test_one_class_models_have_no_weight(make_study: StudyMaker) -> None:
    folder = make_study(("edema",), skill={"constant": 1.0}, one_class=("deep_svdd",))
    assert positive_weight(read_study(folder).runs[1]) == 1.0
