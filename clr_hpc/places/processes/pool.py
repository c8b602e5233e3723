"""Processes of one machine that stay warm and train one run, or one cohort, after the other."""

import signal
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from queue import Empty, SimpleQueue
from threading import Event, Thread
from types import FrameType, TracebackType
from typing import TYPE_CHECKING

from clr_hpc.config.run import RunSpec
from clr_hpc.places.job import WorkerTask
from clr_hpc.places.processes.cohort import CohortRun, ready_cohorts, train_cohort
from clr_hpc.places.processes.forkserver import GONE_SECONDS, Child, ProcessError, begin
from clr_hpc.places.queue import (
    MEMORY_MAY_BE_SHORT,
    Assignment,
    Assignments,
    Finished,
    Queue,
    Wait,
    leave_failure,
)
from clr_hpc.places.signals import StopOrCancelled
from clr_hpc.training.run import ExitStatus

if TYPE_CHECKING:
    from clr_hpc.data.pack import Pack
    from clr_hpc.training.distributed import ProcessGroup

POLL_SECONDS = 0.5
SAVE_SECONDS = 60.0
"""Time for processes to save their runs where the command ends by an error."""
WAKE_SECONDS = 1.0
"""Between two looks of an idle process at what it was told: a signal need not wake the thread that waits."""
MOST_FRUITLESS_DEATHS = 3
"""Processes that die in a row before they have begun, after which no more are started."""


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
        on_end: called when a run ends, or is first found to be trained by another process; of a cohort, when all
            its runs have ended. Where it returns True, the processes are replaced by fresh ones before another run
            starts.
        cohort: most runs that a process trains side by side.

    Returns:
        False where ``should_stop`` ended it; every run then under way is saved.

    Raises:
        ProcessError: processes can't be started, or die before they have begun.
    """
    runs = Assignments(queue, task.runs_folder, task.cancelled_folder)
    is_stopped = is_finished = False
    with _Workers(task, count, threads, cohort) as workers:
        while True:
            if not is_stopped and should_stop():
                is_stopped = True
                workers.stop()
            if not is_stopped:
                is_finished = workers.assign(runs) == "finished"
            if not workers.under_way and (is_stopped or is_finished):
                return not is_stopped
            for spec, outcome in workers.wait():
                if isinstance(outcome, _Death):
                    last = None if is_stopped else runs.died(spec, outcome.how)
                elif is_stopped and outcome in ("stopped", "in use"):
                    last = None
                else:
                    last = outcome if runs.ended(spec, outcome) else None
                if last is not None and on_end(spec, last) is True:
                    workers.replace()
            on_poll(workers.under_way)


@dataclass(frozen=True)
class _Death:
    """What becomes of a run whose process has died."""

    how: str


@dataclass(eq=False)
class _Worker:
    """A process, from the command's side."""

    child: Child
    number: int
    cohort: list[Assignment] = field(default_factory=list)
    """What it trains."""
    has_begun: bool = False


class _Workers:
    """Warm processes. Each is started with its first run, and so is one that takes the place of another."""

    def __init__(self, task: WorkerTask, count: int, threads: int, cohort: int) -> None:
        self._task, self._count, self._threads, self._cohort = task, count, threads, cohort
        self._all: list[_Worker] = []
        self._fruitless_deaths = 0
        self._are_to_go = False

    @property
    def under_way(self) -> set[RunSpec]:
        """The runs that are being trained."""
        return {assignment.spec for worker in self._all for assignment in worker.cohort}

    def assign(self, runs: Assignments) -> Wait | Finished:
        """Give free processes what there is for them, and return what the queue has for the others."""
        under_way, suspects = self.under_way, runs.suspects
        if under_way and (self._are_to_go or not under_way.isdisjoint(suspects)):
            return "wait"
        if self._are_to_go:
            self._end()
            self._are_to_go = False
        free = self._count - sum(bool(worker.cohort) for worker in self._all)
        cohorts, answer = ready_cohorts(runs, [*under_way, *suspects], free, self._count, self._cohort)
        for cohort in cohorts:
            self._give(cohort)
        if not suspects:
            return answer
        return "wait" if cohorts or under_way else self._give_alone(runs, suspects)

    def _give_alone(self, runs: Assignments, suspects: Sequence[RunSpec]) -> Wait | Finished:
        """Train, in one process and with no other running, a run whose workers kept dying."""
        self._end()
        answer: Wait | Finished = "wait"
        for suspect in suspects:
            found = runs.next(0, [spec for spec in suspects if spec is not suspect])
            if isinstance(found, Assignment):
                self._give([found])
                return "wait"
            answer = found
        return answer

    def _give(self, cohort: list[Assignment]) -> None:
        worker = next((worker for worker in self._all if not worker.cohort), None)
        if worker is None:
            number = min(set(range(self._count)) - {worker.number for worker in self._all})
            worker = _Worker(Child(serve, number, self._task, self._threads), number)
            self._all.append(worker)
        worker.cohort = cohort
        worker.child.send(cohort)

    def wait(self) -> Iterator[tuple[RunSpec, ExitStatus | _Death]]:
        """Wait a moment, and yield the runs that processes have left meanwhile."""
        if not self._all:
            time.sleep(POLL_SECONDS)
        heard = wait([worker.child.connection for worker in self._all], POLL_SECONDS) if self._all else []
        for worker in [worker for worker in self._all if worker.child.connection in heard]:
            yield from self._hear(worker)

    def _hear(self, worker: _Worker) -> list[tuple[RunSpec, ExitStatus | _Death]]:
        try:
            message = worker.child.receive()
        except EOFError:
            return self._bury(worker)
        if message == BEGUN:
            worker.has_begun = True
            return []
        self._fruitless_deaths = 0
        cohort, worker.cohort = worker.cohort, []
        outcomes, leaves = message
        if leaves:
            self._all.remove(worker)
            worker.child.close()
            outcomes = outcomes or ["stopped" for _ in cohort]  # given when it was about to leave
        return [(assignment.spec, outcome) for assignment, outcome in zip(cohort, outcomes, strict=True)]

    def _bury(self, worker: _Worker) -> list[tuple[RunSpec, ExitStatus | _Death]]:
        self._all.remove(worker)
        worker.child.close()
        if worker.has_begun:
            return [(assignment.spec, _Death(worker.child.death)) for assignment in worker.cohort]
        self._fruitless_deaths += 1
        if self._fruitless_deaths == MOST_FRUITLESS_DEATHS:
            raise ProcessError(
                f"{MOST_FRUITLESS_DEATHS} processes in a row have died before they could train; the last one: "
                f"{worker.child.death}; {MEMORY_MAY_BE_SHORT}"
            )
        return [(assignment.spec, "stopped") for assignment in worker.cohort]

    def replace(self) -> None:
        """Have all processes replaced by fresh ones when they are free."""
        self._are_to_go = True

    def stop(self) -> None:
        """Have every run under way saved."""
        for worker in self._all:
            worker.child.send(STOP)

    def _end(self, seconds: float = GONE_SECONDS) -> None:
        for worker in self._all:
            worker.child.connection.close()  # all begin to end
        for worker in self._all:
            worker.child.close(seconds)
        self._all = []

    def __enter__(self) -> "_Workers":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End all: at once after a second Ctrl-C, else when they have saved."""
        if kind is not None and not issubclass(kind, Exception):
            for worker in self._all:
                worker.child.kill()
        else:
            self._end(GONE_SECONDS if kind is None else SAVE_SECONDS)


# what follows runs in the processes

BEGUN, STOP = "begun", "stop"


def serve(connection: Connection, number: int, task: WorkerTask, threads: int) -> None:
    """Train the cohorts that come through a connection, until its other end is closed or SIGTERM comes.

    Args:
        connection: takes ``BEGUN``, and for each cohort its outcomes with whether this process ends now.
        number: of this process.
        task: the same for all processes.
        threads: CPU threads of this one.
    """
    _Server(connection, number, task, threads).serve()


class _Server:
    """A process, from its own side."""

    def __init__(self, connection: Connection, number: int, task: WorkerTask, threads: int) -> None:
        self._connection, self._number, self._task, self._threads = connection, number, task, threads
        self._inbox: SimpleQueue[list[Assignment] | None] = SimpleQueue()
        self._must_stop = Event()
        self._is_terminated = False
        self._opened: tuple[Pack, ProcessGroup] | None = None

    def serve(self) -> None:
        signal.signal(signal.SIGTERM, self._on_terminate)
        Thread(target=self._listen, daemon=True).start()
        begin()
        self._connection.send(BEGUN)
        leaves = False
        while not leaves:
            try:
                cohort = self._inbox.get(timeout=WAKE_SECONDS)
            except Empty:
                cohort = []
            if cohort is None:
                return
            outcomes = self._train(cohort) if cohort else []
            leaves = self._is_terminated
            if cohort or leaves:
                self._connection.send((outcomes, leaves))

    def _on_terminate(self, _number: int, _frame: FrameType | None) -> None:
        """Save the run under way and end; another process resumes it, unless the command ends, too."""
        self._is_terminated = True

    def _listen(self) -> None:
        """Take messages in a thread, so that nobody has to look for them at each step."""
        while True:
            try:
                message = self._connection.recv()
            except (OSError, EOFError):
                self._must_stop.set()
                self._inbox.put(None)
                return
            if message == STOP:
                self._must_stop.set()
            else:
                self._inbox.put(message)

    def _stops(self) -> bool:
        return self._is_terminated or self._must_stop.is_set()

    def _train(self, cohort: Sequence[Assignment]) -> list[ExitStatus]:
        """Train assignments side by side in this process; see ``train_run``."""
        task = self._task
        runs = [
            CohortRun(
                assignment.spec,
                task.runs_folder / assignment.spec.name,
                StopOrCancelled(self._stops, task.cancelled_folder, assignment.spec.name),
                assignment.until_epochs,
            )
            for assignment in cohort
        ]
        if all(run.should_stop() for run in runs):
            return ["stopped" for _ in runs]
        try:
            pack, group = self._opened = self._opened or self._open_what_runs_share()
        except Exception as error:  # the device or the disk; the next run tries again
            return [leave_failure(run.folder, error) for run in runs]
        place = (task.place or "process {number}").format(number=self._number)
        return train_cohort(runs, pack, group, task.settings, place)

    def _open_what_runs_share(self) -> "tuple[Pack, ProcessGroup]":
        """Open device and pack, with the first run, so that what is wrong with them is a reason like others."""
        import torch

        from clr_hpc.data.pack import Pack
        from clr_hpc.training.distributed import ProcessGroup

        torch.set_num_threads(self._threads)
        cuda = torch.cuda.is_available()
        device = torch.device("cuda", self._number % torch.cuda.device_count()) if cuda else torch.device("cpu")
        return Pack.open(self._task.pack_folder), ProcessGroup.alone(device)
