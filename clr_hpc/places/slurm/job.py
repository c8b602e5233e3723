"""One start of a job of a submission, whatever its shape: what it notes, what it refuses, how it is queued again.

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
from collections.abc import Callable, Collection
from dataclasses import replace
from pathlib import Path

from clr_hpc.config.run import RunSpec
from clr_hpc.monitoring.status import runs_as_started
from clr_hpc.places.signals import StopSignals
from clr_hpc.places.slurm.commands import SlurmError, is_preempted, requeue
from clr_hpc.places.slurm.ledger import OWNER_ALONE, Ledger
from clr_hpc.places.slurm.node_faults import FAULTS_OF_A_NODE, is_machine_fault
from clr_hpc.places.slurm.records import ElementRecord, Start, Submission, now
from clr_hpc.store.run_folder import newest_checkpoint
from clr_hpc.store.study_folder import StudyFolder

MOST_FRUITLESS_STARTS = 3
NOTHING_LEFT = "nothing is left to do here"
SAVED = "every run under way is saved"
CUT_OFF = "the runs under way were cut off, and go on from their last checkpoints"


class ElementError(Exception):
    """This element ends without having trained its runs."""


def run_start(
    study_folder: Path, token: str, index: int, train: "Callable[[StartedElement, tuple[RunSpec, ...]], str]"
) -> str:
    """Have an element train, and write down how it ended; return that, for people.

    Args:
        study_folder: of the study that was submitted.
        token: of the submission.
        index: of the element in it.
        train: called with this start and the study's runs, once nothing speaks against training.

    Raises:
        ElementError: code or pack are not those of the submission, or start after start nothing came of it.
    """
    os.umask(OWNER_ALONE)
    stop = StopSignals()
    study = StudyFolder(study_folder)
    ledger = Ledger(study.path)
    submission = ledger.read(token)
    if submission.state == "abandoned":
        return "this submission was cut off and made anew; nothing to do"
    element = StartedElement(submission, index, ledger, study, stop)
    try:
        runs = runs_as_started(study)
        element.note_start(runs)
        element.refuse_other_code()
        element.refuse_other_pack()
        ended = train(element, runs)
    except ElementError as error:
        element.note_end(str(error), failed=True)
        raise
    element.note_end(ended)
    return ended


class StartedElement:
    """One start of an element of a job array, or of an allocation, as the process sees it that is in charge."""

    def __init__(
        self, submission: Submission, index: int, ledger: Ledger, study: StudyFolder, stop: StopSignals
    ) -> None:
        """Read what earlier starts have noted."""
        self.submission, self.index = submission, index
        self.ledger, self.study, self.stop = ledger, study, stop
        self.job = os.environ.get("SLURM_JOB_ID", "0")
        array = os.environ.get("SLURM_ARRAY_JOB_ID")
        self.job_name = f"{array}_{os.environ['SLURM_ARRAY_TASK_ID']}" if array else self.job
        self.node = os.environ.get("SLURMD_NODENAME") or platform.node()
        self._record = ledger.record(submission.token, index)
        self._faults: dict[str, int] = {}
        """Of each node, runs in a row that failed for a reason that is the node's."""

    def note_start(self, runs: tuple[RunSpec, ...]) -> None:
        """Note where the study is found.

        Raises:
            ElementError: it was found there too often.
        """
        results = {spec.name: self.study.result(spec) for spec in runs}
        left = [name for name, result in results.items() if result is None or result["status"] != "done"]
        samples = sum(max(0, newest_checkpoint(self.study.runs / name)) for name in left)
        restarts = int(os.environ.get("SLURM_RESTART_COUNT", "0"))
        start = Start(now(), self.node, self.job_name, restarts, len(runs) - len(left), samples)
        self._write(replace(self._record, starts=(*self._record.starts, start), ended=None, failed=False))
        if self._record.starts_without_progress >= MOST_FRUITLESS_STARTS:
            raise ElementError(
                f"started {MOST_FRUITLESS_STARTS + 1} times and got no further than {len(runs) - len(left)} runs "
                f"and {samples} samples; raise time_limit_minutes of the site file above the time that a start "
                "takes, or lower --checkpoint-seconds, and submit again"
            )

    def refuse_other_code(self) -> None:
        """Look whether the code is what was submitted.

        Raises:
            ElementError: it is not, and that was not accepted.
        """
        from clr_hpc.store.provenance import source_sha256

        found = source_sha256()
        if found != self.submission.source_sha256:
            change = f"the code has changed since it was submitted ({self.submission.source_sha256[:12]} then, "
            change += f"{found[:12]} now)"
            if not self.submission.accept_changes:
                raise ElementError(f"{change}; submit again, with --accept-changes if the runs begun may go on")
            say(f"{change}; accepted by --accept-changes")

    def refuse_other_pack(self) -> None:
        """Look whether the pack is what was submitted.

        Raises:
            ElementError: it is not, or can't be read.
        """
        from clr_hpc.data.manifest import PackError, open_manifest

        folder = Path(self.submission.pack_folder)
        try:
            checksum = open_manifest(folder, verify=True).checksum
        except PackError as error:
            raise ElementError(str(error)) from error
        if checksum != self.submission.pack_checksum:
            raise ElementError(
                f"{folder} is another pack than when it was submitted "
                f"({self.submission.pack_checksum[:12]} then, {checksum[:12]} now); bring the former back, or "
                "submit again, which makes new runs"
            )

    def note_under_way(self, names: Collection[str]) -> None:
        """Note which runs are being trained."""
        new = [name for name in names if name not in self._record.trained]
        if new:
            for name in new:
                say(f"training: {name}")
            self._write(replace(self._record, trained=(*self._record.trained, *new)))

    def note_in_use(self, name: str) -> None:
        """Note that a run was another's after all."""
        self._write(replace(self._record, trained=tuple(other for other in self._record.trained if other != name)))

    def note_done(self, node: str) -> None:
        """Note that a node has ended a run well."""
        self._faults[node] = 0

    def note_fault(self, spec: RunSpec, node: str) -> bool:
        """Note a failure that is a node's, and exclude the node after some in a row; return whether it was one."""
        result = self.study.result(spec)
        reason = "" if result is None else str(result["reason"])
        if not is_machine_fault(reason):
            return False
        faults = self._faults[node] = self._faults.get(node, 0) + 1
        self.ledger.add_fault(spec.name, node, reason)
        say(f"fault {faults} of {node}: {reason}")
        if faults >= FAULTS_OF_A_NODE:
            self.ledger.exclude(node, f"{faults} runs in a row failed on it, the last with {reason}")
        return True

    @property
    def bad_node(self) -> str | None:
        """The node that was excluded in this start; None as long as all of them work."""
        return next((node for node, faults in self._faults.items() if faults >= FAULTS_OF_A_NODE), None)

    def save_and_go(self, is_saved: bool = True) -> str:
        """Queue the job again after all runs under way were saved, and end; returns where it was cancelled."""
        if not (self.stop.time_is_up or is_preempted(self.job)):
            return f"told to end; {SAVED if is_saved else CUT_OFF}"
        say(f"{SAVED if is_saved else CUT_OFF}; the job is queued again")
        return self.queue_again()

    def move_to_another_node(self, node: str) -> str:
        """Queue the job again for other nodes, and end; returns where SLURM refuses, with its reason."""
        say(f"{node} is excluded; the job is queued again for other nodes")
        return self.queue_again(node)

    def queue_again(self, without_node: str | None = None) -> str:
        """Queue the job again and end this process; returns where SLURM refuses, with its reason."""
        signal.signal(signal.SIGTERM, signal.SIG_IGN)  # comes at once, also to the commands that are started here
        try:
            requeue(self.job, without_node)
        except SlurmError as error:
            return f"saved, but SLURM does not queue it again ({error}); submit again to go on"
        raise SystemExit(0)  # the job's next start is settled; the node is free the sooner

    def note_end(self, how: str, failed: bool = False) -> None:
        """Leave for people why this element ended."""
        say(how)
        self._write(replace(self._record, ended=how, failed=failed))

    def _write(self, record: ElementRecord) -> None:
        self._record = record
        self.ledger.write_record(self.submission.token, self.index, record)


def say(what: str) -> None:
    """Print a line for the job's log."""
    print(f"{now()} {what}", flush=True)
