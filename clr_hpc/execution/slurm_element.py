"""An element of a job array, on its node: trains its share of a study, and survives what the queue does to it.

- SIGUSR2 (sent before the time limit, and before preemption where the site sends it) has the runs under way save a
  checkpoint at their next step; then the job is queued again and goes on from there.
- SIGTERM does the same where the job is preempted. Where it was cancelled, it saves and ends.
- Without a signal (kill -9, power) SLURM queues the job again by itself if the node failed, and the periodic
  checkpoints hold.

How often it is queued again is not bounded, as long as the study is found further on at each start. After
``MOST_FRUITLESS_STARTS`` starts in a row without a newer checkpoint or result it ends.
"""

import os
import platform
import signal
import time
from dataclasses import dataclass, replace
from pathlib import Path

from clr_hpc.execution.dispatcher import newest_checkpoint
from clr_hpc.execution.machine_faults import FAULTS_OF_A_NODE, is_machine_fault
from clr_hpc.execution.slurm_controller import SlurmError, is_preempted, requeue
from clr_hpc.execution.slurm_element_queue import SharedRuns
from clr_hpc.execution.slurm_ledger import OWNER_ALONE, Ledger
from clr_hpc.execution.slurm_records import ElementRecord, Start, Submission, now
from clr_hpc.execution.slurm_signals import StopSignals
from clr_hpc.execution.status import runs_as_started
from clr_hpc.execution.study_folder import StudyFolder
from clr_hpc.execution.warm_processes import drain
from clr_hpc.execution.warm_worker import WorkerTask
from clr_hpc.execution.worker import Outcome
from clr_hpc.spec.run import RunSpec

MOST_FRUITLESS_STARTS = 3
KILL_SECONDS = 120.0
"""In which SLURM ends a job that is queued again."""


class ElementError(Exception):
    """This element ends without having trained its runs."""


@dataclass(frozen=True)
class ArrayElement:
    """What submitit calls on the node; unpickled there."""

    study_folder: str
    token: str
    index: int

    def __call__(self) -> str:
        """Train until nothing is left to do here; return how it ended, for people.

        Raises:
            ElementError: code or pack are not those of the submission, or start after start nothing came of it.
        """
        os.umask(OWNER_ALONE)
        stop = StopSignals()
        study = StudyFolder(Path(self.study_folder))
        ledger = Ledger(study.path)
        submission = ledger.read(self.token)
        if submission.state == "abandoned":
            return "this submission was cut off and made anew; nothing to do"
        element = _Element(self, submission, ledger, study, stop)
        try:
            ended = element.run()
        except ElementError as error:
            element.note_end(str(error), failed=True)
            raise
        element.note_end(ended)
        return ended


class _Element:
    """One start of an element."""

    def __init__(
        self, what: ArrayElement, submission: Submission, ledger: Ledger, study: StudyFolder, stop: StopSignals
    ) -> None:
        self._what, self._submission, self._ledger = what, submission, ledger
        self._study, self._stop = study, stop
        self._job = os.environ.get("SLURM_JOB_ID", "0")
        array = os.environ.get("SLURM_ARRAY_JOB_ID")
        self._job_name = f"{array}_{os.environ['SLURM_ARRAY_TASK_ID']}" if array else self._job
        self._node = os.environ.get("SLURMD_NODENAME") or platform.node()
        self._record = ledger.record(what.token, what.index)
        self._faults = 0
        """Runs in a row that failed for a reason that is the node's."""

    def run(self) -> str:
        """Train, and say how it ended; does not return where the job is queued again."""
        runs = runs_as_started(self._study)
        self._note_start(runs)
        self._refuse_other_code()
        self._refuse_other_pack()
        names = self._submission.elements[self._what.index]
        known = {spec.name: spec for spec in runs}
        own = [known.pop(name) for name in names if name in known]
        queue = SharedRuns(
            own,
            list(known.values()),
            self._ledger,
            self._study.runs,
            self._submission.failed_before,
            self._node,
            self._submission.baseline_wait_seconds,
        )
        finished = self._drain(queue)
        if self._node_is_bad:
            self._move_to_another_node()
        if finished:
            return "nothing is left to do here"
        return self._save_and_go()

    def _drain(self, queue: SharedRuns) -> bool:
        submission = self._submission
        task = WorkerTask(
            Path(submission.pack_folder),
            self._study.runs,
            submission.checkpoint_seconds,
            f"job {self._job_name}",
            self._ledger.cancelled_folder,
        )
        say(f"element {self._what.index} of job {self._job_name} on {self._node}")

        def on_end(spec: RunSpec, outcome: Outcome) -> None:
            say(f"{outcome}: {spec.name}")
            if outcome == "in use":
                trained = tuple(name for name in self._record.trained if name != spec.name)
                self._write(replace(self._record, trained=trained))
            if outcome == "failed" and self._note_fault(spec):
                queue.renew_processes()
            elif outcome == "done":
                self._faults = 0

        return drain(
            queue,
            task,
            submission.processes,
            submission.threads,
            lambda: self._stop.any or self._node_is_bad,
            self._on_poll,
            on_end,
        )

    @property
    def _node_is_bad(self) -> bool:
        return self._faults >= FAULTS_OF_A_NODE

    def _on_poll(self, under_way: set[RunSpec]) -> None:
        new = [spec.name for spec in under_way if spec.name not in self._record.trained]
        if new:
            for name in new:
                say(f"training: {name}")
            self._write(replace(self._record, trained=(*self._record.trained, *new)))

    def _note_fault(self, spec: RunSpec) -> bool:
        """Note a failure that is the node's; return whether it was one."""
        result = self._study.result(spec)
        reason = "" if result is None else str(result["reason"])
        if not is_machine_fault(reason):
            return False
        self._faults += 1
        self._ledger.add_fault(spec.name, self._node, reason)
        say(f"fault {self._faults} of {self._node}: {reason}")
        if self._node_is_bad:
            self._ledger.exclude(self._node, f"{self._faults} runs in a row failed on it, the last with {reason}")
        return True

    def _note_start(self, runs: tuple[RunSpec, ...]) -> None:
        results = {spec.name: self._study.result(spec) for spec in runs}
        left = [name for name, result in results.items() if result is None or result["status"] != "done"]
        samples = sum(max(0, newest_checkpoint(self._study.runs / name)) for name in left)
        restarts = int(os.environ.get("SLURM_RESTART_COUNT", "0"))
        start = Start(now(), self._node, self._job_name, restarts, len(runs) - len(left), samples)
        self._write(replace(self._record, starts=(*self._record.starts, start), ended=None, failed=False))
        if self._record.starts_without_progress >= MOST_FRUITLESS_STARTS:
            raise ElementError(
                f"started {MOST_FRUITLESS_STARTS + 1} times and got no further than {len(runs) - len(left)} runs "
                f"and {samples} samples; raise time_limit_minutes of the site file above the time that a start "
                "takes, or lower --checkpoint-seconds, and submit again"
            )

    def _refuse_other_code(self) -> None:
        from clr_hpc.training.code_identity import source_sha256

        found = source_sha256()
        if found != self._submission.source_sha256:
            change = f"the code has changed since it was submitted ({self._submission.source_sha256[:12]} then, "
            change += f"{found[:12]} now)"
            if not self._submission.accept_changes:
                raise ElementError(f"{change}; submit again, with --accept-changes if the runs begun may go on")
            say(f"{change}; accepted by --accept-changes")

    def _refuse_other_pack(self) -> None:
        from clr_hpc.data.manifest import PackError, open_manifest

        folder = Path(self._submission.pack_folder)
        try:
            checksum = open_manifest(folder, verify=True).checksum
        except PackError as error:
            raise ElementError(str(error)) from error
        if checksum != self._submission.pack_checksum:
            raise ElementError(
                f"{folder} is another pack than when it was submitted "
                f"({self._submission.pack_checksum[:12]} then, {checksum[:12]} now); bring the former back, or "
                "submit again, which makes new runs"
            )

    def _save_and_go(self) -> str:
        """Queue the job again after all runs under way were saved, unless it was cancelled."""
        if not (self._stop.time_is_up or is_preempted(self._job)):
            return "told to end; every run under way is saved"
        say("saved; the job is queued again")
        return self._queue_again(None)

    def _move_to_another_node(self) -> None:
        say(f"{self._node} is excluded; the job is queued again for other nodes")
        self._queue_again(self._node)

    def _queue_again(self, without_node: str | None) -> str:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)  # comes at once, also to the commands that are started here
        try:
            requeue(self._job, without_node)
        except SlurmError as error:
            return f"saved, but SLURM does not queue it again ({error}); submit again to go on"
        time.sleep(KILL_SECONDS)
        raise ElementError(f"SLURM has not ended the job in {KILL_SECONDS:g} s after it was queued again")

    def note_end(self, how: str, failed: bool = False) -> None:
        """Leave for people why this element ended."""
        say(how)
        self._write(replace(self._record, ended=how, failed=failed))

    def _write(self, record: ElementRecord) -> None:
        self._record = record
        self._ledger.write_record(self._what.token, self._what.index, record)


def say(what: str) -> None:
    """Print a line for the job's log."""
    print(f"{now()} {what}", flush=True)
