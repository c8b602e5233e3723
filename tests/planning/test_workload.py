"""What planning counts must be what training does."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny_run
import torch

from clr_hpc.config.optimizer import Sgd
from clr_hpc.config.policy import Constant, Triangular
from clr_hpc.config.run import RunSpec, WarmStart
from clr_hpc.data.pack import Pack
from clr_hpc.models.one_class.autoencoder import AutoencoderModel
from clr_hpc.models.task_model import TaskModel
from clr_hpc.planning.throughput import Throughput
from clr_hpc.planning.workload import StepKind, work_of
from clr_hpc.training import metrics, trainer
from clr_hpc.training.data import LabelledRows
from clr_hpc.training.distributed import ProcessGroup
from clr_hpc.training.metrics import Evaluation
from clr_hpc.training.run import RunSettings, train_run
from clr_hpc.training.trainer import Trainer

TRIANGULAR = Triangular(lr_min=0.001, lr_max=0.01, half_cycle_epochs=0.5)
SOFT = {"name": "deep_svdd", "boundary": "soft"}
NORMALISED = {"name": "autoencoder", "normalised": True}
BASELINE: dict[str, Any] = {
    "task": {"kind": "binary", "pathology": "cardiomegaly"},
    "stage": "baseline",
    "architecture": tiny_run.NETWORK,
    "optimizer": Sgd(),
    "policy": Constant(lr_max=0.01),
    "training": {"epochs": 2, "image_size": 32, "batch_size": 16},
}


def make(pack: Pack, **changes: Any) -> RunSpec:
    return RunSpec.model_validate(BASELINE | {"pack_checksum": pack.manifest.checksum} | changes)


@pytest.mark.parametrize(
    "changes",
    [
        {"policy": TRIANGULAR, "stage": "scratch"},
        {"stage": "baseline"},
        {"stage": "baseline", "task": {"kind": "one_class", "method": {"name": "autoencoder"}}},
        {"policy": TRIANGULAR.model_copy(update={"half_cycle_epochs": 0.4}), "stage": "scratch"},
        {"training": {"epochs": 3, "image_size": 32, "batch_size": 16, "measure_training_split_every": 2}},
        {"task": {"kind": "one_class", "method": {"name": "deep_svdd"}}, "stage": "scratch"},
        {"task": {"kind": "one_class", "method": SOFT}, "stage": "scratch"},
        {"task": {"kind": "one_class", "method": {"name": "autoencoder"}}, "stage": "scratch"},
        {"task": {"kind": "one_class", "method": NORMALISED}, "policy": TRIANGULAR, "stage": "scratch"},
        {
            "task": {"kind": "pretraining"},
            "stage": "pretrain",
            "training": {"epochs": 2, "image_size": 32, "batch_size": 17},
        },
    ],
)
def test_images_are_counted_as_a_run_counts_them(
    changes: dict[str, Any], small_pack: Pack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = make(small_pack, **changes)
    seen = dict.fromkeys(("trained", "on the way", "evaluated"), 0)

    def evaluate_and_count(model: TaskModel, split: LabelledRows, *rest: Any) -> Evaluation:
        seen["evaluated"] += len(split)
        return metrics.evaluate(model, split, *rest)

    fit_scores = AutoencoderModel.fit_scores
    fitted = []

    def fit_and_count(model: AutoencoderModel, batches: Any) -> None:
        fitted.append(sum(map(len, batches)))
        fit_scores(model, batches)

    monkeypatch.setattr(trainer, "evaluate", evaluate_and_count)
    monkeypatch.setattr(AutoencoderModel, "fit_scores", fit_and_count)
    (item,) = work_of([spec], small_pack.manifest.counts)
    assert (
        train_run(
            spec,
            small_pack,
            tmp_path / spec.name,
            ProcessGroup.alone(torch.device("cpu")),
            bool,
            RunSettings(1e9),
            "",
        )
        == "done"
    )
    result = json.loads((tmp_path / spec.name / "result.json").read_text())
    seen["trained"] = result["samples"]
    entries = [json.loads(line) for line in (tmp_path / spec.name / "metrics.jsonl").read_text().splitlines()]
    seen["on the way"] = sum(entry["images"] for entry in entries if entry["kind"] == "epoch")
    prepared = Trainer(spec, small_pack, ProcessGroup.alone(torch.device("cpu")))
    learned = len(prepared.data.training)
    assert item.load.training_images == seen["trained"]
    first_look = learned if spec.task.name.endswith("deep_svdd") else 0
    on_grid = sum(entry["images"] for entry in entries if entry["kind"] == "grid")
    average = learned if "swa" in result["models"] else 0
    if fitted:
        average += fitted.pop()
    assert item.load.evaluated_images == seen["on the way"] + on_grid + first_look + sum(fitted)
    assert item.load.final_images == seen["evaluated"] - seen["on the way"] + average


@pytest.mark.parametrize("every", [1, 2])
@pytest.mark.parametrize("images", [40, "all"])
def test_a_sample_of_the_training_split_is_counted_but_for_the_rest_of_a_patient(
    images: int | str, every: int, small_pack: Pack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    training = {"epochs": 3, "image_size": 32, "batch_size": 16, "training_accuracy_images": images}
    spec = make(small_pack, stage="scratch", training=training | {"measure_training_split_every": every})
    seen = []

    def evaluate_and_count(model: TaskModel, split: LabelledRows, *rest: Any) -> Evaluation:
        seen.append(len(split))
        return metrics.evaluate(model, split, *rest)

    monkeypatch.setattr(trainer, "evaluate", evaluate_and_count)
    cpu = ProcessGroup.alone(torch.device("cpu"))
    assert train_run(spec, small_pack, tmp_path / "run", cpu, bool, RunSettings(1e9), "") == "done"
    (item,) = work_of([spec], small_pack.manifest.counts)
    _, images_of = np.unique(small_pack.index["patient"].to_numpy(dtype=str), return_counts=True)
    samples = 0 if images == "all" else 3 // every
    surplus = item.load.evaluated_images + item.load.final_images - sum(seen)
    assert 0 <= surplus <= samples * images_of.max()


def test_a_fit_passes_over_the_images_and_takes_no_step(small_pack: Pack) -> None:
    baseline = make(small_pack)
    task = {"kind": "one_class", "method": {"name": "one_class_svm"}}
    fit = make(small_pack, stage="fit", task=task, start=WarmStart(baseline=baseline))
    first, second = work_of([baseline, fit], small_pack.manifest.counts)
    assert second.after == first.name
    assert (second.load.epochs, second.load.training_images) == (0, 0)
    assert second.load.final_images > len(small_pack.index)
    assert second.load.kind == first.load.kind


def test_seconds_add_up() -> None:
    kind = StepKind("alexnet", 64, 32, "float32")
    rate = Throughput(
        network=kind.network,
        image_size=kind.image_size,
        batch_size=kind.batch_size,
        images_per_second=10,
        evaluated_per_second=20,
        start_seconds=3,
        epoch_seconds=0.5,
    )
    from clr_hpc.planning.workload import Load

    load = Load(kind, epochs=4, training_images=100, evaluated_images=40, final_images=60)
    assert rate.training_seconds(load) == 2 + 10 + 2
    assert rate.seconds(load) == 3 + 14 + 3
