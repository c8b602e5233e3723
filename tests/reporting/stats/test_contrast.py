import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from clr_hpc.reporting.read.study import read_study
from clr_hpc.reporting.stats.contrast import ArmContrast, against_control
from clr_hpc.reporting.stats.difference import Cell, Influence, auroc_difference
from clr_hpc.reporting.stats.scoring import ScoredRun, score_runs
from clr_hpc.reporting.stats.significance import combined, holm, mcnemar

StudyMaker = Callable[..., Path]


def scored(folder: Path) -> tuple[ScoredRun, ...]:
    return score_runs(read_study(folder), np.random.default_rng(0))


def retrained(make_study: StudyMaker, **options: object) -> Path:
    return make_study(**{"skill": {}, "retrained": {"cosine": 1.0, "triangular": 1.2}} | options)


def only(contrasts: tuple[ArmContrast, ...]) -> ArmContrast:
    (contrast,) = contrasts
    return contrast


def test_each_pair_shares_the_baseline_and_the_seed(make_study: StudyMaker) -> None:
    contrast = only(against_control(scored(retrained(make_study, seeds=(0, 1)))))
    assert contrast.control == "Cosine decay"
    assert [len(task.pairs) for task in contrast.tasks] == [2, 2]
    for task in contrast.tasks:
        for pair in task.pairs:
            assert pair.first.record.spec.start == pair.second.record.spec.start
            assert pair.first.record.spec.seed == pair.second.record.spec.seed


def test_a_tasks_numbers_are_those_of_its_pairs(make_study: StudyMaker) -> None:
    contrast = only(against_control(scored(retrained(make_study, seeds=(0, 1, 2)))))
    task = contrast.tasks[0]
    assert task.difference.value == pytest.approx(
        np.mean([pair.first.auroc - pair.second.auroc for pair in task.pairs]), abs=1e-12
    )
    sides = [pair.first for pair in task.pairs] + [pair.second for pair in task.pairs]
    tests = [side.record.predictions["test"] for side in sides]
    influences = [Influence.of(test.of("last")).rounded for test in tests]
    cell = Cell(influences[:3], influences[3:], 1.0)
    assert task.difference == auroc_difference([cell])
    right = [
        (test.of("last").scores >= side.thresholds["last"]) == test.labels
        for side, test in zip(sides, tests, strict=True)
    ]
    assert task.mcnemar == combined([mcnemar(right[place], right[place + 3]) for place in range(3)])
    p_values = [task.difference.p_value for task in contrast.tasks]
    assert [task.p_adjusted for task in contrast.tasks] == holm(p_values)


def test_a_missing_control_leaves_its_runs_out_with_the_reason(make_study: StudyMaker) -> None:
    folder = retrained(make_study)
    shutil.rmtree(next(folder.glob("runs/effusion.*.control.*")))
    contrast = only(against_control(scored(folder)))
    assert [task.task for task in contrast.tasks] == ["Pneumothorax"]
    (reason,) = contrast.left_out
    assert reason.startswith("effusion.mobilenet_v1.sgd.retrain.triangular.seed0.")
    assert reason.endswith("(its control: missing: no folder: it has not started)")


def test_a_control_on_other_images_is_no_control(make_study: StudyMaker) -> None:
    folder = retrained(make_study)
    file = next(folder.glob("runs/effusion.*.control.*")) / "predictions.parquet"
    predictions = pd.read_parquet(file)
    predictions.loc[predictions["split"] == "test", "image"] += "x"
    predictions.to_parquet(file)
    contrast = only(against_control(scored(folder)))
    assert [task.task for task in contrast.tasks] == ["Pneumothorax"]
    assert "tested on other images" in contrast.left_out[0]


def test_runs_that_trained_for_other_lengths_are_no_pair(make_study: StudyMaker) -> None:
    folder = retrained(make_study)
    file = next(folder.glob("runs/effusion.*.retrain.*")) / "result.json"
    result = json.loads(file.read_text())
    result["stopped_early"], result["cost"]["steps"] = True, 32
    file.write_text(json.dumps(result))
    contrast = only(against_control(scored(folder)))
    assert [task.task for task in contrast.tasks] == ["Pneumothorax"]
    (reason,) = contrast.left_out
    assert reason.endswith("(trained for 32 steps and its control for 40: early stopping ended one)")


def test_one_class_in_the_test_split_is_a_reason_and_no_number(make_study: StudyMaker) -> None:
    folder = retrained(make_study)
    for file in folder.glob("runs/effusion.*/predictions.parquet"):
        predictions = pd.read_parquet(file)
        predictions.loc[predictions["split"] == "test", "label"] = 0
        predictions.to_parquet(file)
    contrast = only(against_control(scored(folder)))
    assert [task.task for task in contrast.tasks] == ["Pneumothorax"]
    assert "no positive image" in contrast.left_out[0]


def test_one_class_in_validation_leaves_the_auroc_and_no_accuracy(make_study: StudyMaker) -> None:
    folder = retrained(make_study)
    for file in folder.glob("runs/effusion.*/predictions.parquet"):
        predictions = pd.read_parquet(file)
        predictions.loc[predictions["split"] == "validation", "label"] = 0
        predictions.to_parquet(file)
    effusion, pneumothorax = only(against_control(scored(folder))).tasks
    assert np.isfinite(effusion.difference.patient_p_value)
    assert np.isnan(effusion.mcnemar)
    assert np.isnan(effusion.accuracy_difference)
    assert pneumothorax.mcnemar_adjusted == pneumothorax.mcnemar


def test_a_study_without_retraining_has_no_contrast(make_study: StudyMaker) -> None:
    assert against_control(scored(make_study())) == ()
