"""The report's section on heat maps, from the record that ``clr-hpc explain`` leaves."""

import json
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
from made_records import explanations

from clr_hpc.reporting.page.heat_maps import read_heat_maps
from clr_hpc.reporting.report import write_report

StudyMaker = Callable[..., Path]


def test_a_study_with_a_record_has_the_section(make_study: StudyMaker) -> None:
    folder = make_study()
    assert "Where the models look" not in write_report(folder, "none").read_text()
    assert not (folder / "report" / "localisation.csv").exists()
    (folder / "explanations.json").write_text(json.dumps(explanations("effusion", "pneumothorax")))
    text = write_report(folder, "none").read_text()
    assert '<a href="#heat-maps-section">Where the models look</a>' in text
    figures = "(50% of 20 images, by chance 20%, with random weights 20%, always at the middle of the image 0%)"
    assert f"Effusion {figures} and Pneumothorax {figures}." in text
    assert "of the test split of another pack (c0ffee000000)" in text
    assert "results are exploratory and adjusted for nothing" in text
    table = pd.read_csv(folder / "report" / "localisation.csv")
    assert list(table["figure"]) == ["pointing", "inside", "overlap"] * 2
    assert table["over_chance"].iloc[0] == pytest.approx(0.3)


@pytest.mark.parametrize(
    ("pack", "split", "said"),
    [
        ("own", "test", "of the test split of the study’s pack. Intervals"),
        (
            "own",
            "train",
            "of the train split of the study’s pack. The models were trained on some of these images.",
        ),
        ("own", None, "of the study’s pack, of all splits. The models were trained on some of these images."),
        ("other", None, "of another pack (c0ffee000000), of all splits. Intervals"),
    ],
)
def test_what_was_measured_on_is_said(pack: str, split: str | None, said: str, tmp_path: Path) -> None:
    record = explanations("effusion", split=split)
    (tmp_path / "explanations.json").write_text(json.dumps(record))
    found = read_heat_maps(tmp_path, record["pack"] if pack == "own" else "0" * 64)
    assert found is not None
    assert said in found.sentences[-1]
