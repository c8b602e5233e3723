"""An external validation as it lies on disk, aligned: scores by setting, on either side."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from clr_hpc.reporting.read.predictions import Scores, TestImages
from clr_hpc.reporting.read.study import ReportError
from clr_hpc.store import layout
from clr_hpc.store.evaluations import Evaluation, read_evaluation, read_scores
from clr_hpc.store.records import required


@dataclass(frozen=True, slots=True)
class Side:
    """The study's own test images, or those of the other pack; scores by position of their setting."""

    images: TestImages
    scores: Mapping[int, Scores]
    calibrated: Mapping[int, Scores]
    """Probabilities in place of scores; without settings that have none."""


@dataclass(frozen=True, slots=True)
class EvaluationRecord:
    """What ``clr-hpc evaluate`` has left."""

    record: Evaluation
    internal: Side
    external: Side


def read(folder: Path) -> EvaluationRecord:
    """Read a folder of a study's ``evaluations/``.

    Raises:
        ReportError: nothing was evaluated there.
        DamagedError: a file is damaged.
    """
    record = required(read_evaluation(folder))
    if record is None:
        raise ReportError(f"{folder} has no {layout.EVALUATION}; 'clr-hpc evaluate' writes it")
    table = required(read_scores(folder, record)).to_pandas()
    return EvaluationRecord(record, _side(table, "internal"), _side(table, "external"))


def _side(table: pd.DataFrame, side: str) -> Side:
    rows = table[table["side"] == side]
    facts = rows.drop_duplicates("image")
    images, patients = pd.Index(facts["image"]), pd.Index(facts["patient"].unique())
    view, sex = (facts[name].fillna("").to_numpy(dtype=str) for name in ("view", "sex"))
    known = TestImages(len(patients), view, sex, facts["age_years"].to_numpy(np.float64))
    scores: dict[int, Scores] = {}
    calibrated: dict[int, Scores] = {}
    for setting in rows["setting"].unique().tolist():
        group = rows[rows["setting"] == setting]
        scores[setting] = _scores(group, "score", images, patients)
        if group["calibrated"].notna().all():
            calibrated[setting] = _scores(group, "calibrated", images, patients)
    return Side(known, scores, calibrated)


def _scores(group: pd.DataFrame, column: str, images: "pd.Index[Any]", patients: "pd.Index[Any]") -> Scores:
    numbers = images.get_indexer(pd.Index(group["image"])).astype(np.int32)
    order = np.argsort(numbers, kind="stable")
    group = group.iloc[order]
    return Scores(
        numbers[order],
        patients.get_indexer(pd.Index(group["patient"])).astype(np.int32),
        group["label"].to_numpy() == 1,
        group[column].to_numpy(np.float64),
    )
