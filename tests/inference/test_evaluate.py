import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.metrics import average_precision_score, brier_score_loss, roc_auc_score
from trial_study import TrialStudy
from typer.testing import CliRunner

from clr_hpc.cli.app import app
from clr_hpc.data.pack import Pack
from clr_hpc.inference.study import TrainedStudy

PackElsewhere = Callable[..., Pack]


@pytest.fixture(scope="module")
def elsewhere(pack_elsewhere: PackElsewhere, small_pack: Pack) -> Pack:
    """80 films of others; one of them has a film that the study trained on, and one a film of its test images."""
    trained_on, tested = (
        small_pack.index["image"].iloc[small_pack.rows_of(split)[0]] for split in ("train", "test")
    )
    others = ("phantom_00003", "phantom_00004")
    return pack_elsewhere("elsewhere", images=80, smuggled=tuple(zip((trained_on, tested), others, strict=True)))


@pytest.fixture(scope="module")
def folder(study: TrialStudy, elsewhere: Pack) -> Path:
    """The evaluation on that pack, all settings."""
    told = CliRunner().invoke(
        app, ["evaluate", str(results(study)), "--pack", str(elsewhere.folder), "--all", "--device", "cpu"]
    )
    assert told.exit_code == 0, told.output
    assert "since 1 file of the pack is among those of patients whom the study has trained" in told.output
    assert "1 file is among the study’s own test images" in told.output
    return results(study) / "evaluations" / "elsewhere"


def results(study: TrialStudy) -> Path:
    return study.file.parent / "results" / "trial"


def test_a_smuggled_patient_is_found_and_left_out(folder: Path, elsewhere: Pack) -> None:
    record = json.loads((folder / "evaluation.json").read_text())
    patients = elsewhere.index.set_index("image")["patient"]
    assert [name.split("_")[0] for name in record["overlap"]["seen_images"]] == ["smuggled"]
    assert record["overlap"]["seen_patients"] == ["phantom_00003"]
    assert record["overlap"]["left_out"] == (patients == "phantom_00003").sum() > 1
    scored = pd.read_parquet(folder / "scores.parquet").query("side == 'external'")
    assert set(scored["image"]) == set(patients.index[patients != "phantom_00003"])
    assert set(record["overlap"]["tested"]) < set(scored["image"])


def test_scores_are_those_of_predict_and_of_the_runs(folder: Path, trained: TrainedStudy, elsewhere: Pack) -> None:
    settings = json.loads((folder / "evaluation.json").read_text())["settings"]
    scores = pd.read_parquet(folder / "scores.parquet")
    assert len(settings) == len(trained.settings)
    predicted = trained.predict(elsewhere).set_index("image")
    for number, setting in enumerate(settings):
        if not setting["is_best"]:
            continue
        finding = "cardiomegaly" if setting["calibration"] else "no_finding-nearest_neighbours"
        of_setting = scores[scores["setting"] == number]
        external = of_setting[of_setting["side"] == "external"].set_index("image")
        # another number of images in a batch rounds otherwise
        assert_allclose(external["score"], predicted.loc[external.index, finding], rtol=1e-5)
        if finding == "cardiomegaly":
            assert_allclose(
                external["calibrated"], predicted.loc[external.index, "cardiomegaly_calibrated"], rtol=1e-4
            )
        internal = of_setting[of_setting["side"] == "internal"].sort_values("image")
        known, labels, _ = trained.best(finding).known_scores("test")
        assert_array_equal(internal["score"], known)
        assert_array_equal(internal["label"] == 1, labels)
        assert setting["threshold"] == trained.best(finding).threshold


def test_measures_are_those_of_scikit_learn(folder: Path) -> None:
    table = pd.read_csv(folder / "results.csv")
    scores = pd.read_parquet(folder / "scores.parquet").query("side == 'external'")
    for number, row in table.iterrows():
        own = scores[scores["setting"] == number]
        measured = {name.removeprefix("external_"): row[name] for name in table if name.startswith("external_")}
        assert measured["auroc"] == pytest.approx(roc_auc_score(own["label"], own["score"]))
        assert measured["average_precision"] == pytest.approx(average_precision_score(own["label"], own["score"]))
        called = own["score"] >= row["threshold"]
        assert measured["sensitivity"] == pytest.approx(called[own["label"] == 1].mean())
        assert measured["specificity"] == pytest.approx((~called[own["label"] == 0]).mean())
        if row["finding"] == "cardiomegaly":
            calibrated = own["calibrated"]
            assert measured["brier_calibrated"] == pytest.approx(brier_score_loss(own["label"], calibrated))
            ratio = calibrated.sum() / own["label"].sum()
            assert measured["expected_observed_calibrated"] == pytest.approx(ratio)
    assert table["best_on_validation"].sum() == table["finding"].nunique() == 2


def test_an_unlabelled_finding_is_said(study: TrialStudy, pack_elsewhere: PackElsewhere) -> None:
    partly = pack_elsewhere("partly", images=40, findings=("effusion", "mass"))
    words = ["evaluate", str(results(study)), "--pack", str(partly.folder), "--device", "cpu"]
    told = CliRunner().invoke(app, words)
    assert told.exit_code == 0, told.output
    assert "Not judged: Cardiomegaly (the pack has no label cardiomegaly)" in told.output
    alone = CliRunner().invoke(app, [*words, "--finding", "cardiomegaly"])
    assert alone.exit_code == 2, alone.output
    assert "it can judge none of this study's findings: the pack has no label cardiomegaly; it has labels of" in (
        " ".join(alone.output.split())
    )


def test_a_pack_that_cannot_judge_is_an_error(
    study: TrialStudy,
    small_pack: Pack,
    pack_elsewhere: PackElsewhere,
    elsewhere: Pack,
    folder: Path,
    tmp_path: Path,
) -> None:
    """``folder`` stands for the evaluation that is there already."""
    small = pack_elsewhere("small", size=32, images=20)
    train = small_pack.index["image"].iloc[small_pack.rows_of("train")]
    known = pack_elsewhere("known", images=1, smuggled=tuple((film, "phantom_00000") for film in train[:3]))
    for words, told in (
        (["--pack", small.folder], "has images of 32 pixels a side, and this study's pack of 64; pack them with"),
        (["--pack", small_pack.folder], "is the pack that this study was trained on"),
        (["--pack", elsewhere.folder, "--name", "a/b"], "'a/b' can't name the evaluation's folder"),
        (
            ["--pack", elsewhere.folder, "--split", "test"],
            "has the evaluation on another pack, or another part of it",
        ),
        (["--pack", elsewhere.folder, "--finding", "mass"], "unknown finding of this study's models: 'mass'"),
        (["--pack", elsewhere.folder, "--trained-on", tmp_path], "give its folder with --trained-on"),
        (
            ["--pack", elsewhere.folder, "--trained-on", small.folder],
            f"has checksum {small.manifest.checksum[:8]}…",
        ),
        (
            ["--pack", known.folder],
            "are of patients whom the study has trained or validated on",
        ),
    ):
        said = CliRunner().invoke(app, ["evaluate", str(results(study)), *map(str, words), "--device", "cpu"])
        assert said.exit_code == 2, said.output
        assert told in " ".join(said.output.split())
    assert (folder / "evaluation.json").exists()


def test_the_index_of_a_moved_pack_is_enough(
    study: TrialStudy, small_pack: Pack, elsewhere: Pack, tmp_path: Path
) -> None:
    for name in ("manifest.json", "index.parquet"):
        (tmp_path / name).write_bytes((small_pack.folder / name).read_bytes())
    words = ["--pack", str(elsewhere.folder), "--trained-on", str(tmp_path), "--name", "moved", "--device", "cpu"]
    said = CliRunner().invoke(app, ["evaluate", str(results(study)), *words, "--finding", "cardiomegaly"])
    assert said.exit_code == 0, said.output
    record = json.loads((results(study) / "evaluations" / "moved" / "evaluation.json").read_text())
    assert len(record["settings"]) == 1
    assert np.isfinite(record["settings"][0]["validation_auroc"])
