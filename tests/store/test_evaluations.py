import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from invented_study import InventedStudy

from clr_hpc.store.evaluations import Evaluated, Evaluation, read_evaluation, read_scores, write_evaluation
from clr_hpc.store.records import Damaged

SCORES = pd.DataFrame(
    {
        "side": ["internal", "external", "external"],
        "setting": [0, 0, 0],
        "image": ["a", "a", "b"],
        "patient": ["1", "1", "2"],
        "view": ["PA", None, "AP"],
        "sex": ["F", "M", None],
        "age_years": [40.0, None, 61.0],
        "label": [0, 1, 0],
        "score": [0.2, 0.7, 0.1],
        "calibrated": [0.1, 0.4, None],
    }
)


@pytest.fixture
def evaluated(tmp_path: Path) -> Evaluated:
    (tmp_path / "study").mkdir()
    return {
        "study": "trial",
        "own_pack": "0" * 64,
        "pack": {"name": "away", "checksum": "1" * 64, "split": None, "images": 2, "patients": 2},
        "device": "cpu",
        "overlap": {"seen_images": [], "seen_patients": [], "left_out": 0, "tested": []},
        "settings": [
            {
                "spec": InventedStudy(tmp_path / "study").runs[0],
                "model": "last",
                "seeds": [0],
                "is_best": True,
                "validation_auroc": 0.7,
                "threshold": None,
                "calibration": "logistic",
                "unlabelled": 0,
                "gap": None,
            }
        ],
    }


def written(folder: Path, evaluated: Evaluated, scores: pd.DataFrame = SCORES) -> Evaluation:
    write_evaluation(folder, evaluated, scores)
    found = read_evaluation(folder)
    assert found is not None
    assert not isinstance(found, Damaged)
    return found


def test_what_is_written_is_read(tmp_path: Path, evaluated: Evaluated) -> None:
    assert read_evaluation(tmp_path) is None
    record = written(tmp_path, evaluated)
    assert {key: record[key] for key in evaluated} == evaluated  # type: ignore[literal-required]
    table = read_scores(tmp_path, record)
    assert not isinstance(table, Damaged)
    pd.testing.assert_frame_equal(table.to_pandas()[list(SCORES)], SCORES, check_dtype=False)


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"side": "inside"}, "side has 'inside'"),
        ({"label": 2}, "label has 2"),
        ({"setting": 1}, "setting has 1"),
        ({"image": "b"}, "it holds an image twice for one setting"),
        ({"score": float("inf")}, "a score is no number"),
        ({"patient": None}, "column patient has rows without a value"),
    ],
)
def test_scores_that_make_no_sense_are_damaged(
    changes: dict[str, Any], told: str, tmp_path: Path, evaluated: Evaluated
) -> None:
    record = written(tmp_path, evaluated, SCORES.assign(**changes))
    found = read_scores(tmp_path, record)
    assert isinstance(found, Damaged)
    assert told in found.reason
    assert "clr-hpc evaluate" in found.remedy


def test_changed_files_are_damaged(tmp_path: Path, evaluated: Evaluated) -> None:
    record = written(tmp_path, evaluated)
    file = tmp_path / "scores.parquet"
    content = bytearray(file.read_bytes())
    content[20] ^= 1
    file.write_bytes(content)
    found = read_scores(tmp_path, record)
    assert isinstance(found, Damaged)
    assert "its SHA-256 is" in found.reason
    file.unlink()
    assert isinstance(read_scores(tmp_path, record), Damaged)
    values = json.loads((tmp_path / "evaluation.json").read_text())
    values["settings"][0]["spec"]["seed"] = -1
    (tmp_path / "evaluation.json").write_text(json.dumps(values))
    assert isinstance(read_evaluation(tmp_path), Damaged)
