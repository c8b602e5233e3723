"""The disk that a study takes is known within a tenth before it starts, and it does not start on a smaller one."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
from tiny_run import make_spec
from trial_study import TrialStudy
from typer.testing import CliRunner

from clr_hpc.cli.app import app
from clr_hpc.config.network import NETWORKS
from clr_hpc.config.optimizer import OPTIMIZERS, Adagrad, Adam, RmsProp, Sgd
from clr_hpc.config.policy import Constant
from clr_hpc.config.study import Keep
from clr_hpc.config.task import BinaryTask
from clr_hpc.data.pack import Pack
from clr_hpc.models.size import built_size
from clr_hpc.places.disk import size_of_network
from clr_hpc.planning.disk import disk_need
from clr_hpc.training.checkpoint import optimizer_tensors
from clr_hpc.training.distributed import ProcessGroup
from clr_hpc.training.optimizers import build_optimizer
from clr_hpc.training.run import RunSettings, train_run
from clr_hpc.training.upkeep.freeable import size_of

EFFUSION = BinaryTask(pathology="effusion")


class Usage(NamedTuple):
    """What ``shutil.disk_usage`` returns."""

    total: int
    used: int
    free: int


@pytest.mark.parametrize("name", NETWORKS)
def test_sizes_that_are_written_down_are_those_of_the_network(name: str) -> None:
    assert NETWORKS[name].size == built_size(EFFUSION, name)


@pytest.mark.parametrize(
    "optimizer", [*(kind() for kind in OPTIMIZERS.values()), Sgd(momentum=0), RmsProp(momentum=0.5)], ids=str
)
def test_optimizers_keep_as_many_values_as_they_say(optimizer: Any) -> None:
    weight = torch.nn.Parameter(torch.ones(100))
    built = build_optimizer(optimizer, [weight])
    weight.sum().backward()
    built.step()
    kept = sum(tensor.numel() for tensor in optimizer_tensors(built).values() if tensor.numel() > 1)
    assert kept == 100 * optimizer.state_values()


@pytest.mark.parametrize(
    "changes",
    [{"optimizer": Adam()}, {"optimizer": Adagrad(), "policy": Constant(lr_max=0.001)}],
    ids=["cyclical", "constant"],
)
def test_a_run_leaves_what_was_predicted(changes: dict[str, Any], small_pack: Pack, tmp_path: Path) -> None:
    spec = make_spec(small_pack, architecture="mobilenet_v1", **changes)
    need = disk_need(
        [spec], small_pack.manifest.counts, size_of_network, Keep(snapshots=True, optimizer_state=True)
    )
    alone = ProcessGroup.alone(torch.device("cpu"))
    assert train_run(spec, small_pack, tmp_path / "run", alone, bool, RunSettings(1e9), "") == "done"
    assert size_of(tmp_path / "run") == pytest.approx(need.left, rel=0.1)
    assert need.under_way >= max(size_of(file) for file in (tmp_path / "run" / "checkpoints").iterdir()) * 0.99


def test_a_study_does_not_start_where_it_can_not_end(
    write_study: Callable[..., TrialStudy], monkeypatch: pytest.MonkeyPatch
) -> None:
    study = write_study()
    results = study.file.parent / "results"
    # no disk of this size is at hand, and none may be filled
    monkeypatch.setattr(shutil, "disk_usage", lambda _: Usage(10**9, 10**9 - 10**8, 10**8))
    done = CliRunner().invoke(app, ["run", str(study.file), "--results", str(results), "--no-plan"])
    assert done.exit_code == 2
    told = " ".join(done.output.split())
    assert "0.10 GB are free, and 2 runs of trial take 0." in told
    assert "'clr-hpc clean' frees" in told
    assert not (results / "trial").exists()
