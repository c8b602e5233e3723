"""Baselines and the runs that start from them: order, weights, damage, models at cycle ends, thresholds."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import tiny_run
import torch
from made_once import made_once

from clr_hpc.config.expand import expand
from clr_hpc.config.run import RunSpec
from clr_hpc.config.study import Study
from clr_hpc.data.pack import Pack
from clr_hpc.models.one_class.base import threshold
from clr_hpc.places.queue import Assignment, ListedRuns
from clr_hpc.training.checkpoint import load_tensors
from clr_hpc.training.distributed import ProcessGroup
from clr_hpc.training.run import RunSettings, train_run

CPU = torch.device("cpu")
METHODS = ["deep_svdd", "autoencoder", "one_class_svm", "isolation_forest", "nearest_neighbours", "padim"]
STUDY = {
    "name": "trial",
    "pack": "packs/none",
    "pathologies": ["cardiomegaly"],
    "one_class": [{"methods": METHODS, "features_of": "cardiomegaly", "threshold_quantile": 0.8}],
    "architectures": [tiny_run.NETWORK],
    "optimizers": ["sgd"],
    "rates": {"sgd": {"lr_min": 0.001, "lr_max": 0.01}},
    "stages": {
        "baseline": {"policies": ["cosine"], "epochs": 1},
        "retrain": {"policies": [{"name": "triangular", "half_cycle_epochs": 0.5}], "epochs": 2},
    },
    "training": {"epochs": 1, "image_size": 32, "batch_size": 32},
}


pytestmark = pytest.mark.usefixtures("one_thread")


def runs_of(pack: Pack, **of_retraining: str) -> list[RunSpec]:
    stages = STUDY["stages"] | {"retrain": STUDY["stages"]["retrain"] | of_retraining}
    return list(expand(Study.model_validate(STUDY | {"stages": stages}), pack.manifest.checksum))


def train(spec: RunSpec, pack: Pack, runs_folder: Path) -> str:
    return train_run(
        spec, pack, runs_folder / spec.name, ProcessGroup.alone(CPU), lambda: False, RunSettings(1e9), "test"
    )


def result(spec: RunSpec, runs_folder: Path) -> dict[str, Any]:
    return json.loads((runs_folder / spec.name / "result.json").read_text())


@pytest.fixture(scope="module")
def finished(small_pack: Pack, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The runs folder of the whole study; tests copy what they change."""

    def make(folder: Path) -> None:
        assert [train(spec, small_pack, folder) for spec in runs_of(small_pack)] == ["done"] * 13

    return made_once(tmp_path_factory, "stages", make)


@pytest.mark.parametrize(("weights", "optimizer"), [("last", "fresh"), ("last", "continued"), ("best", "fresh")])
def test_retraining_starts_from_what_was_chosen(
    weights: str, optimizer: str, finished: Path, small_pack: Pack, tmp_path: Path
) -> None:
    baseline, _, retrained, *_ = runs_of(small_pack, weights=weights, optimizer=optimizer)
    shutil.copytree(finished / baseline.name, tmp_path / baseline.name)
    outcome = train_run(
        retrained,
        small_pack,
        tmp_path / retrained.name,
        ProcessGroup.alone(CPU),
        lambda: True,
        RunSettings(1e9),
        "test",
    )
    assert outcome == "stopped"
    (first_checkpoint,) = (tmp_path / retrained.name / "checkpoints").glob("*.safetensors")
    after_one_step, _ = load_tensors(first_checkpoint)
    start = baseline_file(tmp_path / baseline.name, weights)
    before, _ = load_tensors(start)
    name = "model.backbone.conv_stem.weight"
    moved = (after_one_step[name] - before[name]).abs().max()
    assert 0 < moved < 0.05, "one step at the lowest rate away from the baseline"
    counter = "model.backbone.bn1.num_batches_tracked"
    assert after_one_step[counter] == before[counter] + 1


def baseline_file(folder: Path, weights: str) -> Path:
    return (
        folder / "best.safetensors" if weights == "best" else max((folder / "checkpoints").glob("*.safetensors"))
    )


def test_continued_momenta_make_another_first_step(finished: Path, small_pack: Pack, tmp_path: Path) -> None:
    stems = []
    for optimizer in ("fresh", "continued"):
        baseline, _, retrained, *_ = runs_of(small_pack, optimizer=optimizer)
        shutil.copytree(finished / baseline.name, tmp_path / optimizer / baseline.name)
        folder = tmp_path / optimizer / retrained.name
        train_run(retrained, small_pack, folder, ProcessGroup.alone(CPU), lambda: True, RunSettings(1e9), "test")
        stems.append(load_tensors(baseline_file(folder, "last"))[0]["model.backbone.conv_stem.weight"])
    assert not torch.equal(*stems)


def test_cycle_ends_give_an_ensemble_and_an_average(finished: Path, small_pack: Pack) -> None:
    _, control, retrained, *_ = runs_of(small_pack)
    assert set(result(retrained, finished)["models"]) == {"last", "snapshots", "swa"}
    assert set(result(control, finished)["models"]) == {"last"}
    predictions = pd.read_parquet(finished / retrained.name / "predictions.parquet")
    scores = {name: table.set_index("image")["score"] for name, table in predictions.groupby("model")}
    assert not np.allclose(scores["last"], scores["swa"])
    assert set(predictions["split"]) == {"validation", "test"}
    snapshots = sorted((finished / retrained.name / "snapshots").glob("*.safetensors"))
    last, _ = load_tensors(baseline_file(finished / retrained.name, "last"))
    at_last_cycle_end, _ = load_tensors(snapshots[-1])
    name = "model.backbone.conv_stem.weight"
    assert torch.equal(last[name], at_last_cycle_end[name]), "the second cycle ends with the run"
    mean = torch.stack([load_tensors(file)[0][name] for file in snapshots]).mean(dim=0)
    averaged, _ = load_tensors(finished / retrained.name / "swa.safetensors")
    torch.testing.assert_close(averaged[name], mean)


def test_cost_and_target_are_counted(finished: Path, small_pack: Pack) -> None:
    baseline, control, retrained, *_ = runs_of(small_pack)
    for spec in (control, retrained):
        found = result(spec, finished)
        assert found["cost"]["images"] == found["samples"] == found["cost"]["steps"] * 32
        assert found["cost"]["gpu_hours"] == 0
        assert found["cost"]["cpu_hours"] == pytest.approx(found["seconds"] / 3600)
        assert found["target"]["validation_loss"] == result(baseline, finished)["best"]["validation_loss"]
        reached = found["target"]["reached_at"]
        if found["best"]["validation_loss"] <= found["target"]["validation_loss"]:
            assert reached["images"] <= found["samples"]
        else:
            assert reached is None
    assert result(baseline, finished)["target"] is None


@pytest.mark.parametrize("method", METHODS)
def test_one_class_threshold_comes_from_training_scores_alone(
    method: str, finished: Path, small_pack: Pack
) -> None:
    for spec in runs_of(small_pack):
        if spec.task.name != f"no_finding-{method}":
            continue
        found = result(spec, finished)
        predictions = pd.read_parquet(finished / spec.name / "predictions.parquet")
        last = predictions[predictions["model"] == "last"]
        training = last[last["split"] == "train"]
        assert (training["label"] == 0).all()
        assert found["threshold"] == pytest.approx(threshold(training["score"].to_numpy(), 0.8))
        assert set(last.loc[last["split"] == "validation", "label"]) == {0, 1}
        assert found["models"]["last"]["validation"]["auroc"] is not None
        outside = last["label"] == 1
        assert (last.loc[outside, "findings"] != "").all()
        assert (last.loc[~outside, "findings"] == "").all()
        assert last[["floor_brightness", "floor_statistics"]].notna().all(axis=None)


def damage_missing(folder: Path) -> None:
    shutil.rmtree(folder)


def damage_weights(folder: Path) -> None:
    file = max((folder / "checkpoints").glob("*.safetensors"))
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.write_bytes(data)


def damage_failed(folder: Path) -> None:
    (folder / "result.json").write_text(json.dumps({"status": "failed", "reason": "FloatingPointError: diverged"}))


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (damage_missing, "has no result; run the study again to train it first"),
        (damage_weights, "run the study again to train it"),
        (damage_failed, "failed: FloatingPointError: diverged; fix that"),
    ],
)
def test_an_unusable_baseline_fails_the_runs_that_start_from_it_by_name(
    damage: Any, message: str, finished: Path, small_pack: Pack, tmp_path: Path
) -> None:
    baseline, control, *_ = runs_of(small_pack)
    shutil.copytree(finished / baseline.name, tmp_path / baseline.name)
    damage(tmp_path / baseline.name)
    assert train(control, small_pack, tmp_path) == "failed"
    reason = result(control, tmp_path)["reason"]
    assert reason.startswith("BaselineError")
    assert message in reason
    assert baseline.name in reason


def test_a_run_waits_for_its_baseline_and_the_others_do_not(small_pack: Pack) -> None:
    runs = runs_of(small_pack)
    baseline, control, _, svdd, *_ = runs
    queue = ListedRuns(runs)
    assert queue.next(0, []) == Assignment(baseline)
    assert queue.next(0, [baseline]) == Assignment(svdd), "what needs no weights of a baseline goes first"
    assert ListedRuns([baseline, control]).next(0, [baseline]) == "wait"
    queue.ended(baseline, "failed")
    assert queue.next(0, []) == Assignment(control), "which says for itself that its baseline failed"
