"""Fresh processes that train, each forked from one that has imported torch and done nothing since.

Importing torch and what training imports besides takes seconds of a core and a fifth of a gigabyte. A process for
each core or GPU of a node, and each one that replaces a dead one, would pay that again.
"""

import multiprocessing
import os
import signal
from multiprocessing import forkserver, resource_tracker
from multiprocessing.context import ForkServerContext
from multiprocessing.process import BaseProcess
from threading import Thread

DEAF_TO = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR2)
"""SLURM sends these to all processes of a job; what others are forked from has to outlive them."""


def fresh_processes() -> ForkServerContext:
    """Return the ``multiprocessing`` context whose processes have imported what trains.

    Signals of ``DEAF_TO`` wait in each new process until it calls ``hear_signals``, which it must: ``terminate``
    has no effect before that. Environment variables are those at the first call.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["clr_hpc.execution.training_imports"])
    resource_tracker.ensure_running()  # it leaves SIGTERM unblocked, so it comes first
    before = signal.pthread_sigmask(signal.SIG_BLOCK, DEAF_TO)  # which the process and all it forks inherit
    try:
        forkserver.ensure_running()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
    return context


def hear_signals() -> None:
    """Let the signals through that waited until this process was ready for them."""
    signal.pthread_sigmask(signal.SIG_UNBLOCK, DEAF_TO)


def die_with_parent() -> None:
    """Kill this process when the one that wanted it dies, so that no run goes on unseen after kill -9.

    Linux's PR_SET_PDEATHSIG would heed the process that this one was forked from, which lives as long as this one.
    """
    Thread(target=_kill_after, args=(multiprocessing.parent_process(),), daemon=True).start()


def _kill_after(parent: BaseProcess) -> None:
    parent.join()
    os.kill(os.getpid(), signal.SIGKILL)
