"""Processes that train for a command: what they do when they are told to end, and what is said when they die."""

import os
import signal
from pathlib import Path

import pytest
import tiny_run
from child_processes import kill_itself

from clr_hpc.config.run import RunSpec
from clr_hpc.data.pack import Pack
from clr_hpc.places.job import WorkerTask
from clr_hpc.places.processes import pool
from clr_hpc.places.processes.forkserver import Child, ProcessError
from clr_hpc.places.queue import Assignment, ListedRuns
from clr_hpc.training.run import ExitStatus, RunSettings


def task_of(folder: Path, pack: Path) -> WorkerTask:
    return WorkerTask(pack, folder / "runs", RunSettings())


def test_one_that_is_terminated_leaves_and_takes_no_run_along(small_pack: Pack, tmp_path: Path) -> None:
    with Child(pool.serve, 0, task_of(tmp_path, small_pack.folder), 1) as child:
        assert child.receive() == pool.BEGUN
        assert child.process.pid is not None
        os.kill(child.process.pid, signal.SIGTERM)
        child.send([Assignment(tiny_run.make_spec(small_pack))])
        assert child.receive() in (([], True), (["stopped"], True))
        with pytest.raises(EOFError):
            child.receive()
    assert child.process.exitcode == 0


def test_processes_that_die_before_they_begin_end_the_command_with_what_they_died_of(
    small_pack: Pack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pool, "serve", kill_itself)
    runs = ListedRuns([tiny_run.make_spec(small_pack)])
    task = task_of(tmp_path, small_pack.folder)
    with pytest.raises(ProcessError, match=r"was killed by SIGKILL; when memory is short"):
        pool.drain(runs, task, 1, 1, lambda: False, lambda _: None, lambda *_: None)
    assert not task.runs_folder.exists(), "no run is to blame"


def test_a_pack_that_cannot_be_opened_fails_its_runs_with_that_reason(small_pack: Pack, tmp_path: Path) -> None:
    spec = tiny_run.make_spec(small_pack)
    ended: list[tuple[RunSpec, ExitStatus]] = []
    task = task_of(tmp_path, tmp_path / "nowhere")
    assert pool.drain(
        *(ListedRuns([spec]), task, 1, 1, lambda: False, lambda _: None),
        lambda spec, outcome: ended.append((spec, outcome)),
    )
    assert ended == [(spec, "failed")]
    assert "nowhere" in (task.runs_folder / spec.name / "result.json").read_text()
