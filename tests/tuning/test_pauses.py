"""What trials rest on: a run that pauses is the same run, and a batch size is no schedule."""

import json
import math
from pathlib import Path

import pytest
import tiny_run
import torch
from made_records import epoch_line

from clr_hpc.config.run import RunSpec
from clr_hpc.data.pack import Pack
from clr_hpc.store.run_folder import RunFolder, read_metrics
from clr_hpc.training.distributed import ProcessGroup
from clr_hpc.training.run import RunSettings, train_run
from clr_hpc.training.trainer import Trainer
from clr_hpc.tuning.trial_queue import cost_of, value_after

ALONE = ProcessGroup.alone(torch.device("cpu"))


def spec_of(pack: Pack, batch_size: int = 16) -> RunSpec:
    return RunSpec.model_validate(
        {
            "pack_checksum": pack.manifest.checksum,
            "task": {"kind": "binary", "pathology": "cardiomegaly"},
            "stage": "scratch",
            "architecture": tiny_run.NETWORK,
            "optimizer": {"name": "sgd"},
            "policy": {"name": "triangular", "lr_min": 0.001, "lr_max": 0.02, "half_cycle_epochs": 1.5},
            "training": {"epochs": 3, "image_size": 32, "batch_size": batch_size},
        }
    )


def train(spec: RunSpec, pack: Pack, folder: Path, until_epochs: float = math.inf) -> str:
    return train_run(spec, pack, folder, ALONE, lambda: False, RunSettings(1e9), "test", until_epochs)


def test_a_run_that_paused_ends_in_the_same_bytes_as_one_that_did_not(small_pack: Pack, tmp_path: Path) -> None:
    spec = spec_of(small_pack)
    whole, paused = tmp_path / "whole", tmp_path / "paused"
    assert train(spec, small_pack, whole) == "done"
    for until, resting in ((1, 1.0), (2, 2.0)):
        assert train(spec, small_pack, paused, until) == "stopped"
        assert read_metrics(paused)[-1]["progress"] == resting
        assert value_after(paused, until, "auroc") == value_after(whole, until, "auroc")
        assert value_after(paused, until + 1, "auroc") is None
    assert value_after(paused, math.inf, "loss") is None, "it is not done"
    assert train(spec, small_pack, paused) == "done"
    first, second = (RunFolder(folder).result() or {} for folder in (whole, paused))
    assert first["checkpoint_sha256"] == second["checkpoint_sha256"]
    assert value_after(paused, math.inf, "loss") == first["validation"]["loss"]
    assert cost_of(paused)[0] == 3.0


def test_a_metric_that_is_not_defined_is_a_reason_and_not_a_value(tmp_path: Path) -> None:
    line = json.dumps(epoch_line(32, 1.0, loss=0.5, auroc=None))
    (tmp_path / "metrics.jsonl").write_text(f"{line}\n")
    assert value_after(tmp_path, 1, "loss") == 0.5
    with pytest.raises(ValueError, match="has one class only"):
        value_after(tmp_path, 1, "auroc")


def test_the_batch_size_does_not_change_what_the_schedule_means(small_pack: Pack) -> None:
    """Rates follow epochs, not steps: at each epoch's begin and middle they are the same whatever the batch."""
    rates = {}
    for batch_size in (8, 16, 64):
        run = Trainer(spec_of(small_pack, batch_size), small_pack, ALONE)
        run.wrap_model()
        assert run.samples_per_epoch % run.batch_size == 0
        rates[batch_size] = [run.set_lr(half * run.samples_per_epoch // 2)[0] for half in range(6)]
    assert rates[16] == pytest.approx(rates[8])
    assert rates[64] == pytest.approx(rates[8])
    assert len(set(rates[8])) > 2
