from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from clr_hpc.reporting.read.predictions import Numbering, SplitScores, split_scores
from clr_hpc.store.predictions import read_predictions, to_frame
from clr_hpc.store.records import Damaged


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


def write(rows: pd.DataFrame, folder: Path) -> Path:
    folder.mkdir(exist_ok=True)
    rows.to_parquet(folder / "predictions.parquet")
    return folder


def read(folder: Path, numbering: Numbering) -> SplitScores:
    return split_scores(read_predictions(folder, None), numbering)["test"]


def test_models_and_runs_have_the_same_images_in_the_same_order(tmp_path: Path) -> None:
    numbering = Numbering()
    for name, rows in (("one", table()), ("other", table().iloc[::-1])):
        write(rows, tmp_path / name)
    one, other = (read(tmp_path / name, numbering) for name in ("one", "other"))
    for field in ("images", "patients", "labels"):
        np.testing.assert_array_equal(getattr(one, field), getattr(other, field))
    for model in ("last", "swa"):
        np.testing.assert_array_equal(one.by_model[model], other.by_model[model])
    np.testing.assert_array_equal(one.labels, [False, True, True])
    np.testing.assert_allclose(one.of("swa").scores, [0.6, 0.7, 0.8], atol=1e-6)


def test_what_is_known_of_the_test_images(tmp_path: Path) -> None:
    numbering = Numbering()
    read(write(table(), tmp_path), numbering)
    facts = numbering.test_images()
    assert facts.patients == 2
    assert facts.view.tolist() == ["PA", "", "AP"]
    assert facts.sex.tolist() == ["F", "M", ""]
    np.testing.assert_array_equal(facts.age_years, [50.0, np.nan, 7.0])


def test_models_of_different_images_are_refused(tmp_path: Path) -> None:
    found = read_predictions(write(table().iloc[:-1], tmp_path), None)
    assert isinstance(found, Damaged)
    assert found.file == tmp_path / "predictions.parquet"
    assert "it does not hold each image of a split once for each of the run's models" in found.reason


def test_an_image_twice_is_refused_though_the_file_numbers_it_twice(tmp_path: Path) -> None:
    """A dictionary may hold a value twice; then different numbers are one name."""
    rows = pa.Table.from_pandas(table().iloc[:2], preserve_index=False)
    twice = pa.DictionaryArray.from_arrays(pa.array([0, 1], pa.int32()), pa.array(["a.png", "a.png"]))
    pq.write_table(rows.set_column(0, "image", twice), tmp_path / "predictions.parquet")
    found = read_predictions(tmp_path, None)
    assert isinstance(found, Damaged)
    assert "it does not hold each image of a split once" in found.reason


@pytest.mark.parametrize("written", [{"use_dictionary": False}, {"row_group_size": 2}], ids=str)
def test_however_text_is_encoded_it_is_the_same(written: dict[str, Any], tmp_path: Path) -> None:
    rows = table()
    rows.to_parquet(tmp_path / "predictions.parquet", **written)
    found = read_predictions(tmp_path, None)
    assert not isinstance(found, Damaged)
    assert found is not None
    pd.testing.assert_frame_equal(to_frame(found)[list(rows)], rows, check_dtype=False)
    assert split_scores(found, Numbering())["test"].by_model.keys() == {"last", "swa"}


def test_scores_that_are_no_numbers_are_refused(tmp_path: Path) -> None:
    rows = table()
    rows.loc[1, "score"] = np.nan
    found = read_predictions(write(rows, tmp_path), None)
    assert isinstance(found, Damaged)
    assert "1 scores are no numbers" in found.reason


def test_nothing_is_known_of_no_image() -> None:
    assert Numbering().test_images().patients == 0
    assert len(Numbering().test_images().view) == 0
