"""What tells nothing of a finding's place must tell nothing of the finding: neither the grays nor the table.

The bound: with S films of which a share p has a finding, the AUROC of a score that knows nothing has the standard
deviation sqrt((S + 1) / (12 p (1 - p) S²)) (Hanley & McNeil 1982), at S = 1200 and p = 0.08 about 0.031. Films
of one patient resemble each other, which widens it; so 0.62 is about three deviations above chance. A fixed seed
draws the films, so the test gives the same answer every time.
"""

from pathlib import Path

import numpy as np
import pytest
from made_once import made_once
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import GroupKFold, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from clr_hpc.config.pathologies import PATHOLOGIES
from clr_hpc.data.source import ImageRecord
from clr_hpc.data.sources.phantom import PhantomSource

CHANCE = 0.62
Films = tuple[tuple[ImageRecord, ...], NDArray[np.uint8]]


@pytest.fixture(scope="module")
def films(tmp_path_factory: pytest.TempPathFactory) -> Films:
    source = PhantomSource(images=1200, seed=11)
    records = source.table().records

    def draw(folder: Path) -> None:
        np.save(folder / "films.npy", np.stack([source.read(record, 64)[0] for record in records]))

    return records, np.load(made_once(tmp_path_factory, "films", draw) / "films.npy")


def gray_statistics(pixels: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Mean, spread, 9 quantiles and a histogram of 16 bins, ``(N, 27)``."""
    flat = pixels.reshape(len(pixels), -1)
    histogram = np.stack([np.bincount(film // 16, minlength=16) for film in flat]) / flat.shape[1]
    return np.column_stack(
        [flat.mean(1), flat.std(1), np.quantile(flat, np.linspace(0.1, 0.9, 9), axis=1).T, histogram]
    )


def held_out_auroc(features: NDArray[np.float64], records: tuple[ImageRecord, ...], pathology: str) -> float:
    """AUROC of a logistic regression over five folds of patients."""
    truth = np.array([record.labels[PATHOLOGIES.index(pathology)] for record in records])
    model = make_pipeline(StandardScaler(), LogisticRegression(C=0.1, max_iter=500))
    patients = [record.patient for record in records]
    scores = cross_val_predict(
        model, features, truth, groups=patients, cv=GroupKFold(5), method="decision_function"
    )
    return float(roc_auc_score(truth, scores))


@pytest.mark.parametrize("pathology", PATHOLOGIES)
def test_grays_without_place_tell_nothing(films: Films, pathology: str) -> None:
    records, pixels = films
    assert held_out_auroc(gray_statistics(pixels), records, pathology) < CHANCE


@pytest.mark.parametrize("pathology", PATHOLOGIES)
def test_view_age_and_sex_tell_nothing(films: Films, pathology: str) -> None:
    records, _ = films
    columns = [[record.view == "AP", record.age_years, record.sex == "F"] for record in records]
    assert held_out_auroc(np.array(columns, dtype=float), records, pathology) < CHANCE


def test_the_probe_finds_a_shortcut_where_there_is_one(films: Films) -> None:
    records, pixels = films
    nodules = np.array([record.labels[PATHOLOGIES.index("nodule")] for record in records], dtype=np.uint8)
    brighter = np.clip(pixels.astype(int) + 12 * nodules[:, None, None], 0, 255).astype(np.uint8)
    assert held_out_auroc(gray_statistics(brighter), records, "nodule") > CHANCE
