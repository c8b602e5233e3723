"""What processes that tests start do: importable by name, as a new process needs it."""

import os
import signal
import sys
from contextlib import suppress
from multiprocessing.connection import Connection

from clr_hpc.places.processes.forkserver import _CannotBegin, begin


def say_where_from(connection: Connection) -> None:
    """Send which modules are there at the start, and the process that this one was forked from."""
    connection.send((set(sys.modules), os.getppid()))


def hear_late(connection: Connection) -> None:
    """Be ready for SIGTERM when the other end says so; then send how often it came."""
    heard: list[int] = []
    signal.signal(signal.SIGTERM, lambda number, _: heard.append(number))
    connection.send("not ready")
    connection.recv()
    before = len(heard)
    begin()
    connection.send((before, len(heard)))


def kill_itself(*_: object) -> None:
    """End as by the kernel where memory is short."""
    os.kill(os.getpid(), signal.SIGKILL)


def cannot_begin(connection: Connection) -> None:
    """Answer as a process whose imports have failed."""
    connection.send(_CannotBegin("ImportError: libtorch.so: cannot map"))


def answer_late(connection: Connection) -> None:
    """Answer when nobody is there any more."""
    begin()
    connection.send("ready")
    with suppress(EOFError):
        connection.recv()
    connection.send("too late")
