"""An array task on its node: trains its share of a study, and then helps with the shares of others.

It helps by taking runs that no process trains yet, the last ones first, since their own array tasks begin with the
first ones. So one array task that starts early ends a study whose other ones wait in SLURM's queue, and these then
find nothing to do. The leases in the run folders keep them apart.

An array task gives its node back when nothing is left that it could start. It waits only

- for a run of its own whose baseline another process trains: up to ``baseline_wait_seconds``;
- while it is unknown whether the holder of a lease is alive: until the lease is renewed, or old enough to be taken
  over.

No job waits for another one in SLURM's queue, so none is left there when a baseline fails.
"""

import logging
import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from clr_hpc.config.run import RunSpec
from clr_hpc.places.job import WorkerTask
from clr_hpc.places.processes.pool import drain
from clr_hpc.places.queue import Assignment, Finished, Queue, Wait
from clr_hpc.places.slurm.job import NOTHING_LEFT, StartedJob, pickled_for_owner_alone, run_start
from clr_hpc.store.lease import LeaseTiming, SeenLease, read_lease, this_machine
from clr_hpc.training.run import ExitStatus

log = logging.getLogger(__name__)

RESCAN_SECONDS = 5.0
"""Between two looks at the folders of runs that other processes hold."""


@dataclass(frozen=True)
class ArrayTask:
    """Callable that submitit unpickles and calls on the node."""

    study_folder: str
    token: str
    index: int

    def __call__(self) -> str:
        """Train until nothing is left to do here; return how it ended, as text.

        Raises:
            JobError: code or pack are not those of the submission, or several starts made no progress.
        """
        with pickled_for_owner_alone():
            return run_start(Path(self.study_folder), self.token, self.index, _train)


def _train(job: StartedJob, runs: tuple[RunSpec, ...]) -> str:
    """Train, and return how it ended; does not return where the job is requeued."""
    submission = job.submission
    log.info("array task %d of job %s on %s", job.index, job.job_name, job.node)
    task = WorkerTask(
        Path(submission.pack_folder),
        job.study.runs,
        submission.settings,
        f"job {job.job_name}",
        job.ledger.cancelled_folder,
    )
    finished = drain(
        SharedRuns(job, runs),
        task,
        submission.processes,
        submission.threads,
        lambda: job.stop.any or job.bad_node is not None,
        lambda busy: job.note_under_way([spec.name for spec in busy]),
        job.note_ended,  # a fault may have damaged the processes
    )
    if job.bad_node:
        job.move_to_another_node(job.bad_node)
    return NOTHING_LEFT if finished else job.save_and_requeue()


class SharedRuns(Queue):
    """The remaining runs of a study of which every array task has a share."""

    def __init__(
        self, job: StartedJob, runs: Sequence[RunSpec], clock: Callable[[], float] = time.monotonic
    ) -> None:
        """Take the runs of the study: first those of this array task, then the others from their end on."""
        known = {spec.name: spec for spec in runs}
        own = [known.pop(name) for name in job.submission.elements[job.index] if name in known]
        self._candidates = {spec.name: spec for spec in (*own, *reversed(known.values()))}
        self._own = {spec.name for spec in own}
        self._job, self._clock = job, clock
        self._timing = LeaseTiming()
        self._wait_until: float | None = None
        self._leases: dict[str, SeenLease] = {}
        """Of runs that other processes hold, as first seen."""
        self._scanned_at = float("-inf")
        self._scanned_beside: set[str] = set()
        self._answer: Wait | Finished = "wait"

    def next(self, _worker: int, busy: Collection[RunSpec], /) -> Assignment | Wait | Finished:
        """Return the first run that can be started now; looks at the disk every few seconds."""
        taken = {spec.name for spec in busy}
        if taken == self._scanned_beside and self._clock() - self._scanned_at < RESCAN_SECONDS:
            return self._answer
        cancelled = self._job.ledger.cancelled()
        undecided = waits = False
        for name, spec in list(self._candidates.items()):
            if name in taken or name in cancelled:
                continue
            if not self._job.is_open(name, self._job.node):
                del self._candidates[name]
            elif self._waits_for_baseline(spec, taken):
                waits |= name in self._own and self._is_coming(spec, cancelled)
            elif (state := self._lease_state(name)) == "free":
                return Assignment(spec)
            else:
                undecided |= state == "unknown"
        self._scanned_at, self._scanned_beside = self._clock(), taken
        self._answer = "wait" if undecided or (waits and self._may_wait()) else "finished"
        return self._answer

    def ended(self, spec: RunSpec, outcome: ExitStatus, /) -> None:
        """Look again at once, since other runs may be ready."""
        if outcome == "failed":
            self._candidates.pop(spec.name, None)  # where the disk did not take its result, too
        self._scanned_at = float("-inf")
        self._wait_until = None

    def _waits_for_baseline(self, spec: RunSpec, under_way: Collection[str]) -> bool:
        if spec.start is None:
            return False
        name = spec.start.baseline.name
        return name in under_way or (name in self._candidates and self._job.is_open(name, self._job.node))

    def _is_coming(self, spec: RunSpec, cancelled: Collection[str]) -> bool:
        """Return whether a process trains the baseline that a run waits for."""
        assert spec.start is not None, "it waits for one"
        name = spec.start.baseline.name
        return name not in cancelled and read_lease(self._job.study.runs / name) is not None

    def _may_wait(self) -> bool:
        if self._wait_until is None:
            self._wait_until = self._clock() + self._job.submission.baseline_wait_seconds
        return self._clock() < self._wait_until

    def _lease_state(self, name: str) -> Literal["free", "held", "unknown"]:
        lease = read_lease(self._job.study.runs / name)
        if lease is None or lease.by.machine == this_machine():
            return "free"  # between the processes of one machine the lock decides at once
        first = self._leases.setdefault(name, lease)
        if first.by != lease.by or first.renewed != lease.renewed:
            self._leases[name] = lease
            return "held"
        return "free" if time.time() - lease.renewed > self._timing.stale_seconds else "unknown"
