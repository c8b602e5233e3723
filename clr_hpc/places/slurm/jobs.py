"""A study's jobs after they were submitted: their state, what they printed, and how they are cancelled.

SLURM is queried for states at most every ``POLL_SECONDS``, for all commands and jobs together: its answer is kept
in the study's folder. Where it does not answer, the jobs' records and the leases in the run folders remain.
"""

import time
from collections import deque
from collections.abc import Sequence
from dataclasses import asdict, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter
from typing_extensions import TypedDict

from clr_hpc.config.run import RunSpec
from clr_hpc.places.base import JobState, JobStatus
from clr_hpc.places.slurm.commands import Job, SlurmError, cancel_jobs, jobs_in_accounting, jobs_in_queue
from clr_hpc.places.slurm.ledger import JobRecord, Ledger, Submission
from clr_hpc.places.slurm.sbatch import log_files
from clr_hpc.places.slurm.submit import queued_runs, settle
from clr_hpc.store.atomic import write_json
from clr_hpc.store.records import Damaged, read_record, record
from clr_hpc.store.study_folder import StudyFolder

POLL_SECONDS = 30.0
TAIL_LINES = 8


def cancel_study(ledger: Ledger) -> list[str]:
    """Cancel all jobs of a study and name them; those that run save a checkpoint first.

    Raises:
        SlurmError: SLURM does not answer.
    """
    active = [job for job in settle(ledger) if job.is_active]
    cancel_jobs([job.job_id for job in active])
    return [f"cancelled: job {job.job_id}, {job.state.lower()}" for job in active] or ["no job waits or runs"]


def cancel_runs(
    study: StudyFolder, ledger: Ledger, all_runs: tuple[RunSpec, ...], runs: Sequence[RunSpec]
) -> list[str]:
    """Have no job train these runs, and those that start from them, until they are submitted again.

    Array tasks without any other run are cancelled; others continue without these runs.

    Raises:
        SlurmError: SLURM does not answer.
    """
    chosen = {spec.run_id for spec in runs}
    unfinished = study.unfinished(all_runs)
    with_sequels = [
        spec
        for spec in unfinished
        if spec.run_id in chosen or (spec.start is not None and spec.start.baseline.run_id in chosen)
    ]
    jobs = settle(ledger)
    ledger.cancel([spec.name for spec in with_sequels])
    unneeded = ledger.cancelled() | ({spec.name for spec in all_runs} - {spec.name for spec in unfinished})
    idle = [job for job in jobs if job.state == "PENDING" and queued_runs(ledger, [job]) <= unneeded]
    cancel_jobs([job.job_id for job in idle])
    return [
        *(f"cancelled: {spec.name}" for spec in with_sequels),
        *(f"cancelled: job {job.job_id}, which has no other run" for job in idle),
    ] or ["these runs are done; nothing to cancel"]


def log_of_run(ledger: Ledger, spec: RunSpec, lines: int) -> list[str]:
    """Return the last lines of what the job printed that trained a run last, or was given it and trained nothing.

    Raises:
        SlurmError: the job ended and has printed nothing; the message names its node and the folder.
    """
    job_id = job_of_run(ledger, spec)
    if job_id is None:
        given = [job for job in read_slurm_status(ledger).jobs if spec.name in job.runs and not job.is_active]
        if not given:
            return [f"{spec.name}: no job has begun it"]
        last = given[-1]
        job_id = last.job_id
        if not _printed_files(ledger, job_id):
            why = last.reason or f"it is {last.state} and has printed nothing in {ledger.logs}"
            raise SlurmError(f"job {job_id}: {why}")
    files = log_files(ledger, job_id)
    if not files:
        return [f"job {job_id} has printed nothing in {ledger.logs}"]
    return [line for path in files for line in (f"==> {path} <==", *tail(path, lines))]


def job_of_run(ledger: Ledger, spec: RunSpec) -> str | None:
    """Return the id of the job that trained a run last; None where none has begun it."""
    found: tuple[str, str | None] = ("", None)
    for submission in ledger.submissions():
        for index in range(len(submission.elements)):
            record = ledger.record(submission.token, index)
            if record.starts and spec.name in record.trained and record.starts[-1].time >= found[0]:
                found = record.starts[-1].time, record.starts[-1].job
    return found[1]


def tail_of_job(ledger: Ledger, job_id: str, lines: int) -> list[str]:
    """Return the last lines of what a job printed, of its errors where there are any."""
    with_text = _printed_files(ledger, job_id)
    return tail(with_text[-1], lines) if with_text else []


def _printed_files(ledger: Ledger, job_id: str) -> list[Path]:
    """Return the files of a job that are not empty."""
    return [path for path in log_files(ledger, job_id) if path.stat().st_size]


def _silent(ledger: Ledger, node: str) -> str:
    """Say what it means that a job failed before its first line, which Python writes when it starts."""
    return (
        f"it printed nothing, so {node} may not see {ledger.logs}; look with srun --nodelist={node} ls "
        f"{ledger.logs}, and give --results a folder that all nodes see, in shared_folder of the site file"
    )


def tail(path: Path, lines: int) -> list[str]:
    """Return the last lines of a file."""
    with path.open(errors="replace") as file:
        return [line.rstrip("\n") for line in deque(file, lines)]


def read_slurm_status(ledger: Ledger) -> JobStatus:
    """Return the state of a study's jobs.

    Raises:
        LedgerError: the ledger can't be read.
    """
    submissions = [one for one in ledger.submissions() if one.state != "abandoned"]
    jobs, silence = _known_jobs(ledger, submissions)
    by_id = {job.job_id: job for job in jobs}
    by_name = {job.name: job for job in jobs}
    states = []
    for submission in submissions:
        if submission.job is None and submission.name in by_name:
            submission = replace(submission, job=int(by_name[submission.name].job_id.split("_")[0]))
        for index in range(len(submission.elements)):
            record = ledger.record(submission.token, index)
            states.append(_state(ledger, submission, index, record, by_id))
    return JobStatus("slurm", tuple(states), ledger.excluded(), frozenset(ledger.cancelled()), silence)


def _state(
    ledger: Ledger, submission: Submission, index: int, record: JobRecord, jobs: dict[str, Job]
) -> JobState:
    job_id = submission.job_id(index)
    job = jobs.get(job_id or "")
    known: dict[str, Any] = {"runs": submission.elements[index], "shape": submission.shape}
    requeues = max((start.restarts for start in record.starts), default=0)
    if job_id is None:
        return JobState("?", "cut off", "submit again to settle it", "", "", "", 0, is_active=True, **known)
    if job is None:
        state = "not known" if record.ended is None else "failed" if record.failed else "completed"
        node = record.starts[-1].node if record.starts else ""
        job_state = JobState(job_id, state, record.ended or "", node, "", "", requeues, is_active=False, **known)
    else:
        reason = job.reason if job.is_active else record.ended or job.reason
        job_state = JobState(
            *(job_id, job.state.lower(), reason, job.nodes, job.elapsed, job.limit),
            *(max(requeues, job.restarts or 0),),
            is_active=job.is_active,
            **known,
        )
    went_wrong = record.failed or (
        job is not None and not job.is_active and job.state not in ("COMPLETED", "CANCELLED")
    )
    if job is not None and job.state == "FAILED" and not record.starts and not _printed_files(ledger, job_id):
        return replace(job_state, reason=_silent(ledger, job_state.node))
    return replace(job_state, log=tuple(tail_of_job(ledger, job_id, TAIL_LINES))) if went_wrong else job_state


@record
class _Answer(TypedDict):
    """``queue.json``: what SLURM last said."""

    asked: float
    names: list[str]
    jobs: list[Job]
    silence: str | None


_ANSWER: TypeAdapter[_Answer] = TypeAdapter(_Answer)


def _known_jobs(ledger: Ledger, submissions: Sequence[Submission]) -> tuple[list[Job], str | None]:
    """Query SLURM, or return its last answer if that is recent."""
    path = ledger.folder / "queue.json"
    names = [submission.name for submission in submissions]
    kept = read_record(path, _ANSWER, "it is queried again")
    if kept is not None and not isinstance(kept, Damaged) and kept["names"] == names:
        is_recent = 0 <= time.time() - kept["asked"] < POLL_SECONDS
        if is_recent:
            return kept["jobs"], kept["silence"]
    asked = time.time()
    jobs, silence = _ask(submissions, names)
    if ledger.is_mine:
        write_json(
            path, {"asked": asked, "names": names, "jobs": [asdict(job) for job in jobs], "silence": silence}
        )
    return jobs, silence


def _ask(submissions: Sequence[Submission], names: Sequence[str]) -> tuple[list[Job], str | None]:
    if not names:
        return [], None
    silences = []
    jobs: dict[str, Job] = {}
    # squeue is the best source for what waits or runs, accounting for what it has forgotten
    try:
        jobs = {job.job_id: job for job in jobs_in_queue(names)}
    except SlurmError as error:
        silences.append(str(error))
    ids = [one.job_id(index) for one in submissions for index in range(len(one.elements))]
    if any(job_id not in jobs for job_id in ids):
        try:
            jobs = {job.job_id: job for job in jobs_in_accounting(names, _day_before(submissions[0].made))} | jobs
        except SlurmError as error:
            silences.append(str(error))
    return list(jobs.values()), "; ".join(silences) if len(silences) == 2 else None


def _day_before(time_in_utc: str) -> str:
    """Return a day that had begun by then in all time zones, since sacct uses the cluster's own."""
    return (datetime.fromisoformat(time_in_utc) - timedelta(days=1)).date().isoformat()
