"""Processes forked from one that has imported torch; that they die with the command is in test_inline.py."""

import os
import signal
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Any

from child_processes import hear_late, say_where_from

from clr_hpc.places.processes.forkserver import fresh_processes
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


def test_a_signal_that_comes_too_early_is_heard_when_they_are_ready() -> None:
    process, connection = start(hear_late)
    assert connection.recv() == "not ready"
    os.kill(process.pid, signal.SIGTERM)
    connection.send("be ready")
    assert connection.recv() == (0, 1)
    process.join()
    assert process.exitcode == 0
