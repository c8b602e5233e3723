"""Runs that one process trains side by side: which go together, and how they take turns.

Each run has a thread that calls ``train_run``, and the threads take turns, one step each. A step, which seeds
torch's global generator and draws a dropout mask from it, is never interrupted by that of another run, so a run
ends with the same bytes as alone. On a GPU each thread has a stream of its own: the host serves one run at a time,
and the kernels of several overlap.
"""

import math
import threading
from collections.abc import Callable, Collection, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from clr_hpc.config.run import RunSpec
from clr_hpc.places.queue import Assignment, Assignments, Finished, Queue, Wait
from clr_hpc.training.round_robin import RoundRobinLock
from clr_hpc.training.run import ExitStatus, RunSettings, train_run

if TYPE_CHECKING:
    import torch

    from clr_hpc.data.pack import Pack
    from clr_hpc.training.distributed import ProcessGroup

WAKE_SECONDS = 1.0
"""Python handles signals in the main thread, which one that arrives in another thread does not wake."""


@dataclass(frozen=True)
class CohortRun:
    """A run of a cohort: the arguments of ``train_run`` that differ between runs."""

    spec: RunSpec
    folder: Path
    should_stop: Callable[[], bool]
    until_epochs: float = math.inf


def train_cohort(
    runs: Sequence[CohortRun],
    pack: "Pack",
    group: "ProcessGroup",
    settings: RunSettings,
    place: str,
) -> list[ExitStatus]:
    """Train runs side by side in this process, which is alone in its group, and return the outcome of each.

    The end of one run affects no other: see ``train_run``. Returns when the last has ended. A single run is
    trained in the calling thread; only such a run can be profiled.

    Raises:
        Exception: what ``train_run`` raised, if it did, once all runs have ended.
        KeyboardInterrupt: Ctrl-C was pressed; every run is saved.
    """

    def train(run: CohortRun, should_stop: Callable[[], bool]) -> ExitStatus:
        return train_run(run.spec, pack, run.folder, group, should_stop, settings, place, run.until_epochs)

    if len(runs) == 1:
        return [train(runs[0], runs[0].should_stop)]
    take_turn = partial(_train_in_turns, train, RoundRobinLock(), interrupted := threading.Event(), group.device)
    with ThreadPoolExecutor(len(runs), "cohort") as threads:
        endings = [threads.submit(take_turn, run) for run in runs]
        try:
            while wait(endings, timeout=WAKE_SECONDS).not_done:
                continue
        except BaseException:
            interrupted.set()
            raise  # once the threads have saved and ended
    return [ending.result() for ending in endings]


def _train_in_turns(
    train: Callable[[CohortRun, Callable[[], bool]], ExitStatus],
    turns: RoundRobinLock,
    interrupted: threading.Event,
    device: "torch.device",
    run: CohortRun,
) -> ExitStatus:
    """Train a run in this thread, which yields to the others after each step."""
    has_stepped = False

    def should_stop() -> bool:
        nonlocal has_stepped
        if not has_stepped:
            # what the first run prepares for all, such as the pack's pixels, is there before another reads it
            _wait_for(device)
            has_stepped = True
        turns.yield_to_others()
        return interrupted.is_set() or run.should_stop()

    with turns, _own_stream(device):
        # a stop may have been requested before this thread's first turn
        return "stopped" if interrupted.is_set() or run.should_stop() else train(run, should_stop)


@contextmanager
def _own_stream(device: "torch.device") -> Iterator[None]:
    """Let the kernels of this thread overlap with those of others."""
    if device.type != "cuda":
        yield
        return
    import torch

    with torch.cuda.stream(torch.cuda.Stream(device)):  # type: ignore[no-untyped-call]
        try:
            yield
        finally:
            _wait_for(device)


def _wait_for(device: "torch.device") -> None:
    """Wait for the kernels that this thread launched."""
    if device.type == "cuda":
        import torch

        torch.cuda.current_stream(device).synchronize()


def ready_cohorts(
    queue: Queue | Assignments, busy: Collection[RunSpec], free: int, processes: int, most: int
) -> tuple[list[list[Assignment]], Wait | Finished]:
    """Return a list of assignments for each free process, none empty, and the queue's answer when it had no more.

    The runs of a list share architecture and image size. Processes get equal shares of what is ready, so that none
    takes all and leaves the others idle.

    Args:
        queue: asked for what is ready.
        busy: runs that are being trained.
        free: number of processes that wait for runs.
        processes: number of all processes.
        most: length of a list.
    """
    ready: list[Assignment] = []
    answer: Wait | Finished = "wait"
    wanted = free if most == 1 else processes * most
    while len(ready) < wanted:
        found = queue.next(0, [*busy, *(assignment.spec for assignment in ready)])
        if not isinstance(found, Assignment):
            answer = found
            break
        ready.append(found)
    share = min(most, math.ceil(len(ready) / processes))
    cohorts: list[list[Assignment]] = []
    while ready and len(cohorts) < free:
        cohorts.append([one for one in ready if _shape(one.spec) == _shape(ready[0].spec)][:share])
        ready = [one for one in ready if one not in cohorts[-1]]
    return cohorts, answer


def _shape(spec: RunSpec) -> tuple[str, int]:
    return spec.architecture, spec.training.image_size
