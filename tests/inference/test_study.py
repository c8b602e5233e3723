import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from PIL import Image
from trial_study import TrialStudy
from typer.testing import CliRunner

import clr_hpc
from clr_hpc.cli.app import app
from clr_hpc.config.base import UserError
from clr_hpc.config.load import load_study
from clr_hpc.data.pack import Pack
from clr_hpc.inference.study import TrainedStudy
from clr_hpc.store.study_folder import StudyFolder


def test_every_model_scores_the_test_images_as_its_run_did(trained: TrainedStudy, small_pack: Pack) -> None:
    assert {model.name for model in trained.models} == {"last", "snapshots", "swa"}
    for model in trained.models:
        recorded = pd.read_parquet(model.folder / "predictions.parquet")
        recorded = recorded[(recorded["split"] == "test") & (recorded["model"] == model.name)]
        rows = small_pack.rows_of("test")
        rows = rows[small_pack.index["image"].iloc[rows].isin(recorded["image"]).to_numpy()]
        assert_array_equal(small_pack.index["image"].iloc[rows].to_numpy(dtype=str), recorded["image"])
        assert_array_equal(model.scores(small_pack.gather(rows)), recorded["score"].to_numpy(np.float32))


def test_the_best_is_chosen_by_validation_alone(trained: TrainedStudy) -> None:
    best = trained.best("cardiomegaly")
    assert [model.spec.seed for model in best.models] == [0, 1]
    assert len({(model.spec.policy.name, model.name) for model in best.models}) == 1
    by_setting: dict[tuple[str, str, str], list[float]] = {}
    for model in trained.models:
        if model.finding == "cardiomegaly":
            key = (model.spec.stage, model.spec.policy.name, model.name)
            by_setting.setdefault(key, []).append(model.validation_auroc)
    assert best.validation_auroc == max(np.mean(values) for values in by_setting.values())
    with pytest.raises(UserError, match="unknown finding of this study's models: 'mass'; known are cardiomegaly"):
        trained.best("mass")


def test_images_are_scored_from_files_arrays_and_packs_alike(
    trained: TrainedStudy, small_pack: Pack, tmp_path: Path
) -> None:
    rows = small_pack.rows_of("test")[:5]
    pixels = small_pack.gather(rows)
    for number, picture in enumerate(pixels):
        Image.fromarray(picture).save(tmp_path / f"{number}.png")
    from_files = trained.predict(tmp_path)
    assert list(from_files["image"]) == [str(tmp_path / f"{number}.png") for number in range(5)]
    deep = [picture.astype(np.uint16) * 257 for picture in pixels]
    for others in (list(pixels), deep, [Image.fromarray(picture) for picture in pixels]):
        again = trained.predict(others)
        pd.testing.assert_frame_equal(again.drop(columns="image"), from_files.drop(columns="image"))
    of_pack = trained.predict(small_pack, split="test")
    assert len(of_pack) == len(small_pack.rows_of("test"))
    pd.testing.assert_frame_equal(trained.predict(str(small_pack.folder), split="test"), of_pack)
    with pytest.raises(UserError, match=r"image 0 is uint8 of shape \(2, 64, 64\).*several as a list"):
        trained.predict(pixels[:2])
    # another number of images in a batch rounds otherwise
    assert_allclose(of_pack["cardiomegaly"].to_numpy()[:5], from_files["cardiomegaly"].to_numpy(), rtol=1e-5)
    one_class = "no_finding-nearest_neighbours"
    assert list(from_files.columns) == [
        *("image", "cardiomegaly", "cardiomegaly_spread", "cardiomegaly_calibrated", "cardiomegaly_call"),
        *(one_class, f"{one_class}_spread", f"{one_class}_quantile", f"{one_class}_call", "reason"),
    ]
    best = trained.best("cardiomegaly")
    assert_array_equal(from_files["cardiomegaly_call"], from_files["cardiomegaly"] >= best.threshold)
    assert from_files[f"{one_class}_quantile"].between(0, 1).all()


def test_bits_of_deep_images_are_found_as_packing_finds_them(
    trained: TrainedStudy, small_pack: Pack, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    pixels = small_pack.gather(small_pack.rows_of("test")[:4])
    pixels[0, 0, 0] = 255
    twelve = [np.round(picture / 255 * 4095).astype(np.uint16) for picture in pixels]
    for number, picture in enumerate(twelve):
        Image.fromarray(picture).save(tmp_path / f"{number}.png")
    expected = trained.predict(list(pixels))["cardiomegaly"]
    for given in (tmp_path, twelve):
        assert_array_equal(trained.predict(given)["cardiomegaly"], expected)
        assert "so they are read as 12 bits" in caplog.text
        caplog.clear()


def test_the_command_scores_what_it_can_read_and_names_the_rest(
    study: TrialStudy, small_pack: Pack, tmp_path: Path
) -> None:
    folder = tmp_path / "films"
    folder.mkdir()
    for number, picture in enumerate(small_pack.gather(small_pack.rows_of("test")[:3])):
        Image.fromarray(picture).save(folder / f"{number}.png")
    (folder / "broken.png").write_bytes(b"no image")
    results = study.file.parent / "results" / "trial"
    output = tmp_path / "scores.csv"
    told = CliRunner().invoke(app, ["predict", str(results), str(folder), "--output", str(output)])
    assert told.exit_code == 1, told.output
    assert "3 images scored" in told.output
    assert f"not scored: {folder / 'broken.png'}: not an image, or of a format that isn't known" in told.output
    table = pd.read_csv(output).set_index("image")
    assert table.loc[str(folder / "broken.png"), "reason"] == "not an image, or of a format that isn't known"
    assert table["cardiomegaly"].notna().sum() == 3
    whole = CliRunner().invoke(
        app,
        ["predict", str(results), "--pack", str(small_pack.folder), "--split", "test", "--output", str(output)],
    )
    assert whole.exit_code == 0, whole.output
    assert len(pd.read_csv(output)) == len(small_pack.rows_of("test"))


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ([], "name image files or folders, or a pack with --pack; one of the two"),
        (["--split", "test", "."], "--split test needs --pack"),
        (["--device", "cuda:9", "."], "--device cuda:9: torch can't compute on it here"),
        (["--bits", "99", "."], "--bits 99: give a number from 8 to 16, or image"),
        (["--finding", "mass", "."], "unknown finding of this study's models: 'mass'; known are cardiomegaly"),
        ([".", "--output", "labels.csv"], "labels.csv is there, and not a table of scores"),
        (["nowhere"], "nowhere is not a folder"),
        ([".", "--output", "scores.xlsx"], "ends in .xlsx"),
    ],
)
def test_mistakes_are_answered(
    words: list[str], told: str, study: TrialStudy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "labels.csv").write_text("image,label\n")
    said = CliRunner().invoke(app, ["predict", str(study.file.parent / "results" / "trial"), *words])
    assert said.exit_code == 2, said.output
    assert told in " ".join(said.output.split())


@pytest.mark.parametrize("name", ["predictions.parquet", "checkpoints/*.safetensors"])
def test_damaged_files_are_named(name: str, study: TrialStudy, trained: TrainedStudy, tmp_path: Path) -> None:
    (file,) = trained.best("no_finding-nearest_neighbours").models[0].folder.glob(name)
    content = file.read_bytes()
    try:
        file.write_bytes(content[:-1] + b"!")
        results = str(study.file.parent / "results" / "trial")
        Image.fromarray(np.arange(4096).reshape(64, 64).astype(np.uint8)).save(tmp_path / "a.png")
        said = CliRunner().invoke(app, ["predict", results, str(tmp_path), "--output", str(tmp_path / "s.csv")])
    finally:
        file.write_bytes(content)
    assert said.exit_code == 2, said.output
    assert file.name in "".join(said.output.split())


def test_a_study_without_a_run_that_is_done(
    write_study: Callable[..., TrialStudy], small_pack: Pack, tmp_path: Path
) -> None:
    with pytest.raises(UserError, match="no study was started here"):
        clr_hpc.load(tmp_path)
    folder = StudyFolder(tmp_path / "results" / "trial")
    folder.prepare(load_study(write_study().file), small_pack.folder)
    with pytest.raises(UserError, match="none of its 2 runs is done; train it with 'clr-hpc run'"):
        clr_hpc.load(folder.path)


def test_tasks_without_a_model_yet_are_named(
    study: TrialStudy, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = tmp_path / "results"
    shutil.copytree(study.file.parent / "results", folder)
    for run in (folder / "trial" / "runs").glob("no_finding*"):
        shutil.rmtree(run)
    assert clr_hpc.load(folder / "trial").findings == ("cardiomegaly",)
    assert "1 of 2 tasks have no model yet: no_finding-nearest_neighbours" in caplog.text
