"""Fresh processes that train, each forked from one that has imported torch and done nothing since.

Importing torch and what else training imports takes seconds of a core and a fifth of a gigabyte. Every process of
a node, and each replacement of a dead one, would pay that again.
"""

import gc
import multiprocessing
import os
import signal
from multiprocessing import forkserver, resource_tracker
from multiprocessing.context import ForkServerContext
from multiprocessing.process import BaseProcess
from threading import Thread

from clr_hpc.places.signals import SENT_TO_ALL, blocked_signals


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
    with blocked_signals():
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
