"""Processes that read images side by side."""

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from multiprocessing.connection import wait
from typing import TypeVar

from clr_hpc.data.manifest import PackError

Item = TypeVar("Item")
Result = TypeVar("Result")


@contextmanager
def mapped(
    function: Callable[[Item], Result], items: Sequence[Item], workers: int, at_once: int = 1
) -> Iterator[Iterator[Result]]:
    """Give the results of a function in the order of its items, from processes that end with this one.

    Args:
        function: of a module, so that it can be sent to a process; so can items and results.
        items: what it is called with.
        workers: processes; with 1 it is called here.
        at_once: items that a process gets with one message.

    Raises:
        PackError: a process died.
    """
    if workers == 1 or len(items) <= at_once:
        yield map(function, items)
        return
    # Spawned rather than forked: a fork under threads, which numpy and torch start, can deadlock.
    executor = ProcessPoolExecutor(
        min(workers, len(items)), multiprocessing.get_context("spawn"), initializer=_start_worker
    )
    try:
        yield executor.map(function, items, chunksize=at_once)
    except BrokenProcessPool as error:
        raise PackError(
            "a worker process died, most likely out of memory; finished shards are kept: run the same command "
            'again with fewer workers. In a script, packs are built below the line: if __name__ == "__main__":'
        ) from error
    finally:
        executor.shutdown(cancel_futures=True)


def _start_worker() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the parent ends its workers
    parent = multiprocessing.parent_process()
    assert parent is not None

    def end_with_parent() -> None:
        wait([parent.sentinel])
        os._exit(1)

    threading.Thread(target=end_with_parent, daemon=True).start()
