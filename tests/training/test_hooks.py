"""Range tests as runs: what they leave, how they end, and that a kill changes nothing."""

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch

from clr_hpc.config.expand import RESTING_RATE
from clr_hpc.config.run import RunSpec
from clr_hpc.data.pack import Pack
from clr_hpc.schedule.policies import learning_rate
from clr_hpc.store.metrics import read_metrics
from clr_hpc.training.distributed import ProcessGroup
from clr_hpc.training.run import RunSettings, train_run
from clr_hpc.training.trainer import Trainer

AUTOENCODER = {"kind": "one_class", "method": {"name": "autoencoder"}}


def range_test(pack: Pack, **changes: Any) -> RunSpec:
    values: dict[str, Any] = {
        "pack_checksum": pack.manifest.checksum,
        "task": AUTOENCODER,
        "architecture": "mobilenet_v1",
        "optimizer": {"name": "sgd"},
        "stage": "range_test",
        "policy": {"name": "ramp", "lr_min": 1e-4, "lr_max": 1e6, "total_epochs": 4},
        "training": {"epochs": 4, "image_size": 32, "batch_size": 4},
    }
    return RunSpec.model_validate(values | changes)


class Train:
    """Trains in this process, and stops after some steps where that is asked for."""

    def __init__(self, pack: Pack, folder: Path) -> None:
        self._pack, self._folder = pack, folder

    def __call__(self, spec: RunSpec, stop_after: int | None = None, checkpoint_seconds: float = 1e9) -> str:
        asked = 0

        def should_stop() -> bool:
            nonlocal asked
            asked += 1
            return asked == stop_after

        group = ProcessGroup.alone(torch.device("cpu"))
        return train_run(
            spec, self._pack, self.path(spec), group, should_stop, RunSettings(checkpoint_seconds), "test"
        )

    def path(self, spec: RunSpec) -> Path:
        return self._folder / spec.name

    def result(self, spec: RunSpec) -> dict[str, Any]:
        return json.loads((self.path(spec) / "result.json").read_text())

    def curve(self, spec: RunSpec) -> list[tuple[int, float, float]]:
        return [(entry["samples"], entry["lr"], entry["loss"]) for entry in read_metrics(self.path(spec))]


@pytest.fixture
def train(tiny_pack: Pack, tmp_path: Path) -> Train:
    return Train(tiny_pack, tmp_path)


def test_the_loss_of_each_step_is_recorded_with_its_rate_and_nothing_else_is_measured(
    train: Train, tiny_pack: Pack
) -> None:
    spec = range_test(tiny_pack, policy={"name": "ramp", "lr_min": 1e-6, "lr_max": 1e-3, "total_epochs": 4})
    assert train(spec) == "done"
    result, entries = train.result(spec), read_metrics(train.path(spec))
    assert [entry["samples"] for entry in entries] == list(range(4, result["samples"] + 4, 4))
    per_epoch = result["samples"] / 4
    for entry in entries:
        assert entry["kind"] == "step"
        assert entry["lr"] == pytest.approx(learning_rate(spec.policy, (entry["samples"] - 4) / per_epoch))
    assert (result["diverged"], result["stopped_early"], result["models"]) == (False, False, {})
    assert result["constant_answer_loss"] is None, "an autoencoder has no such answer"
    left = {path.name.split(".")[0] for path in train.path(spec).iterdir() if not path.name.startswith(".")}
    assert left == {"spec", "environment", "metrics", "events", "architecture", "result"}, "no weights, no answers"


def test_the_loss_of_the_best_constant_prediction_is_in_the_result(train: Train, tiny_pack: Pack) -> None:
    spec = range_test(tiny_pack, task={"kind": "binary", "pathology": "cardiomegaly"})
    train(spec)
    labels = Trainer(spec, tiny_pack, ProcessGroup.alone(torch.device("cpu"))).data.training.labels
    # positives weigh as much as all the others together: the best constant is a coin's
    expected = 2 * (1 - labels.mean()) * math.log(2)
    assert train.result(spec)["constant_answer_loss"] == pytest.approx(expected, rel=0.1)


def test_it_ends_done_where_the_loss_diverges(train: Train, tiny_pack: Pack) -> None:
    spec = range_test(tiny_pack)
    assert train(spec) == "done"
    result, curve = train.result(spec), train.curve(spec)
    assert (result["diverged"], result["stopped_early"], result["divergences"]) == (True, True, [])
    assert result["epochs"] < 4
    start = sum(loss for _, _, loss in curve[:10]) / 10
    assert curve[-1][2] > 3 * start
    assert [rate for _, rate, _ in curve] == sorted(rate for _, rate, _ in curve), "no rate was divided"


def test_a_loss_that_is_infinite_from_one_step_to_the_next_ends_it_as_well(train: Train, tiny_pack: Pack) -> None:
    policy = {"name": "ramp", "lr_min": 1e30, "lr_max": 1e38, "total_epochs": 4}
    spec = range_test(tiny_pack, policy=policy)
    assert train(spec, checkpoint_seconds=0) == "done"
    result = train.result(spec)
    assert (result["diverged"], result["divergences"]) == (True, [])
    assert len(train.curve(spec)) < 10


def test_a_stopped_range_test_resumes_to_the_same_end(train: Train, tiny_pack: Pack, tmp_path: Path) -> None:
    spec = range_test(tiny_pack)
    train(spec)
    other = Train(tiny_pack, tmp_path / "other")
    assert other(spec, stop_after=len(train.curve(spec)) // 2) == "stopped"
    assert 0 < len(other.curve(spec)) < len(train.curve(spec))
    assert other(spec) == "done"
    assert other.curve(spec) == train.curve(spec)
    assert other.result(spec)["samples"] == train.result(spec)["samples"]


def test_a_reference_sees_the_same_batches_and_does_not_learn(train: Train, tiny_pack: Pack) -> None:
    """Its losses are those of the same run as long as that has learned nothing, whatever the optimizer."""
    binary = {"kind": "binary", "pathology": "effusion"}
    training = {"epochs": 2, "image_size": 32, "batch_size": 8}
    rest = {"name": "sgd", "momentum": 0.0}
    common = {"task": binary, "training": training}
    reference = range_test(
        tiny_pack, **common, optimizer=rest, policy={"name": "constant", "lr_max": RESTING_RATE}
    )
    ramp = {"name": "ramp", "lr_min": 1e-9, "lr_max": 1e-2, "total_epochs": 2}
    test = range_test(tiny_pack, **common, optimizer={"name": "adam"}, policy=ramp)
    assert [train(reference), train(test)] == ["done", "done"]
    untrained, tested = train.curve(reference), train.curve(test)
    assert tested[0][2] == untrained[0][2]
    assert tested[1][2] == pytest.approx(untrained[1][2], rel=1e-3)
    assert [samples for samples, _, _ in tested] == [samples for samples, _, _ in untrained]


@pytest.mark.commands
def test_two_processes_end_together_where_the_loss_diverges(ranks: Any, tiny_pack: Pack, tmp_path: Path) -> None:
    spec = range_test(tiny_pack)
    replies = ranks.train(spec, tiny_pack, tmp_path / spec.name)
    assert [reply["outcome"] for reply in replies] == ["done", "done"]
    assert replies[0]["rates"] == replies[1]["rates"]
    result = Train(tiny_pack, tmp_path).result(spec)
    assert (result["diverged"], result["divergences"]) == (True, [])
