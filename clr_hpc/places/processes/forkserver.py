"""Fresh processes that train or measure, each forked from one that has imported torch and done nothing since.

Importing torch and what else training imports takes seconds of a core and a fifth of a gigabyte. Every process of
a node, and each replacement of a dead one, would pay that again.
"""

import gc
import logging
import multiprocessing
import os
import signal
import time
from collections.abc import Callable
from contextlib import suppress
from multiprocessing import forkserver, resource_tracker
from multiprocessing.connection import Connection
from multiprocessing.context import ForkServerContext
from multiprocessing.process import BaseProcess
from threading import Thread
from types import TracebackType
from typing import Any, Self

from clr_hpc.config.base import UserError
from clr_hpc.places.environment import environment
from clr_hpc.places.signals import SENT_TO_ALL, blocked_signals
from clr_hpc.store.provenance import safe_path

log = logging.getLogger(__name__)
TRIES = 2
"""Starts of a process, each of which also starts the one that it is forked from, where that has died."""
AGAIN_SECONDS = 0.5
"""Before the next, since the sockets of one that is dying are gone before multiprocessing can see its death."""
GONE_SECONDS = 10.0
"""Time for a process to end by itself, once its connection is closed."""
FORK_SERVER_GONE = 255
"""Exit code that multiprocessing gives a process when the one that knows its own has died."""


class ProcessError(UserError):
    """A process can't be started, or died before it could answer."""


class Child:
    """A process that calls ``target(connection, *arguments)``, and this side of the connection.

    Ctrl-C, which a terminal sends to all processes, is this process's to handle: the child ignores it and SIGUSR2.
    SIGTERM is blocked until ``target`` calls ``begin``, which it must. The child dies when this process does.
    """

    def __init__(self, target: Callable[..., None], *arguments: Any) -> None:
        """Start it.

        Raises:
            ProcessError: it can't be started, twice in a row.
        """
        for tries_left in reversed(range(TRIES)):
            try:
                self._start(target, arguments)
            except (OSError, EOFError) as error:
                reason = f"{type(error).__name__}: {error}"
                if not tries_left:
                    raise ProcessError(
                        _cannot_start(f"the one that it is forked from has died ({reason})")
                    ) from error
                log.info("a process can't be started, and is tried again: %s", reason)
                time.sleep(AGAIN_SECONDS)
            else:
                return

    def _start(self, target: Callable[..., None], arguments: tuple[Any, ...]) -> None:
        context = fresh_processes()
        self.connection, theirs = context.Pipe()
        try:
            self.process = context.Process(target=_enter, args=(theirs, target, arguments), daemon=True)
            self.process.start()
        except BaseException:
            self.connection.close()
            raise
        finally:
            theirs.close()

    def send(self, message: Any) -> None:
        """Send a message; to one that has died nothing is sent, and ``receive`` tells."""
        with suppress(BrokenPipeError, ConnectionResetError):
            self.connection.send(message)

    def receive(self) -> Any:
        """Wait for a message.

        Raises:
            EOFError: the process has died, and ``death`` tells how.
            ProcessError: it could not begin.
        """
        try:
            message = self.connection.recv()
        except ConnectionResetError as error:
            raise EOFError from error
        if isinstance(message, _CannotBegin):
            raise ProcessError(_cannot_start(message.reason))
        return message

    @property
    def death(self) -> str:
        """What is known of its end: ``process 17 was killed by SIGKILL``."""
        self.process.join(GONE_SECONDS)
        code = self.process.exitcode
        if code is not None and code < 0:
            return f"process {self.process.pid} was killed by {signal.Signals(-code).name}"
        unknown = code is None or code == FORK_SERVER_GONE
        return f"process {self.process.pid} died" + ("" if unknown else f" with exit code {code}")

    def close(self, seconds: float | None = GONE_SECONDS) -> None:
        """Close the connection, which ends the process; kill it after so many seconds."""
        self.connection.close()
        self.process.join(seconds)
        if self.process.is_alive():
            self.kill()

    def kill(self) -> None:
        """End it at once."""
        self.connection.close()
        self.process.kill()
        self.process.join(GONE_SECONDS)

    def __enter__(self) -> Self:
        """Return itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close it; after Ctrl-C or another error nobody waits for what it does."""
        if kind is None:
            self.close()
        else:
            self.kill()


class _CannotBegin:
    def __init__(self, reason: str) -> None:
        self.reason = reason


def _cannot_start(reason: str) -> str:
    return (
        f"a process that trains or measures can't be started: {reason}; memory may be short: look into the system "
        "log, raise the limit (ulimit -v, the job's --mem), or take fewer with --processes"
    )


def fresh_processes() -> ForkServerContext:
    """Return the ``multiprocessing`` context whose processes have imported what training needs.

    The process that they are forked from ignores ``SENT_TO_ALL``. In each new process these signals are blocked
    until it calls ``begin``, which it must: ``terminate`` has no effect before that. Environment variables are
    those at the first call.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["clr_hpc.places.processes.preload"])
    with blocked_signals():
        resource_tracker.ensure_running()  # which unblocks SIGTERM in this process
    # multiprocessing has no argument for options of Python
    with blocked_signals(), environment({"PYTHONSAFEPATH": "1"} if safe_path() else {}):
        forkserver.ensure_running()
    return context


def begin() -> None:
    """Begin in such a process, once its signal handlers are set: unblock the signals."""
    # else the garbage collector would visit what processes share, and so copy it for each
    gc.freeze()
    signal.pthread_sigmask(signal.SIG_UNBLOCK, SENT_TO_ALL)


def die_with_parent() -> None:
    """Kill this process when the one that requested it dies, so that no run continues unseen after kill -9.

    Linux's PR_SET_PDEATHSIG would watch the process that this one was forked from, which lives as long as it.
    """
    Thread(target=_kill_after, args=(multiprocessing.parent_process(),), daemon=True).start()


def _kill_after(parent: BaseProcess) -> None:
    parent.join()
    os.kill(os.getpid(), signal.SIGKILL)


def _enter(connection: Connection, target: Callable[..., None], arguments: tuple[Any, ...]) -> None:
    """Call the target, in the new process."""
    from clr_hpc.places.processes import preload

    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGUSR2, signal.SIG_IGN)
    die_with_parent()
    with suppress(BrokenPipeError, ConnectionResetError):  # nobody is there to answer to
        if preload.failure is not None:
            connection.send(_CannotBegin(preload.failure))
        else:
            target(connection, *arguments)
