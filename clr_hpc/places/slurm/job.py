"""One start of an array task or allocation: what it records, what it rejects, how it is requeued.

- SIGUSR2 (sent before the time limit, and before preemption where the site sends it) has the runs under way save a
  checkpoint at their next step; then the job is requeued and resumes from there.
- SIGTERM does the same where the job is preempted. Where it was cancelled, it saves and ends.
- Without a signal (kill -9, power) SLURM itself requeues the job if the node failed, and the runs resume from
  periodic checkpoints.

The number of requeues is not bounded as long as the study progresses between starts. After
``MOST_FRUITLESS_STARTS`` starts in a row without a newer checkpoint or result the job ends.
"""

import logging
import os
import platform
import re
import signal
import sys
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from clr_hpc.config.load import StudyError
from clr_hpc.config.run import RunSpec
from clr_hpc.places.signals import StopSignals
from clr_hpc.places.slurm.commands import SlurmError, is_preempted, requeue
from clr_hpc.places.slurm.ledger import JobRecord, Ledger, Start, Submission, now
from clr_hpc.store import layout
from clr_hpc.store.atomic import OWNER_ALONE
from clr_hpc.store.checkpoints import newest_checkpoint
from clr_hpc.store.records import Damaged
from clr_hpc.store.results import check_result
from clr_hpc.store.study_folder import NothingThereError, StudyFolder
from clr_hpc.training.run import ExitStatus

log = logging.getLogger(__name__)

MOST_FRUITLESS_STARTS = 3
MOST_NODES_AT_FAULT = 3
"""Nodes at fault after which a run counts as failed."""
FAULTS_OF_A_NODE = 2
"""Runs in a row, in fresh processes, after whose faults a node is excluded."""
NOTHING_LEFT = "nothing is left to do here"
SAVED = "every run under way is saved"
CUT_OFF = "the runs under way were cut off, and resume from their last checkpoints"

_SIGNS = re.compile(
    r"CUDA error|CUDA driver|cudaError|no CUDA-capable device|CUDNN_STATUS_(?:INTERNAL|EXECUTION)|CUBLAS_STATUS"
    r"|NCCL error|uncorrectable ECC|Xid|fallen off the bus|HIP error"
    r"|\[Errno 5\]|\[Errno 116\]|Input/output error|Stale file handle|Bus error",
    re.IGNORECASE,
)


def is_machine_fault(reason: str) -> bool:
    """Return whether a failure's reason names a GPU, a driver or a disk that does not work.

    A run can cause a CUDA error as well. So one such failure excludes no node, and a run that fails so on several
    nodes counts as failed. Lack of memory and a full disk are not the machine's fault.
    """
    return _SIGNS.search(reason) is not None and "out of memory" not in reason.lower()


class JobError(Exception):
    """The array task or allocation ends without having trained its runs."""


@contextmanager
def pickled_for_owner_alone() -> Iterator[None]:
    """Have submitit, which pickles how a task ended, do so for its owner alone."""
    try:
        yield
    finally:
        os.umask(0o777 & ~OWNER_ALONE)


def run_start(
    study_folder: Path, token: str, index: int, train: "Callable[[StartedJob, tuple[RunSpec, ...]], str]"
) -> str:
    """Train, and record how the array task or allocation ended; return that as text.

    Args:
        study_folder: folder of the submitted study.
        token: token of the submission.
        index: position of the array task in it.
        train: called with this start and the study's runs, after all checks.

    Raises:
        JobError: code or pack are not those of the submission, or several starts made no progress.
    """
    log_to_stdout()
    stop = StopSignals()
    study = StudyFolder(study_folder)
    ledger = Ledger(study.path)
    submission = ledger.read(token)
    if submission.state == "abandoned":
        return "this submission was cut off and made anew; nothing to do"
    job = StartedJob(submission, index, ledger, study, stop)
    try:
        runs = _runs_of(study)
        job.note_start(runs)
        job.reject_other_code()
        job.reject_other_pack()
        ended = train(job, runs)
    except JobError as error:
        job.note_end(str(error), failed=True)
        raise
    job.note_end(ended)
    return ended


def _runs_of(study: StudyFolder) -> tuple[RunSpec, ...]:
    try:
        return study.started().runs
    except (StudyError, NothingThereError) as error:
        raise JobError(str(error)) from error


class StartedJob:
    """One start of an array task or allocation, in the process that leads it."""

    def __init__(
        self, submission: Submission, index: int, ledger: Ledger, study: StudyFolder, stop: StopSignals
    ) -> None:
        """Read the records of earlier starts."""
        self.submission, self.index = submission, index
        self.ledger, self.study, self.stop = ledger, study, stop
        self.job_id = os.environ.get("SLURM_JOB_ID", "0")
        array = os.environ.get("SLURM_ARRAY_JOB_ID")
        self.job_name = f"{array}_{os.environ['SLURM_ARRAY_TASK_ID']}" if array else self.job_id
        self.node = os.environ.get("SLURMD_NODENAME") or platform.node()
        self._record = ledger.record(submission.token, index)
        self._faults: dict[str, int] = {}
        """For each node, runs in a row that failed through its fault."""

    def note_start(self, runs: tuple[RunSpec, ...]) -> None:
        """Record this start and the progress of the study.

        Raises:
            JobError: too many starts found the study at the same point.
        """
        results = {spec.name: self.study.result(spec) for spec in runs}
        left = [name for name, result in results.items() if result is None or result["status"] != "done"]
        samples = sum(max(0, newest_checkpoint(self.study.runs / name)) for name in left)
        restarts = int(os.environ.get("SLURM_RESTART_COUNT", "0"))
        start = Start(now(), self.node, self.job_name, restarts, len(runs) - len(left), samples)
        self._write(replace(self._record, starts=(*self._record.starts, start), ended=None, failed=False))
        if self._record.starts_without_progress >= MOST_FRUITLESS_STARTS:
            raise JobError(
                f"started {MOST_FRUITLESS_STARTS + 1} times and got no further than {len(runs) - len(left)} runs "
                f"and {samples} samples; raise time_limit_minutes of the site file above the time that a start "
                "takes, or lower --checkpoint-seconds, and submit again"
            )

    def reject_other_code(self) -> None:
        """Compare the code with that of the submission.

        Raises:
            JobError: it differs, and that was not accepted.
        """
        from clr_hpc.store.provenance import source_sha256

        found = source_sha256()
        if found != self.submission.source_sha256:
            change = f"the code has changed since it was submitted ({self.submission.source_sha256[:12]} then, "
            change += f"{found[:12]} now)"
            if not self.submission.accept_changes:
                raise JobError(f"{change}; submit again, with --accept-changes if the runs begun may resume")
            log.warning("%s; accepted by --accept-changes", change)

    def reject_other_pack(self) -> None:
        """Compare the pack with that of the submission.

        Raises:
            JobError: it differs, or cannot be read.
        """
        from clr_hpc.data.manifest import PackError, open_manifest

        folder = Path(self.submission.pack_folder)
        if not folder.exists():
            raise JobError(
                f"{self.node} does not see the pack {folder}; move it to a folder that all nodes see, name that "
                "in the study and submit again"
            )
        try:
            checksum = open_manifest(folder, verify=True).checksum
        except PackError as error:
            raise JobError(str(error)) from error
        if checksum != self.submission.pack_checksum:
            raise JobError(
                f"{folder} is not the pack that was submitted "
                f"({self.submission.pack_checksum[:12]} then, {checksum[:12]} now); restore the former one, or "
                "submit again, which makes new runs"
            )

    def note_under_way(self, names: Collection[str]) -> None:
        """Record which runs are being trained."""
        new = [name for name in names if name not in self._record.trained]
        if new:
            for name in new:
                log.info("training: %s", name)
            self._write(replace(self._record, trained=(*self._record.trained, *new)))

    def note_ended(self, spec: RunSpec, outcome: ExitStatus, node: str | None = None) -> bool:
        """Record the end of a run on a node, by default this one; return whether the node made it fail.

        After some such failures in a row the node is excluded.
        """
        log.info("%s: %s", outcome, spec.name)
        node = node or self.node
        if outcome == "in use":  # another process trains it after all
            self._write(
                replace(self._record, trained=tuple(name for name in self._record.trained if name != spec.name))
            )
        elif outcome == "done":
            self._faults[node] = 0
        elif outcome == "failed":
            return self._note_fault(spec, node)
        return False

    def _note_fault(self, spec: RunSpec, node: str) -> bool:
        result = self.study.result(spec)
        reason = "" if result is None else str(result["reason"])
        if not is_machine_fault(reason):
            return False
        faults = self._faults[node] = self._faults.get(node, 0) + 1
        self.ledger.add_fault(spec.name, node, reason)
        log.warning("fault %d of %s: %s", faults, node, reason)
        if faults >= FAULTS_OF_A_NODE:
            self.ledger.exclude(node, f"{faults} runs in a row failed on it, the last with {reason}")
        return True

    def is_open(self, name: str, node: str | None) -> bool:
        """Return whether a run is still to be trained: not done, and not failed since the submission.

        One that failed through the fault of a node may be tried on others. ``node`` is this one, None for a job on
        several.
        """
        folder = self.study.runs / name
        result = check_result(folder)
        if result is None or isinstance(result, Damaged):
            return True
        changed = (folder / layout.RESULT).stat().st_mtime_ns
        if result["status"] == "done":
            return False
        if is_machine_fault(result["reason"]):
            nodes = self.ledger.nodes_at_fault(name)
            return node not in nodes and len(nodes) < MOST_NODES_AT_FAULT
        return self.submission.failed_before.get(name) == changed

    @property
    def bad_node(self) -> str | None:
        """The node that was excluded in this start; None while all of them work."""
        return next((node for node, faults in self._faults.items() if faults >= FAULTS_OF_A_NODE), None)

    def save_and_requeue(self, is_saved: bool = True) -> str:
        """Requeue the job once its runs are saved, and end; returns where it was cancelled."""
        if not (self.stop.time_is_up or is_preempted(self.job_id)):
            return f"terminated; {SAVED if is_saved else CUT_OFF}"
        log.info("%s; the job is queued again", SAVED if is_saved else CUT_OFF)
        return self.requeue()

    def move_to_another_node(self, node: str) -> str:
        """Requeue the job for other nodes, and end; returns where SLURM rejects that, with its reason."""
        log.warning("%s is excluded; the job is queued again for other nodes", node)
        return self.requeue(node)

    def requeue(self, without_node: str | None = None) -> str:
        """Requeue the job and end this process; returns where SLURM rejects that, with its reason."""
        signal.signal(signal.SIGTERM, signal.SIG_IGN)  # comes at once, also to the commands that are started here
        try:
            requeue(self.job_id, without_node)
        except SlurmError as error:
            return f"saved, but SLURM does not queue it again ({error}); submit again to resume"
        raise SystemExit(0)  # its next start is settled; ending now frees the node sooner

    def note_end(self, how: str, failed: bool = False) -> None:
        """Record why this start ended, as text."""
        log.log(logging.ERROR if failed else logging.INFO, "%s", how)
        self._write(replace(self._record, ended=how, failed=failed))

    def _write(self, record: JobRecord) -> None:
        self._record = record
        self.ledger.write_record(self.submission.token, self.index, record)


def log_to_stdout() -> None:
    """Have this process write what the package logs to the log of its job."""
    handler = logging.StreamHandler(sys.stdout)
    formatter = logging.Formatter("%(asctime)s %(levelname)s %(message)s", "%Y-%m-%dT%H:%M:%S+00:00")
    formatter.converter = time.gmtime
    handler.setFormatter(formatter)
    package = logging.getLogger("clr_hpc")
    package.addHandler(handler)
    package.setLevel(logging.INFO)
