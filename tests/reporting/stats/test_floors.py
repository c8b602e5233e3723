"""One-class models next to what exposure alone comes to."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from reporting.conftest import StudyMaker

from clr_hpc.reporting.page.answer import floor_lines
from clr_hpc.reporting.read.study import read_study
from clr_hpc.reporting.stats.evaluate import Evaluation, evaluate
from clr_hpc.reporting.stats.floors import FloorRow, difference
from clr_hpc.reporting.tables.floors import floor_table, floors_csv


def with_floors(folder: Path, of_label: float) -> Evaluation:
    """Add the columns of floors to the predictions of all one-class runs; ``of_label``: what brightness knows."""
    for file in (folder / "runs").glob("no_finding-*/predictions.parquet"):
        table = pd.read_parquet(file)
        noise = np.random.default_rng(0).normal(size=len(table))
        table["floor_brightness"] = (of_label * table["label"] + noise).astype(np.float32)
        table["floor_statistics"] = noise.astype(np.float32)
        table["findings"] = np.where(
            table["label"] == 1, np.where(np.arange(len(table)) % 2, "mass", "mass|edema"), ""
        )
        table.to_parquet(file)
    return evaluate(read_study(folder))


def row_of(evaluation: Evaluation, part: str) -> FloorRow:
    return next(row for row in evaluation.floors if row.part == part)


@pytest.fixture
def study(make_study: StudyMaker) -> Path:
    return make_study(("edema",), skill={"constant": 2.5}, one_class=("deep_svdd", "autoencoder"))


def test_a_method_that_sees_more_lies_above_both(study: Path) -> None:
    evaluation = with_floors(study, of_label=0)
    assert {row.part for row in evaluation.floors} == {"all", "view AP", "view PA", "Mass", "Edema"}
    whole = row_of(evaluation, "all")
    assert whole.is_above
    assert whole.auroc.value > 0.8
    (row,) = [row for row in evaluation.one_class.rows if row.setting == whole.setting]
    assert whole.auroc.interval is not None
    assert row.auroc.interval is not None
    assert whole.auroc.interval.low == pytest.approx(row.auroc.interval.low, abs=1e-6), "one AUROC, one interval"
    assert abs(whole.floors["brightness"].value - 0.5) < 0.15
    assert row_of(evaluation, "Mass").auroc.value == pytest.approx(whole.auroc.value), "all positives have it"
    assert row_of(evaluation, "Edema").anomalous < whole.anomalous
    assert row_of(evaluation, "view AP").images < whole.images
    (line,) = floor_lines(evaluation.floors)
    assert "the best of 2 settings on validation" in line
    assert line.endswith("It lies above both.")


def test_a_method_that_does_not_is_said_to_have_seen_exposure(study: Path) -> None:
    evaluation = with_floors(study, of_label=4)
    assert not row_of(evaluation, "all").is_above
    (line,) = floor_lines(evaluation.floors)
    assert line.endswith("It is not above the mean gray: it may have seen exposure and not disease.")
    assert {cells[-1].text for cells in floor_table(evaluation.floors).rows} == {"no"}
    assert floors_csv(evaluation.floors).startswith("task,architecture,arm,images_of,images,anomalous,auroc")


def test_of_too_few_patients_nothing_is_said(study: Path) -> None:
    evaluation = with_floors(study, of_label=0)
    whole = row_of(evaluation, "all")
    assert difference(replace(whole.auroc, degrees=0), whole.auroc) is None
    half_defined = replace(whole.auroc, draws=np.where(np.arange(len(whole.auroc.draws)) % 2, np.nan, 0.5))
    assert difference(whole.auroc, half_defined) is None
    unknown = replace(whole, differences=dict.fromkeys(whole.differences))
    assert not unknown.is_above
    (line,) = floor_lines([unknown])
    assert line.endswith("Patients are too few to say whether that is more.")
    assert "too few patients" in str(floor_table([unknown]).rows)
    assert "by_at_least" not in floors_csv([unknown])


def test_studies_from_before_have_no_floors(study: Path) -> None:
    evaluation = evaluate(read_study(study))
    assert evaluation.floors == ()
    assert floor_lines(evaluation.floors) == []
