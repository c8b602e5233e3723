"""Processes of one machine that stay warm and train one run, or one cohort, after the other."""

import signal
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from multiprocessing.synchronize import Event
from types import FrameType
from typing import Any, Literal

from clr_hpc.config.run import RunSpec
from clr_hpc.places.job import WorkerTask
from clr_hpc.places.processes.cohort import CohortRun, ready_cohorts, train_cohort
from clr_hpc.places.processes.forkserver import begin, die_with_parent, fresh_processes
from clr_hpc.places.queue import Assignment, ListedRuns, Queue, leave_failure
from clr_hpc.places.signals import StopOrCancelled
from clr_hpc.training.run import ExitStatus

EXIT_SECONDS = 3
"""After SIGTERM, from the end of the interrupted run to the end of the process, if its parent does not end it."""
POLL_SECONDS = 0.5
DIED_ALONE = (
    "the process that trained it died twice, once with nothing beside it; when memory is short the kernel "
    "kills processes: look into the system log, or lower training.batch_size"
)


def drain(
    queue: Queue,
    task: WorkerTask,
    count: int,
    threads: int,
    should_stop: Callable[[], bool],
    on_poll: Callable[[set[RunSpec]], None],
    on_end: Callable[[RunSpec, ExitStatus], bool | None],
    cohort: int = 1,
) -> bool:
    """Train what a queue assigns until it is finished.

    Args:
        queue: asked for the next run whenever a process is free.
        task: the same for all processes.
        count: number of processes.
        threads: CPU threads of each.
        should_stop: called about twice a second.
        on_poll: called about twice a second with the runs that are being trained.
        on_end: called when a run ends; of a cohort, when all its runs have. Where it returns True, the processes
            are replaced by fresh ones before another run starts.
        cohort: most runs that a process trains side by side.

    Returns:
        False where ``should_stop`` ended it; every run then under way is saved.
    """
    suspects: list[Assignment] = []
    is_finished = False
    while suspects or not is_finished:
        # when a process dies, all that were under way are suspects: each then runs alone, and the guilty one shows
        alone = [ListedRuns([one.spec], one.until_epochs) for one in suspects[:1]]
        with _Workers(task, *((1, threads, 1) if alone else (count, threads, cohort))) as workers:
            for assignment, outcome in workers.train(alone[0] if alone else queue, should_stop, on_poll):
                spec = assignment.spec
                if outcome == "process died":
                    if not alone:
                        suspects.append(assignment)
                        continue
                    outcome = leave_failure(task.runs_folder / spec.name, ChildProcessError(DIED_ALONE))
                if alone:
                    suspects.remove(assignment)
                    alone[0].ended(spec, outcome)
                queue.ended(spec, outcome)
                workers.is_closed |= on_end(spec, outcome) is True
            if workers.is_stopped:
                return False
            is_finished = workers.is_finished and not alone
    return True


class _Workers:
    """A pool of warm processes, started with the first run, and the stop signal for them."""

    def __init__(self, task: WorkerTask, count: int, threads: int, cohort: int) -> None:
        self._task, self._count, self._threads, self._cohort = task, count, threads, cohort
        self._pool: ProcessPoolExecutor | None = None
        self._stop: Event | None = None
        self.is_stopped = False
        self.is_closed = False
        """Whether they take no further run: one died, or they are to be replaced."""
        self.is_finished = False
        """Whether the queue was finished when they had ended their last run."""

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
        self, queue: Queue, should_stop: Callable[[], bool], on_poll: Callable[[set[RunSpec]], None]
    ) -> Iterator[tuple[Assignment, ExitStatus | Literal["process died"]]]:
        """Yield each assignment as it ends, with its outcome or ``process died``."""
        pending: dict[Future[list[ExitStatus]], list[Assignment]] = {}
        while True:
            if not self.is_stopped and should_stop():
                self.is_stopped = True
                if self._stop is not None:
                    self._stop.set()
            if not (self.is_stopped or self.is_closed):
                self._submit(queue, pending)
            if not pending:
                if self.is_stopped or self.is_closed or self.is_finished:
                    return
                time.sleep(POLL_SECONDS)
            ended, _ = wait(pending, timeout=POLL_SECONDS, return_when=FIRST_COMPLETED)
            on_poll(_specs(pending))
            for future in ended:
                cohort = pending.pop(future)
                try:
                    outcomes = future.result()
                except BrokenProcessPool:
                    self.is_closed = True
                    yield from ((assignment, "process died") for assignment in cohort)
                else:
                    for assignment, outcome in zip(cohort, outcomes, strict=True):
                        if outcome != "stopped" or not self.is_stopped:
                            yield assignment, outcome

    def _submit(self, queue: Queue, pending: dict[Future[list[ExitStatus]], list[Assignment]]) -> None:
        """Give the free processes what the queue has for them."""
        free = self._count - len(pending)
        cohorts, answer = ready_cohorts(queue, _specs(pending), free, self._count, self._cohort)
        self.is_finished = answer == "finished"
        for cohort in cohorts:
            try:
                pending[self._started().submit(train_in_worker, cohort)] = cohort
            except BrokenProcessPool:  # a process died while it had nothing to do
                self.is_closed = True
                return

    def __enter__(self) -> "_Workers":
        return self

    def __exit__(self, *_: object) -> None:
        if self._pool is not None:
            self._pool.shutdown(wait=True, cancel_futures=True)


def _specs(pending: dict[Future[list[ExitStatus]], list[Assignment]]) -> set[RunSpec]:
    return {assignment.spec for cohort in pending.values() for assignment in cohort}


# what follows runs in the processes

_worker: dict[str, Any] = {}
"""The task of this process, what it has opened, and its state."""


def start_worker(numbers: Any, stop: Any, task: WorkerTask, threads: int) -> None:
    """Prepare this process for signals and for what it will train.

    Args:
        numbers: a queue that holds a number for each process.
        stop: an event that is set when all are to save and stop.
        task: the same for all processes.
        threads: CPU threads of this one.
    """
    # the parent handles Ctrl-C, and what SLURM sends to all processes of a job, and sets the stop event
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGUSR2, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, _on_terminate)
    begin()
    die_with_parent()
    _worker.update(stop=stop, task=task, number=numbers.get(), threads=threads)


def _open_what_runs_share(task: WorkerTask) -> None:
    """Open device and pack, with the first run, so that what is wrong with them is a reason like others."""
    import torch

    from clr_hpc.data.pack import Pack
    from clr_hpc.training.distributed import ProcessGroup

    torch.set_num_threads(_worker["threads"])
    number = _worker["number"]
    cuda = torch.cuda.is_available()
    device = torch.device("cuda", number % torch.cuda.device_count()) if cuda else torch.device("cpu")
    _worker.update(pack=Pack.open(task.pack_folder), group=ProcessGroup.alone(device))


def _on_terminate(_number: int, _frame: FrameType | None) -> None:
    """Save the run under way before the end, as its parent may have no time to ask for it."""
    _worker["terminated"] = True
    if not _worker.get("busy"):
        signal.alarm(EXIT_SECONDS)


def train_in_worker(cohort: Sequence[Assignment]) -> list[ExitStatus]:
    """Train assignments side by side in this process; see ``train_run``."""
    task: WorkerTask = _worker["task"]
    runs = [
        CohortRun(
            assignment.spec,
            task.runs_folder / assignment.spec.name,
            StopOrCancelled(_must_stop, task.cancelled_folder, assignment.spec.name),
            assignment.until_epochs,
        )
        for assignment in cohort
    ]
    if all(run.should_stop() for run in runs):
        return ["stopped" for _ in runs]
    place = (task.place or "process {number}").format(number=_worker["number"])
    _worker["busy"] = True
    try:
        if "pack" not in _worker:
            try:
                _open_what_runs_share(task)
            except Exception as error:  # the device or the disk; the next run tries again
                return [leave_failure(run.folder, error) for run in runs]
        return train_cohort(runs, _worker["pack"], _worker["group"], task.settings, place)
    finally:
        _worker["busy"] = False
        if _worker.get("terminated"):
            signal.alarm(EXIT_SECONDS)  # the outcome still has to reach the parent


def _must_stop() -> bool:
    return bool(_worker.get("terminated")) or bool(_worker["stop"].is_set())
