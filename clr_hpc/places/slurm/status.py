"""State of a study's jobs, by SLURM's reports and the jobs' own records.

SLURM is queried at most every ``POLL_SECONDS``, for all commands and jobs together: its answer is kept in the
study's folder. Where it does not answer, the jobs' records and the leases in the run folders remain.
"""

import json
import time
from collections.abc import Sequence
from dataclasses import asdict, replace
from datetime import datetime, timedelta
from typing import Any

from clr_hpc.places.base import JobState, JobStatus
from clr_hpc.places.slurm.commands import Job, SlurmError, jobs_in_accounting, jobs_in_queue
from clr_hpc.places.slurm.jobs import tail_of_job
from clr_hpc.places.slurm.ledger import JobRecord, Ledger, Submission
from clr_hpc.store.atomic import write_json

POLL_SECONDS = 30.0
TAIL_LINES = 8


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
    return replace(job_state, log=tuple(tail_of_job(ledger, job_id, TAIL_LINES))) if went_wrong else job_state


def _known_jobs(ledger: Ledger, submissions: Sequence[Submission]) -> tuple[list[Job], str | None]:
    """Query SLURM, or return its last answer if that is recent."""
    path = ledger.folder / "queue.json"
    names = [submission.name for submission in submissions]
    try:
        kept = json.loads(path.read_text())
        if kept["names"] == names and 0 <= time.time() - kept["asked"] < POLL_SECONDS:
            return [Job(**job) for job in kept["jobs"]], kept["silence"]
    except (OSError, ValueError, TypeError, KeyError):
        pass  # never queried, or by another version
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
