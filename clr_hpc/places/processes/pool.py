"""Processes of one machine that stay warm and train one run, or one cohort, after the other."""

import time
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from itertools import chain
from multiprocessing.synchronize import Event
from pathlib import Path
from typing import Literal

from clr_hpc.config.run import RunSpec
from clr_hpc.places.job import ListedRuns, RunQueue, WorkerTask
from clr_hpc.places.processes.cohort import ready_cohorts
from clr_hpc.places.processes.forkserver import fresh_processes
from clr_hpc.places.processes.worker import leave_failure, start_worker, train_in_worker
from clr_hpc.training.run import ExitStatus

POLL_SECONDS = 0.5


def drain(
    queue: RunQueue,
    task: WorkerTask,
    count: int,
    threads: int,
    should_stop: Callable[[], bool],
    on_poll: Callable[[set[RunSpec]], None],
    on_end: Callable[[RunSpec, ExitStatus], None],
    cohort: int = 1,
) -> bool:
    """Train what a queue gives until it is finished.

    Args:
        queue: asked for the next run whenever a process is free.
        task: what all processes are told.
        count: of the processes.
        threads: CPU threads of each.
        should_stop: asked about twice a second.
        on_poll: called about twice a second with the runs that are being trained.
        on_end: called when a run ends; of a cohort, when all its runs have.
        cohort: runs that a process trains side by side, at most.

    Returns:
        False where ``should_stop`` ended it; every run then under way is saved.
    """
    suspects: list[RunSpec] = []
    while suspects or not queue.is_finished:
        # when a process dies, all that were under way are suspects: each then runs alone, and the guilty one shows
        source, at_once, most = (ListedRuns(suspects[:1]), 1, 1) if suspects else (queue, count, cohort)
        with _Workers(task, at_once, threads, most) as workers:
            queue.processes_started()
            for spec, outcome in workers.train(source, queue.until_epochs, should_stop, on_poll):
                if outcome == "process died":
                    if spec not in suspects:
                        suspects.append(spec)
                        continue
                    outcome = _leave_result_of_dead_process(task.runs_folder / spec.name)
                if spec in suspects:
                    suspects.remove(spec)
                    source.ended(spec, outcome)
                queue.ended(spec, outcome)
                on_end(spec, outcome)
            if workers.stopped:
                return False
    return True


class _Workers:
    """A pool of warm processes, started with the first run, and the stop signal for them."""

    def __init__(self, task: WorkerTask, count: int, threads: int, cohort: int) -> None:
        self._task, self._count, self._threads, self._cohort = task, count, threads, cohort
        self._pool: ProcessPoolExecutor | None = None
        self._stop: Event | None = None
        self.stopped = False

    def _started(self) -> ProcessPoolExecutor:
        if self._pool is None:
            context = fresh_processes()
            numbers = context.SimpleQueue()
            for number in range(self._count):
                numbers.put(number)
            self._stop = context.Event()
            start = (numbers, self._stop, self._task, self._threads)
            self._pool = ProcessPoolExecutor(self._count, context, start_worker, start)
        return self._pool

    def train(
        self,
        queue: RunQueue,
        until_epochs: Callable[[RunSpec], float],
        should_stop: Callable[[], bool],
        on_poll: Callable[[set[RunSpec]], None],
    ) -> Iterator[tuple[RunSpec, ExitStatus | Literal["process died"]]]:
        """Yield each run as it ends, with its outcome or ``process died``; stop where the pool can't go on."""
        pending: dict[Future[list[ExitStatus]], list[RunSpec]] = {}
        broken = False
        while pending or not (queue.is_finished or self.stopped or broken or queue.wants_fresh_processes):
            if not self.stopped and should_stop():
                self.stopped = True
                if self._stop is not None:
                    self._stop.set()
            closed = self.stopped or broken or queue.wants_fresh_processes
            free = 0 if closed else self._count - len(pending)
            under_way = list(chain.from_iterable(pending.values()))
            for cohort in ready_cohorts(queue, under_way, free, self._count, self._cohort):
                runs = [(spec, until_epochs(spec)) for spec in cohort]
                try:
                    pending[self._started().submit(train_in_worker, runs)] = cohort
                except BrokenProcessPool:  # a process died while it had nothing to do
                    broken = True
                    break
            if not pending:
                time.sleep(POLL_SECONDS)
            ended, _ = wait(pending, timeout=POLL_SECONDS, return_when=FIRST_COMPLETED)
            on_poll(set(chain.from_iterable(pending.values())))
            for future in ended:
                cohort = pending.pop(future)
                try:
                    outcomes = future.result()
                except BrokenProcessPool:
                    broken = True
                    yield from ((spec, "process died") for spec in cohort)
                else:
                    for spec, outcome in zip(cohort, outcomes, strict=True):
                        if outcome != "stopped" or not self.stopped:
                            yield spec, outcome

    def __enter__(self) -> "_Workers":
        return self

    def __exit__(self, *_: object) -> None:
        if self._pool is not None:
            self._pool.shutdown(wait=True, cancel_futures=True)


def _leave_result_of_dead_process(folder: Path) -> ExitStatus:
    return leave_failure(
        folder,
        ChildProcessError(
            "the process that trained it died twice, once with nothing beside it; when memory is short the kernel "
            "kills processes: look into the system log, or lower training.batch_size"
        ),
    )
