"""Processes forked from one that has imported torch; that they die with the command is in test_inline.py."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import pytest
from child_processes import answer_late, cannot_begin, hear_late, kill_itself, say_where_from
from trial_study import is_alive, wait_until

from clr_hpc.places.processes.forkserver import Child, ProcessError, fresh_processes
from clr_hpc.places.signals import SENT_TO_ALL


def start(target: Callable[[Connection], None]) -> tuple[Any, Connection]:
    context = fresh_processes()
    ours, theirs = context.Pipe()
    process = context.Process(target=target, args=(theirs,), daemon=True)
    process.start()
    theirs.close()
    return process, ours


def where_from() -> tuple[set[str], int]:
    process, connection = start(say_where_from)
    modules, parent = connection.recv()
    process.join()
    return modules, parent


def test_they_have_imported_torch_when_they_begin() -> None:
    modules, _ = where_from()
    assert {"torch", "torch._dynamo", "timm", "clr_hpc.training.loop"} <= modules


def test_what_they_are_forked_from_outlives_what_slurm_sends_to_all() -> None:
    _, forked_from = where_from()
    assert forked_from != os.getpid()
    for number in SENT_TO_ALL:
        os.kill(forked_from, number)
    assert where_from()[1] == forked_from


@pytest.mark.commands
def test_another_checkout_in_the_working_directory_is_not_theirs(tmp_path: Path) -> None:
    other = tmp_path / "clr_hpc" / "places" / "processes"
    other.mkdir(parents=True)
    for folder in (other, other.parent, other.parent.parent):
        (folder / "__init__.py").touch()
    (other / "preload.py").touch()
    script = tmp_path / "bin" / "script.py"
    script.parent.mkdir()
    script.write_text(
        "from test_forkserver import where_from\n"
        "if __name__ == '__main__':\n"
        "    print('clr_hpc.training.loop' in where_from()[0])\n"
    )
    paths = [str(Path(__file__).parent), *filter(None, sys.path)]
    said = subprocess.run(
        [sys.executable, script],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(paths)},
        check=False,
    )
    assert said.stdout == "True\n", said.stderr


def test_a_signal_that_comes_too_early_is_heard_when_they_are_ready() -> None:
    process, connection = start(hear_late)
    assert connection.recv() == "not ready"
    os.kill(process.pid, signal.SIGTERM)
    connection.send("be ready")
    assert connection.recv() == (0, 1)
    process.join()
    assert process.exitcode == 0


def test_of_one_that_dies_it_is_known_how() -> None:
    with Child(kill_itself) as child, pytest.raises(EOFError):
        child.receive()
    assert child.death == f"process {child.process.pid} was killed by SIGKILL"


def test_what_cannot_begin_says_why_and_that_memory_may_be_the_reason() -> None:
    with Child(cannot_begin) as child, pytest.raises(ProcessError, match=r"cannot map; memory may be short"):
        child.receive()


def test_ctrl_c_is_not_for_them_and_an_answer_that_nobody_reads_no_traceback(
    capfd: pytest.CaptureFixture[str],
) -> None:
    with Child(answer_late) as child:
        assert child.receive() == "ready"
        assert child.process.pid is not None
        os.kill(child.process.pid, signal.SIGINT)
    assert child.process.exitcode == 0
    assert "Traceback" not in capfd.readouterr().err


@pytest.mark.slow
def test_they_start_again_when_the_one_that_they_are_forked_from_was_killed() -> None:
    _, forked_from = where_from()
    os.kill(forked_from, signal.SIGKILL)
    wait_until(lambda: not is_alive(forked_from), "its end")
    with Child(answer_late) as child:
        assert child.receive() == "ready"
