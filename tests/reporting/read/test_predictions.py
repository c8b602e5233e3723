from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from clr_hpc.reporting.read.predictions import Numbering, SplitScores, split_scores
from clr_hpc.store.predictions import read_predictions, to_frame
from clr_hpc.store.records import Damaged
from clr_hpc.store.results import state_of


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


def test_a_damaged_dictionary_changes_no_other_name(tmp_path: Path) -> None:
    """Nothing vouches for the file; pyarrow, where it keeps dictionaries, would give other rows other patients."""
    images = [f"{number:02}.png" for number in range(40)]
    patients = [f"p{number % 14:02}" for number in range(40)]
    rows = pd.concat([table().iloc[:1]] * 40, ignore_index=True).assign(image=images, patient=patients)
    file = tmp_path / "predictions.parquet"
    rows.to_parquet(file, compression="NONE", row_group_size=20)
    file.write_bytes(file.read_bytes().replace(b"p09", b"p08", 1))
    found = read_predictions(tmp_path, None)
    assert not isinstance(found, Damaged)
    assert found is not None
    read = to_frame(found)["patient"].tolist()
    assert {(before, after) for before, after in zip(patients, read, strict=True) if before != after} == {
        ("p09", "p08")
    }


@pytest.mark.parametrize("is_vouched_for", [False, True])
@pytest.mark.parametrize("written", [{"use_dictionary": False}, {"row_group_size": 2}], ids=str)
def test_however_text_is_encoded_it_is_the_same(
    written: dict[str, Any], is_vouched_for: bool, tmp_path: Path
) -> None:
    rows = pd.concat([table().iloc[::-1].assign(split="validation"), table()], ignore_index=True)
    ordinary = split_scores(read_predictions(write(rows, tmp_path / "ordinary"), None), Numbering())
    rows.to_parquet(tmp_path / "predictions.parquet", **written)
    state = state_of(tmp_path / "predictions.parquet") if is_vouched_for else None
    found = read_predictions(tmp_path, state)
    assert not isinstance(found, Damaged)
    assert found is not None
    pd.testing.assert_frame_equal(to_frame(found)[list(rows)], rows, check_dtype=False)
    scores = split_scores(found, Numbering())
    assert [list(scores[split].by_model) for split in ("validation", "test")] == [["swa", "last"], ["last", "swa"]]
    for split, of_split in scores.items():
        for model, expected in ordinary[split].by_model.items():
            np.testing.assert_array_equal(of_split.by_model[model], expected)
        assert of_split.orders == ordinary[split].orders


def test_scores_that_are_no_numbers_are_refused(tmp_path: Path) -> None:
    rows = table()
    rows.loc[1, "score"] = np.nan
    found = read_predictions(write(rows, tmp_path), None)
    assert isinstance(found, Damaged)
    assert "1 scores are no numbers" in found.reason


def test_nothing_is_known_of_no_image() -> None:
    assert Numbering().test_images().patients == 0
    assert len(Numbering().test_images().view) == 0
