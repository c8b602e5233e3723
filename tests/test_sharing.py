"""What a project group finds of a study in a folder that it shares: all but leases, tokens and pickles."""

import os
import stat
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from sharing import as_another_user, not_shared, open_folder, share, umask_of_a_group
from tiny_run import make_spec
from trial_study import TrialStudy

from clr_hpc.data.build import build_pack
from clr_hpc.data.pack import Pack
from clr_hpc.data.sources.phantom import PhantomSource
from clr_hpc.data.splits import SeededSplit
from clr_hpc.places.ray.cluster import write_token
from clr_hpc.places.slurm.ledger import Ledger, LedgerError
from clr_hpc.store.layout import LEASE
from clr_hpc.store.lease import read_lease
from clr_hpc.store.run_folder import RunFolder
from clr_hpc.training.distributed import ProcessGroup
from clr_hpc.training.run import RunSettings, train_run

__all__ = ["open_folder"]


@pytest.mark.usefixtures("thin_alexnet", "one_thread")
def test_a_pack_and_a_run_are_the_groups(tmp_path: Path, small_pack: Pack) -> None:
    shared = share(tmp_path / "shared")
    spec = make_spec(small_pack, {"epochs": 1, "image_size": 64}, architecture="alexnet")
    with umask_of_a_group():
        build_pack(PhantomSource(images=20), shared / "pack", 64, SeededSplit())
        group = ProcessGroup.alone(torch.device("cpu"))
        settings = RunSettings(60)
        outcome = train_run(spec, small_pack, shared / "run", group, lambda: False, settings, "here", 0.1)
    assert outcome == "stopped"
    assert list(shared.rglob("*.safetensors"))
    assert not_shared(shared) == set()


@pytest.mark.slow
def test_all_that_commands_write_is_the_groups(write_study: Callable[..., TrialStudy], tmp_path: Path) -> None:
    search = {"search": "random", "trials": 2, "space": {"lr_max": {"low": 0.005, "high": 0.3, "scale": "log"}}}
    wave = {"policies": [{"name": "triangular", "half_cycle_epochs": 1}]}
    shared = share(tmp_path / "shared")
    with umask_of_a_group():
        for command, changes in (("run", {}), ("report", {}), ("tune", {"name": "tuned", "tune": search})):
            study = write_study(stages={"scratch": wave}, **changes)
            words = [*study.command()[:3], command, str(study.file), "--results", str(shared)]
            done = subprocess.run(words, capture_output=True, text=True, check=False)
            assert done.returncode == 0, done.stdout + done.stderr
    assert not_shared(shared) == set()


def test_leases_and_tokens_are_for_their_owner_alone(tmp_path: Path, small_pack: Pack) -> None:
    with umask_of_a_group():
        write_token(tmp_path / "token")
        with RunFolder(tmp_path / "run").open(make_spec(small_pack), {}, "here"):
            private = (tmp_path / "token", tmp_path / "run" / LEASE)
            assert {stat.S_IMODE(path.stat().st_mode) for path in private} == {0o600}


def test_another_user_sees_whose_run_is_trained_and_takes_it_over_only_when_it_is_left(
    open_folder: Path, small_pack: Pack
) -> None:
    spec = make_spec(small_pack)
    with RunFolder(open_folder / "run").open(spec, {}, "here"):
        renewed = (open_folder / "run" / LEASE).stat().st_mtime
        with as_another_user():
            seen = read_lease(open_folder / "run")
    assert seen is not None
    assert (seen.by.place, seen.renewed) == ("unreadable lease of root", renewed)
    with as_another_user(), RunFolder(open_folder / "run").open(spec, {}, "here"):
        assert (open_folder / "run" / LEASE).owner() != "root"


def test_jobs_are_cancelled_by_their_owner_alone(open_folder: Path) -> None:
    ledger = Ledger(open_folder)
    ledger.prepare()
    assert {path.stat().st_mode & 0o077 for path in (ledger.folder, *ledger.folder.iterdir())} == {0o055}
    with ledger.locked():
        pass
    with as_another_user():
        assert ledger.submissions() == []
        assert not os.access(ledger.logs, os.W_OK, effective_ids=True), "a job runs the pickles in it"
        with (
            pytest.raises(LedgerError, match="is of root, who alone submits and cancels"),
            ledger.locked(),
        ):
            pass
