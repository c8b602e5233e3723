"""What a job printed while it trained a run."""

from collections import deque
from pathlib import Path

from clr_hpc.config.run import RunSpec
from clr_hpc.places.slurm.ledger import Ledger
from clr_hpc.places.slurm.sbatch import log_files
from clr_hpc.places.slurm.study import SlurmStudy


def log_of_run(study: SlurmStudy, spec: RunSpec, lines: int) -> list[str]:
    """Return the ends of the log files of the element that trained a run last, and the failure of the run."""
    told: list[str] = []
    job_id = job_of_run(study, spec)
    if job_id is None:
        told.append(f"{spec.name}: no job has begun it")
    else:
        files = log_files(study.ledger, job_id)
        for path in files:
            told += [f"==> {path} <==", *tail(path, lines)]
        if not files:
            told.append(f"job {job_id} has printed nothing in {study.ledger.logs}")
    result = study.folder.result(spec)
    if result is not None and result["status"] == "failed":
        told += ["==> why the run failed <==", *str(result["traceback"]).rstrip().splitlines()[-lines:]]
    return told


def job_of_run(study: SlurmStudy, spec: RunSpec) -> str | None:
    """Return the id of the job that trained a run last; None where none has begun it."""
    ledger = study.ledger
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
