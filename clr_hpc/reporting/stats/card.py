"""What a model card says of each finding: the exported models on the test images, all and by group."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from clr_hpc.config.run import RunSpec
from clr_hpc.reporting.read.predictions import Scores, TestImages
from clr_hpc.reporting.stats.bootstrap import RESAMPLES, Draws, patient_draws
from clr_hpc.reporting.stats.evaluate import BOOTSTRAP_SEED
from clr_hpc.reporting.stats.metrics import Estimate, measure
from clr_hpc.reporting.stats.run.parts import FEWEST_OF_A_CLASS, slices

OF_PROBABILITIES = ("brier", "calibration_error")
"""Measures of calibrated scores that the card has."""


@dataclass(frozen=True, slots=True)
class CardModels:
    """Models of one finding, as they are exported."""

    finding: str
    specs: tuple[RunSpec, ...]
    """Of each seed."""
    kind: str
    """``last``, ``swa`` or ``snapshots``."""
    validation_auroc: float
    threshold: float | None
    calibration: str | None
    """``logistic``, ``isotonic``, or None where they are not calibrated."""
    test: pd.DataFrame
    """Rows of ``predictions.parquet`` of the test split, with the mean score of the seeds."""
    probabilities: NDArray[np.float64] | None
    """``(N,)`` calibrated, of the same rows."""

    @property
    def is_binary(self) -> bool:
        """Whether they are classifiers."""
        return self.specs[0].task.kind == "binary"


@dataclass(frozen=True, slots=True)
class CardResult:
    """What they are worth on the test images."""

    models: CardModels
    images: int
    positives: int
    patients: int
    measures: Mapping[str, Estimate]
    calibrated: Mapping[str, Estimate]
    """``OF_PROBABILITIES`` of calibrated scores; empty without any."""
    groups: Mapping[tuple[str, str], Estimate | None]
    """AUROC by attribute and slice; None where a slice has too few images of a class."""


def card_results(entries: Sequence[CardModels]) -> tuple[CardResult, ...]:
    """Measure each finding's models, with intervals over patients; the same rows give the same numbers."""
    return tuple(_result(models) for models in entries)


def _result(models: CardModels) -> CardResult:
    rows = models.test
    patients, names = pd.factorize(rows["patient"])
    draws = patient_draws(len(names), RESAMPLES, np.random.default_rng(BOOTSTRAP_SEED))
    scores = Scores(
        np.arange(len(rows), dtype=np.int32),
        patients.astype(np.int32),
        rows["label"].to_numpy() == 1,
        rows["score"].to_numpy(np.float64),
    )
    view, sex = (rows[name].fillna("").to_numpy(dtype=str) for name in ("view", "sex"))
    test = TestImages(len(names), view, sex, rows["age_years"].to_numpy(np.float64))
    return CardResult(
        models=models,
        images=len(rows),
        positives=int(scores.labels.sum()),
        patients=len(names),
        measures=measure(scores, models.threshold, draws, models.is_binary),
        calibrated=_calibrated(scores, models.probabilities, draws),
        groups={group: _auroc(scores.among(mask), draws) for group, mask in slices(test).items()},
    )


def _calibrated(scores: Scores, probabilities: NDArray[np.float64] | None, draws: Draws) -> dict[str, Estimate]:
    if probabilities is None:
        return {}
    calibrated = Scores(scores.images, scores.patients, scores.labels, probabilities)
    found = measure(calibrated, None, draws, True)
    return {key: found[key] for key in OF_PROBABILITIES}


def _auroc(part: Scores, draws: Draws) -> Estimate | None:
    fewest = min(part.labels.sum(), (~part.labels).sum())
    return measure(part, None, draws, False)["auroc"] if fewest >= FEWEST_OF_A_CLASS else None
