"""One warm process: what runs in it, and how it ends."""

import signal
from collections.abc import Sequence
from pathlib import Path
from types import FrameType
from typing import Any

from clr_hpc.places.job import WorkerTask
from clr_hpc.places.processes.cohort import CohortRun, train_cohort
from clr_hpc.places.processes.forkserver import begin, die_with_parent
from clr_hpc.places.queue import Assignment
from clr_hpc.places.signals import StopOrCancelled
from clr_hpc.store.atomic import write_json
from clr_hpc.store.run_folder import failure
from clr_hpc.training.run import ExitStatus

EXIT_SECONDS = 3
"""After SIGTERM, from the end of the run that it stopped to that of the process, if nobody ends it before."""


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


def leave_failure(folder: Path, error: Exception) -> ExitStatus:
    """Leave an error as the result of a run in its folder, for a run whose own process could not."""
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / "result.json", failure(error, 0.0))
    return "failed"
