"""``--on here``: the runs of a study on this machine, several at a time, each in a process that stays warm.

As many runs as cores, of one thread each, train more images a second than one run on all cores: small networks on
small images don't keep several cores busy. On GPUs one process is started for each.
"""

import ctypes
import multiprocessing
import os
import signal
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any, Literal

from clr_hpc.data.pack import usable_cores
from clr_hpc.durable import write_json
from clr_hpc.execution.worker import Outcome, failure, train_run
from clr_hpc.spec.run import RunSpec

POLL_SECONDS = 0.5


@dataclass(frozen=True)
class Processes:
    """How a study's runs share this machine."""

    count: int
    """Runs trained at a time."""
    threads: int
    """CPU threads of each."""

    @classmethod
    def for_this_machine(cls, count: int | None) -> "Processes":
        """Use all GPUs, else all cores that this process may use; ``count`` overrides how many runs at a time."""
        cores = usable_cores()
        chosen = count or visible_gpus() or cores
        return cls(chosen, max(1, cores // chosen))


def visible_gpus() -> int:
    """Count the GPUs that CUDA will show, without loading it."""
    listed = os.environ.get("CUDA_VISIBLE_DEVICES")
    if listed is not None:
        return len([name for name in listed.split(",") if name.strip()])
    return len(list(Path("/dev").glob("nvidia[0-9]*")))


def train_here(
    runs: tuple[RunSpec, ...],
    pack_folder: Path,
    runs_folder: Path,
    processes: Processes,
    checkpoint_seconds: float,
    on_poll: Callable[[set[RunSpec]], None],
    on_end: Callable[[RunSpec, Outcome], None],
) -> bool:
    """Train runs in worker processes until all have ended.

    Args:
        runs: without those that are done.
        pack_folder: already verified.
        runs_folder: where each run has its folder, named ``RunSpec.name``.
        processes: how many, and how many threads each.
        checkpoint_seconds: see ``clr_hpc.training.loop.train``.
        on_poll: called about twice a second with the runs that are being trained.
        on_end: called when a run ends.

    Returns:
        False where Ctrl-C stopped it; every run then under way has saved a checkpoint.
    """
    waiting = list(runs)
    suspects: list[RunSpec] = []
    while waiting:
        # when a process dies, all that were under way are suspects: each then runs alone, and the guilty one shows
        chosen, count = (suspects[:1], 1) if suspects else (waiting, processes.count)
        with _Workers(
            pack_folder, runs_folder, Processes(count, processes.threads), checkpoint_seconds
        ) as workers:
            for spec, outcome in workers.train(chosen, on_poll):
                if outcome == "process died" and spec not in suspects:
                    suspects.append(spec)
                    continue
                if outcome == "process died":
                    outcome = _leave_result_of_dead_process(runs_folder / spec.name)
                if spec in suspects:
                    suspects.remove(spec)
                waiting.remove(spec)
                on_end(spec, outcome)
            if workers.stopped:
                return False
    return True


class _Workers:
    """A pool of warm processes, and the stop signal for them."""

    def __init__(
        self, pack_folder: Path, runs_folder: Path, processes: Processes, checkpoint_seconds: float
    ) -> None:
        context = multiprocessing.get_context("spawn")
        numbers = context.SimpleQueue()
        for number in range(processes.count):
            numbers.put(number)
        self._stop = context.Event()
        self._count = processes.count
        self._runs_folder, self._checkpoint_seconds = runs_folder, checkpoint_seconds
        start = (os.getpid(), numbers, self._stop, pack_folder, processes.threads)
        self._pool = ProcessPoolExecutor(processes.count, context, _start_worker, start)

    @property
    def stopped(self) -> bool:
        return self._stop.is_set()

    def train(
        self, runs: list[RunSpec], on_poll: Callable[[set[RunSpec]], None]
    ) -> Iterator[tuple[RunSpec, Outcome | Literal["process died"]]]:
        """Yield each run as it ends, with its outcome or ``process died``; stop where the pool can't go on."""
        queue = list(runs)
        pending: dict[Future[Outcome], RunSpec] = {}
        broken = False
        while pending or (queue and not self.stopped and not broken):
            while len(pending) < self._count and not self.stopped and not broken:
                spec = _next(queue, pending.values())
                if spec is None:
                    break
                queue.remove(spec)
                folder = self._runs_folder / spec.name
                pending[self._pool.submit(_train_in_worker, spec, folder, self._checkpoint_seconds)] = spec
            ended, _ = wait(pending, timeout=POLL_SECONDS, return_when=FIRST_COMPLETED)
            on_poll(set(pending.values()))
            for future in ended:
                spec = pending.pop(future)
                try:
                    outcome = future.result()
                except BrokenProcessPool:
                    broken = True
                    yield spec, "process died"
                else:
                    if outcome != "stopped":
                        yield spec, outcome

    def __enter__(self) -> "_Workers":
        self._old_handler = signal.signal(signal.SIGINT, self._on_interrupt)
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.shutdown(wait=True, cancel_futures=True)
        signal.signal(signal.SIGINT, self._old_handler)

    def _on_interrupt(self, _number: int, _frame: FrameType | None) -> None:
        if self.stopped:
            raise KeyboardInterrupt
        self._stop.set()


def _next(queue: list[RunSpec], under_way: Iterable[RunSpec]) -> RunSpec | None:
    """Return the first run that waits for no baseline; None where all wait, or the queue is empty."""
    ahead = {spec.run_id for spec in (*queue, *under_way)}
    return next((spec for spec in queue if spec.start is None or spec.start.baseline.run_id not in ahead), None)


def _leave_result_of_dead_process(folder: Path) -> Outcome:
    reason = ChildProcessError(
        "the process that trained it died twice, once with nothing beside it; when memory is short the kernel "
        "kills processes: look into the system log, or lower training.batch_size"
    )
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / "result.json", failure(reason, 0.0))
    return "failed"


# what follows runs in the worker processes

_worker: dict[str, Any] = {}


def _start_worker(parent: int, numbers: Any, stop: Any, pack_folder: Path, threads: int) -> None:
    import torch

    from clr_hpc.data.packed import Pack
    from clr_hpc.training.world import World

    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent hears Ctrl-C and sets the stop event
    _die_with(parent)
    torch.set_num_threads(threads)
    number = numbers.get()
    cuda = torch.cuda.is_available()
    device = torch.device("cuda", number % torch.cuda.device_count()) if cuda else torch.device("cpu")
    _worker.update(stop=stop, pack=Pack.open(pack_folder), world=World.alone(device), place=f"process {number}")


def _die_with(parent: int) -> None:
    """Have the kernel kill this process when its parent dies, so that no run goes on unseen after kill -9."""
    parent_death_signal = 1  # PR_SET_PDEATHSIG of prctl(2)
    ctypes.CDLL(None).prctl(parent_death_signal, signal.SIGKILL)
    if os.getppid() != parent:
        os.kill(os.getpid(), signal.SIGKILL)


def _train_in_worker(spec: RunSpec, folder: Path, checkpoint_seconds: float) -> Outcome:
    should_stop = _worker["stop"].is_set
    if should_stop():
        return "stopped"
    pack, world, place = _worker["pack"], _worker["world"], _worker["place"]
    return train_run(spec, pack, folder, world, should_stop, checkpoint_seconds, place)
