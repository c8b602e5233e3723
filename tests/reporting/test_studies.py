import json
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
from sklearn.metrics import roc_auc_score
from typer.testing import CliRunner

from clr_hpc.cli.app import app
from clr_hpc.config.base import UserError
from clr_hpc.reporting.read import study
from clr_hpc.reporting.report import write_report
from clr_hpc.reporting.studies import write_comparison
from clr_hpc.store.predictions import read_predictions
from clr_hpc.store.results import FileState

StudyMaker = Callable[..., Path]
FINDINGS = ("effusion", "pneumothorax")


def test_a_better_study_is_told_from_a_worse_one(make_study: StudyMaker, tmp_path: Path) -> None:
    good = make_study(name="good", skill={"constant": 0.9, "triangular": 1.6}, seeds=(0, 1, 2))
    bad = make_study(name="bad", skill={"constant": 0.5}, seeds=(0, 1, 2), architectures=("alexnet",))
    page = write_comparison([bad, good], tmp_path / "out")
    assert page.answer.startswith("good has the highest mean validation AUROC")
    assert "significantly worse" in page.answer
    text = page.path.read_text()
    assert "good" in text
    assert "MobileNetV1, SGD, Triangular" in text, "the best setting on validation stands for a study"
    findings = pd.read_csv(page.path.with_name("findings.csv"))
    assert findings[["finding", "study"]].to_numpy().tolist() == [
        [name, study] for name in ("Effusion", "Pneumothorax") for study in ("bad", "good")
    ]
    for row in findings.itertuples():
        policy = "triangular" if row.study == "good" else "constant"
        runs = [
            pd.read_parquet(path / "predictions.parquet").query("split == 'test' and model == 'last'")
            for path in (tmp_path / row.study / "runs").glob(f"{row.finding.lower()}.*.{policy}.*")
        ]
        assert len(runs) == 3
        mean = sum(roc_auc_score(run["label"], run["score"]) for run in runs) / 3
        assert row.auroc == pytest.approx(mean)
    assert (findings.loc[findings["study"] == "bad", "difference"] < 0).all()
    assert (findings.loc[findings["study"] == "bad", "p_holm"] < 0.05).all()
    studies = pd.read_csv(page.path.with_name("studies.csv")).set_index("contender")
    difference = findings.loc[findings["study"] == "bad", "difference"].mean()
    assert studies.loc["bad", "difference_from_reference"] == pytest.approx(difference)
    assert studies.loc["bad", "verdict"] == "worse"


def test_equal_studies_are_equivalent_and_one_seed_is_not_judged(make_study: StudyMaker, tmp_path: Path) -> None:
    same = [make_study(name=name, skill={"constant": 1.0}, seeds=(0, 1)) for name in ("one", "two")]
    assert "equivalent" in write_comparison(same, tmp_path / "out").answer
    alone = make_study(name="three", skill={"constant": 1.2})
    answer = write_comparison([same[0], alone], tmp_path / "alone").answer
    assert "Not judged: these runs have one seed" in answer


def test_what_reports_know_of_the_predictions_is_not_parsed_again(
    make_study: StudyMaker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folders = [make_study(name=name, skill={"constant": skill}) for name, skill in (("one", 1.0), ("two", 1.5))]
    before = write_comparison(folders, tmp_path / "out", ["effusion"]).path.read_bytes()
    for folder in folders:
        write_report(folder, "none")
    parsed = []

    def counted(folder: Path, state: FileState | None) -> object:
        parsed.append(folder.name)
        return read_predictions(folder, state)

    monkeypatch.setattr(study, "read_predictions", counted)
    assert write_comparison(folders, tmp_path / "out", ["effusion"]).path.read_bytes() == before
    assert [name.partition(".")[0] for name in parsed] == ["effusion"] * 2, "those that are compared"


def test_the_same_folders_give_the_same_bytes_by_command(make_study: StudyMaker, tmp_path: Path) -> None:
    folders = [make_study(name=name, skill={"constant": skill}) for name, skill in (("one", 1.0), ("two", 1.5))]
    output = tmp_path / "out"
    words = ["compare", *map(str, folders), "--output", str(output), "--finding", "effusion"]
    told = CliRunner().invoke(app, words)
    assert told.exit_code == 0, told.output
    assert f"comparison: {output / 'comparison.html'}" in told.output
    before = {path.name: path.read_bytes() for path in output.iterdir()}
    assert set(before) == {"comparison.html", "findings.csv", "studies.csv"}
    assert CliRunner().invoke(app, words).exit_code == 0
    assert {path.name: path.read_bytes() for path in output.iterdir()} == before
    assert set(pd.read_csv(output / "findings.csv")["finding"]) == {"Effusion"}


def test_what_cannot_be_compared_is_an_error(make_study: StudyMaker, tmp_path: Path) -> None:
    one = make_study(name="one")
    others = {
        "more": make_study(name="more", pathologies=(*FINDINGS, "edema")),
        "pack": make_study(name="pack", positives={"edema": 3}),
        "seeds": make_study(name="seeds", seeds=(7,)),
        "images": make_study(name="images"),
        "none": make_study(name="none"),
        "margin": make_study(name="margin"),
    }
    for path in others["images"].glob("runs/effusion*/predictions.parquet"):
        table = pd.read_parquet(path)
        table.query("view == 'PA'").to_parquet(path)
    for path in others["none"].glob("runs/*/result.json"):
        path.write_text(json.dumps({"status": "failed", "reason": "ValueError: x", "samples": 0, "seconds": 1.0}))
    text = (others["margin"] / "study.yaml").read_text()
    (others["margin"] / "study.yaml").write_text(f"{text}question: {{margin: 0.05}}\n")
    for name, told in (
        ("more", r"one has no run that is done of Edema.*--finding effusion --finding pneumothorax"),
        ("pack", r"one and pack have different packs \(checksums"),
        ("seeds", r"no seed is done in all studies and findings \(one has 0; seeds has 7\)"),
        ("images", r"Effusion was tested on \d+ images in one and on \d+ in images, \d+ of them the same"),
        ("none", "none has no classifier that is done"),
        (
            "margin",
            r"declare different margins \(0\.01, 0\.05\): say which difference counts as none with --margin",
        ),
    ):
        with pytest.raises(UserError, match=told):
            write_comparison([one, others[name]], tmp_path / "out")
    with pytest.raises(UserError, match="a comparison needs two studies or more"):
        write_comparison([one, one], tmp_path / "out")
    with pytest.raises(
        UserError, match="unknown finding of these studies: 'mass'; known are effusion, pneumothorax, edema"
    ):
        write_comparison([one, others["more"]], tmp_path / "out", ["mass"])
    assert not (tmp_path / "out").exists()
    write_comparison([one, others["more"]], tmp_path / "out", FINDINGS)
    write_comparison([one, others["margin"]], tmp_path / "out", margin=0.01)
