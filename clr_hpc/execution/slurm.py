"""Hands job arrays to SLURM. This is the only file that imports submitit."""

from pathlib import Path
from typing import Any

from clr_hpc.durable import written_whole
from clr_hpc.execution.slurm_controller import SlurmError
from clr_hpc.execution.slurm_element import ArrayElement
from clr_hpc.execution.slurm_ledger import Ledger
from clr_hpc.execution.slurm_records import Submission
from clr_hpc.spec.site import Site

DEAF_AT_FIRST = """sh -c 'trap "" USR2 TERM; exec "$@"' sh"""
"""Before Python hears signals, SIGUSR2 and SIGTERM would end it, and the job with it as failed. A preempted job is
queued again by SLURM if it is still there when its grace ends."""


def submit_array(submission: Submission, site: Site, ledger: Ledger) -> int:
    """Submit a job array, one element for each of the submission's, and return its job's id.

    Raises:
        SlurmError: submitit is not installed, or sbatch refuses; the message says why.
    """
    submitit = _import_submitit()
    executor, study = _executor(submission, site, ledger), str(ledger.study_folder)
    elements = [ArrayElement(study, submission.token, index) for index in range(len(submission.elements))]
    try:
        with executor.batch():
            jobs = [executor.submit(element) for element in elements]
    except (submitit.core.utils.FailedJobError, submitit.core.utils.FailedSubmissionError) as error:
        raise SlurmError(f"sbatch: {' '.join(str(error).split())}") from error
    return int(jobs[0].job_id.split("_")[0])


def sbatch_text(submission: Submission, site: Site, ledger: Ledger) -> str:
    """Return what would be given to sbatch.

    Raises:
        SlurmError: submitit is not installed.
    """
    executor = _executor(submission, site, ledger)
    if len(submission.elements) > 1:
        executor.parameters["map_count"] = len(submission.elements)
    text: str = executor._make_submission_file_text(executor._submitit_command_str, submission.token)
    return text


def complete(submission: Submission, ledger: Ledger) -> None:
    """Lay down what an array's elements start from, which submitit does after sbatch, as far as it is missing.

    An element waits a minute for it.
    """
    submitit = _import_submitit()
    for index in range(len(submission.elements)):
        path = submitit.core.utils.JobPaths(ledger.logs, submission.job_id(index)).submitted_pickle
        if not path.exists():
            element = ArrayElement(str(ledger.study_folder), submission.token, index)
            with written_whole(path) as aside:
                submitit.core.utils.DelayedSubmission(element).dump(aside)


def log_files(ledger: Ledger, job_id: str) -> list[Path]:
    """Return where an element's output and errors are, as far as there are any; all its starts append to them."""
    return [path for end in ("out", "err") if (path := ledger.logs / f"{job_id}_0_log.{end}").exists()]


def _executor(submission: Submission, site: Site, ledger: Ledger) -> Any:
    submitit = _import_submitit()
    try:
        executor = submitit.SlurmExecutor(ledger.logs, python=f"{DEAF_AT_FIRST} {site.command}")
    except RuntimeError as error:
        raise SlurmError(f"{error}; submit from a login node of the cluster") from error
    excluded = ",".join(ledger.excluded())
    chosen = {
        "partition": site.partition,
        "account": site.account,
        "qos": site.qos,
        "constraint": site.constraint,
        "gpus_per_node": site.gpus or None,
        "mem": None if site.memory_gb is None else f"{round(site.memory_gb * 1024)}M",
        "exclude": excluded or None,
    }
    executor.update_parameters(
        job_name=submission.name,
        time=site.time_limit_minutes,
        cpus_per_task=site.cpus,
        signal_delay_s=site.signal_seconds,
        array_parallelism=len(submission.elements),
        setup=["umask 077", *site.setup],
        # what the batch step was given, the step that trains gets as well; srun stopped inheriting it in 22.05
        srun_args=[f"--cpus-per-task={site.cpus}"],
        additional_parameters={"requeue": True, **site.extra},
        wckey=None,
        **{name: value for name, value in chosen.items() if value is not None},
    )
    return executor


def _import_submitit() -> Any:
    try:
        import submitit
    except ImportError as error:
        raise SlurmError(f"{error}; --on slurm needs: pip install 'clr-hpc[slurm]'") from error
    return submitit
