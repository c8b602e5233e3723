"""Runs that diverge or run out of memory go back to a checkpoint and on in another way."""

import json
import math
from collections.abc import Callable
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tiny_run import BATCH_SIZE, WAVE, make_spec
from torch import Tensor

from clr_hpc.config.policy import Constant
from clr_hpc.config.run import RunSpec
from clr_hpc.data.pack import Pack
from clr_hpc.schedule.policies import learning_rate
from clr_hpc.store.run_folder import read_metrics
from clr_hpc.training.checkpoint import Checkpoints, all_finite, load_tensors
from clr_hpc.training.distributed import ProcessGroup
from clr_hpc.training.recovery import UnrecoverableError, recover
from clr_hpc.training.run import RunSettings, train_run
from clr_hpc.training.saver import BackgroundWriter
from clr_hpc.training.step import TrainingStep
from clr_hpc.training.trainer import Trainer

ALONE = ProcessGroup.alone(torch.device("cpu"))


def run(spec: RunSpec, pack: Pack, folder: Path, stop_after: int = 10**9, checkpoint_seconds: float = 1e9) -> str:
    asked = count(1)
    return train_run(
        spec, pack, folder, ALONE, lambda: next(asked) >= stop_after, RunSettings(checkpoint_seconds), "test"
    )


def result(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "result.json").read_text())
    return found


def steps(folder: Path) -> list[dict[str, Any]]:
    return [entry for entry in read_metrics(folder) if entry["kind"] == "step"]


@pytest.fixture
def diverges_above(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """Make every step whose rate lies above a limit give weights and a loss that are not finite."""

    def above(limit: float) -> None:
        call = TrainingStep.__call__

        def diverging(step: TrainingStep, samples_seen: int) -> Tensor:
            loss = call(step, samples_seen)
            if step.optimizer is not None and step.optimizer.param_groups[0]["lr"] > limit:
                loss = loss * math.nan
                with torch.no_grad():
                    next(step.model.parameters()).fill_(math.inf)
            return loss

        monkeypatch.setattr(TrainingStep, "__call__", diverging)

    return above


def test_a_run_that_diverges_resumes_with_a_third_of_the_rate(
    diverges_above: Callable[[float], None], small_pack: Pack, tmp_path: Path
) -> None:
    """The wave's peak is 0.02; the limit lies between that and a third of it."""
    diverges_above(0.01)
    spec = make_spec(small_pack)
    assert run(spec, small_pack, tmp_path / "run", stop_after=2) == "stopped"
    assert run(spec, small_pack, tmp_path / "run") == "done"
    found = result(tmp_path / "run")
    assert found["divergences"] == [{"samples": 2 * BATCH_SIZE, "lr_max": pytest.approx(0.02 / 3)}]
    recorded = steps(tmp_path / "run")
    per_epoch = recorded[0]["samples"] / recorded[0]["progress"]
    for entry in recorded:
        before = entry["samples"] - BATCH_SIZE
        factor = 1 / 3 if before >= 2 * BATCH_SIZE else 1
        assert entry["lr"] == pytest.approx(learning_rate(WAVE, before / per_epoch) * factor)
    assert [entry["samples"] for entry in recorded] == [BATCH_SIZE * step for step in range(1, len(recorded) + 1)]


def test_a_run_that_went_back_resumes_bit_for_bit(
    diverges_above: Callable[[float], None], small_pack: Pack, tmp_path: Path
) -> None:
    diverges_above(0.01)
    spec = make_spec(small_pack)
    assert run(spec, small_pack, tmp_path / "whole") == "done"
    assert result(tmp_path / "whole")["divergences"][0]["samples"] == 0, "without a checkpoint it is the beginning"
    for stop_after in (6, 2, 3):
        assert run(spec, small_pack, tmp_path / "parts", stop_after) == "stopped"
    assert run(spec, small_pack, tmp_path / "parts") == "done"
    for key in ("checkpoint_sha256", "divergences", "best"):
        assert result(tmp_path / "parts")[key] == result(tmp_path / "whole")[key]


def test_no_checkpoint_is_ever_not_finite(
    diverges_above: Callable[[float], None], small_pack: Pack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    saved: list[dict[str, Tensor]] = []
    save = Checkpoints.save

    def noted(self: Checkpoints, tensors: dict[str, Tensor], progress: Any) -> str:
        saved.append({name: tensor.clone() for name, tensor in tensors.items()})
        return save(self, tensors, progress)

    monkeypatch.setattr(Checkpoints, "save", noted)
    # a slow disk would have fewer of them: while one is written no other is due
    monkeypatch.setattr(BackgroundWriter, "is_idle", True)
    diverges_above(0.01)
    assert run(make_spec(small_pack), small_pack, tmp_path / "run", checkpoint_seconds=0) == "done"
    assert len(saved) > 10
    assert all(all_finite(tensors.values()) for tensors in saved)
    assert result(tmp_path / "run")["divergences"] != []


@pytest.mark.commands
def test_after_three_times_it_fails_with_its_reason_and_can_be_tried_again(
    small_pack: Pack, tmp_path: Path
) -> None:
    spec = make_spec(small_pack, policy=Constant(lr_max=1e38))
    for _ in range(2):
        assert run(spec, small_pack, tmp_path / "run") == "failed"
        found = result(tmp_path / "run")
        assert found["status"] == "failed"
        assert "FloatingPointError: " in found["reason"]
        assert "lower lr_max; it was resumed 3 times" in found["reason"]
        assert "Traceback" in found["traceback"]


def test_a_recovery_that_cannot_be_read_back_fails_the_run(
    small_pack: Pack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Resumed from an older checkpoint it would diverge there again, and never end."""
    monkeypatch.setattr(Checkpoints, "save", lambda *_: "")
    latest = Checkpoints(tmp_path / "checkpoints").latest()
    assert latest.progress.samples == 0
    with pytest.raises(UnrecoverableError, match="does not hold what was written"):
        recover("diverged", tmp_path, make_spec(small_pack), BATCH_SIZE, least=1)


def test_the_best_model_is_the_one_on_disk_after_a_recovery(
    small_pack: Pack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It goes back to the middle of the first epoch, and best.safetensors is that of the epoch's end."""
    spec = make_spec(small_pack)
    assert run(spec, small_pack, tmp_path / "run", stop_after=3) == "stopped"
    call, lost = TrainingStep.__call__, [False]
    samples_per_epoch = Trainer(spec, small_pack, ALONE).samples_per_epoch

    def diverges_once(step: TrainingStep, samples_seen: int) -> Tensor:
        loss = call(step, samples_seen)
        if samples_seen >= samples_per_epoch and not lost[0]:
            lost[0] = True
            return loss * math.nan
        return loss

    monkeypatch.setattr(TrainingStep, "__call__", diverges_once)
    assert run(spec, small_pack, tmp_path / "run") == "done"
    found = result(tmp_path / "run")
    assert found["divergences"][0]["samples"] == 3 * BATCH_SIZE
    _, metadata = load_tensors(tmp_path / "run" / "best.safetensors")
    assert metadata == found["best"]


def with_memory_for(images: int, monkeypatch: pytest.MonkeyPatch) -> None:
    accumulate = TrainingStep._accumulate

    def limited(step: TrainingStep, inputs: Tensor, labels: Tensor) -> Tensor:
        if len(inputs) > images:
            raise torch.OutOfMemoryError(f"{len(inputs)} images are too many")
        return accumulate(step, inputs, labels)

    monkeypatch.setattr(TrainingStep, "_accumulate", limited)


def test_short_memory_halves_micro_batches_until_they_fit(
    tiny_pack: Pack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Batch norm sees the parts, so the run is another one; the global batch and its rates are not."""
    spec = make_spec(tiny_pack)
    assert run(spec, tiny_pack, tmp_path / "whole") == "done"
    with_memory_for(5, monkeypatch)
    assert run(spec, tiny_pack, tmp_path / "parts", stop_after=3) == "stopped"
    assert run(spec, tiny_pack, tmp_path / "parts") == "done"
    whole, parts = result(tmp_path / "whole"), result(tmp_path / "parts")
    assert (whole["micro_batches"], parts["micro_batches"]) == (1, 4)
    assert whole["cost"]["steps"] == parts["cost"]["steps"]
    for name in ("samples", "lr"):
        assert [e[name] for e in steps(tmp_path / "whole")] == [e[name] for e in steps(tmp_path / "parts")]
    assert parts["divergences"] == []
    assert run(spec, tiny_pack, tmp_path / "again") == "done"
    assert result(tmp_path / "again")["checkpoint_sha256"] == parts["checkpoint_sha256"]


def test_memory_too_short_for_the_smallest_micro_batch_fails_the_run(
    small_pack: Pack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with_memory_for(1, monkeypatch)
    assert run(make_spec(small_pack), small_pack, tmp_path / "run") == "failed"
    reason = result(tmp_path / "run")["reason"]
    assert reason.startswith("OutOfMemoryError: 2 images are too many; not even micro-batches of 2 images fit")
    assert "lower image_size" in reason


@pytest.mark.usefixtures("thin_alexnet")
def test_gradients_of_micro_batches_are_those_of_the_batch(small_pack: Pack) -> None:
    """AlexNet has no batch norm: parts differ from the whole by rounding alone, dropout included."""
    training = {"epochs": 1, "image_size": 64, "batch_size": 15}
    spec = make_spec(small_pack, architecture="alexnet", training=training)
    gradients = []
    for parts in (1, 4):
        prepared = Trainer(spec, small_pack, ALONE, parts)
        prepared.begin(None)
        prepared.wrap_model()
        prepared.set_lr(0)
        prepared.step(0)
        gradients.append(np.concatenate([p.grad.flatten().numpy() for p in prepared.model.parameters()]))
    np.testing.assert_allclose(gradients[0], gradients[1], atol=1e-6 * np.abs(gradients[0]).max())
