from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from clr_hpc.reporting.read.predictions import Numbering, read_predictions


def table() -> pd.DataFrame:
    images = ["b.png", "a.png", "c.png"]
    facts = {
        "image": images,
        "patient": ["2", "1", "2"],
        "split": "test",
        "view": ["PA", None, "AP"],
        "age_years": [50.0, None, 7.0],
        "sex": ["F", "M", None],
        "label": np.array([0, 1, 1], dtype=np.int8),
    }
    parts = [
        pd.DataFrame({**facts, "model": model, "score": np.float32([0.1, 0.2, 0.3]) + add})
        for model, add in (("last", 0.0), ("swa", 0.5))
    ]
    return pd.concat(parts, ignore_index=True)


def test_models_and_runs_have_the_same_images_in_the_same_order(tmp_path: Path) -> None:
    numbering = Numbering()
    for name, rows in (("one", table()), ("other", table().iloc[::-1])):
        rows.to_parquet(tmp_path / name)
    one, other = (read_predictions(tmp_path / name, numbering)["test"] for name in ("one", "other"))
    for field in ("images", "patients", "labels"):
        np.testing.assert_array_equal(getattr(one, field), getattr(other, field))
    for model in ("last", "swa"):
        np.testing.assert_array_equal(one.by_model[model], other.by_model[model])
    np.testing.assert_array_equal(one.labels, [False, True, True])
    np.testing.assert_allclose(one.of("swa").scores, [0.6, 0.7, 0.8], atol=1e-6)


def test_what_is_known_of_the_test_images(tmp_path: Path) -> None:
    numbering = Numbering()
    table().to_parquet(tmp_path / "one")
    read_predictions(tmp_path / "one", numbering)
    facts = numbering.test_images()
    assert facts.patients == 2
    assert facts.view.tolist() == ["PA", "", "AP"]
    assert facts.sex.tolist() == ["F", "M", ""]
    np.testing.assert_array_equal(facts.age_years, [50.0, np.nan, 7.0])


def test_models_of_different_images_are_refused(tmp_path: Path) -> None:
    table().iloc[:-1].to_parquet(tmp_path / "cut.parquet")
    with pytest.raises(ValueError, match=r"cut\.parquet does not hold the same test images"):
        read_predictions(tmp_path / "cut.parquet", Numbering())


def test_scores_that_are_no_numbers_are_refused(tmp_path: Path) -> None:
    rows = table()
    rows.loc[1, "score"] = np.nan
    rows.to_parquet(tmp_path / "bad.parquet")
    with pytest.raises(ValueError, match="holds 1 scores that are no numbers"):
        read_predictions(tmp_path / "bad.parquet", Numbering())


def test_nothing_is_known_of_no_image() -> None:
    assert Numbering().test_images().patients == 0
    assert len(Numbering().test_images().view) == 0
