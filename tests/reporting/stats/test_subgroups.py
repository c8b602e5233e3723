from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import roc_auc_score

from clr_hpc.reporting.read.study import read_study
from clr_hpc.reporting.stats.scoring import score_runs
from clr_hpc.reporting.stats.subgroups import SliceRow, slice_rows

StudyMaker = Callable[..., Path]


def rows(folder: Path) -> dict[tuple[str, str], SliceRow]:
    study = read_study(folder)
    runs = score_runs(study, np.random.default_rng(0))
    return {(row.attribute, row.slice): row for row in slice_rows(runs, study.test)}


def test_a_slice_is_the_auroc_of_its_images(make_study: StudyMaker) -> None:
    folder = make_study(pathologies=("edema",), skill={"constant": 1.0})
    table = pd.read_parquet(next(folder.glob("runs/*/predictions.parquet")))
    table = table[table["split"] == "test"]
    found = rows(folder)
    masks = {
        ("View", "AP"): table["view"] == "AP",
        ("View", "PA"): table["view"] == "PA",
        ("Sex", "F"): table["sex"] == "F",
        ("Sex", "M"): table["sex"] == "M",
        ("Age", "under 40"): table["age_years"] < 40,
        ("Age", "40 to 60"): table["age_years"].between(40, 60, inclusive="left"),
        ("Age", "60 and over"): table["age_years"] >= 60,
    }
    assert list(found) == list(masks)
    for key, mask in masks.items():
        assert found[key].images == mask.sum()
        expected = roc_auc_score(table["label"][mask], table["score"][mask])
        assert found[key].auroc == pytest.approx(expected, abs=1e-12)
        bounds = found[key].interval
        assert bounds is not None
        assert bounds.low < expected < bounds.high


def test_what_is_not_known_of_an_image_puts_it_in_no_slice(make_study: StudyMaker) -> None:
    folder = make_study(pathologies=("edema",), skill={"constant": 1.0})
    file = next(folder.glob("runs/*/predictions.parquet"))
    table = pd.read_parquet(file)
    table[["view", "age_years"]] = None
    table.to_parquet(file)
    assert {attribute for attribute, _ in rows(folder)} == {"Sex"}


def test_a_slice_with_few_images_of_a_class_is_not_defined(make_study: StudyMaker) -> None:
    folder = make_study(pathologies=("edema",), skill={"constant": 1.0})
    file = next(folder.glob("runs/*/predictions.parquet"))
    table = pd.read_parquet(file)
    table.loc[table["sex"] == "F", "label"] = 0
    table.to_parquet(file)
    row = rows(folder)["Sex", "F"]
    assert np.isnan(row.auroc)
    assert row.interval is None
    assert row.note == "no task with 5 images of each class in it"
