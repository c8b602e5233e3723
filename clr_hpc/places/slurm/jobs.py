"""A study's jobs after they were submitted: which one trained a run, what it printed, how jobs are cancelled."""

from collections import deque
from collections.abc import Sequence
from pathlib import Path

from clr_hpc.config.run import RunSpec
from clr_hpc.places.slurm.commands import cancel_jobs
from clr_hpc.places.slurm.ledger import Ledger
from clr_hpc.places.slurm.sbatch import log_files
from clr_hpc.places.slurm.submit import queued_runs, settle
from clr_hpc.store.study_folder import StudyFolder


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
    """Return the last lines of what the job printed that trained a run last."""
    job_id = job_of_run(ledger, spec)
    if job_id is None:
        return [f"{spec.name}: no job has begun it"]
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
            if spec.name in record.trained and record.starts[-1].time >= found[0]:
                found = record.starts[-1].time, record.starts[-1].job
    return found[1]


def tail_of_job(ledger: Ledger, job_id: str, lines: int) -> list[str]:
    """Return the last lines of what a job printed, of its errors where there are any."""
    with_text = [path for path in log_files(ledger, job_id) if path.stat().st_size]
    return tail(with_text[-1], lines) if with_text else []


def tail(path: Path, lines: int) -> list[str]:
    """Return the last lines of a file."""
    with path.open(errors="replace") as file:
        return [line.rstrip("\n") for line in deque(file, lines)]
