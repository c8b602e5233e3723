"""Hands jobs to SLURM. This is the only file that imports submitit."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from clr_hpc.places.slurm.allocation.launch import Allocation
from clr_hpc.places.slurm.array import ArrayTask
from clr_hpc.places.slurm.commands import SlurmError
from clr_hpc.places.slurm.ledger import Ledger, Submission
from clr_hpc.places.slurm.site import Site
from clr_hpc.store.atomic import OWNER_ALONE, atomic_write

DEAF_AT_FIRST = """sh -c 'trap "" USR2 TERM; exec "$@"' sh"""
"""Before Python hears signals, SIGUSR2 and SIGTERM would end it, and the job with it as failed. A preempted job is
queued again by SLURM if it is still there when its grace ends."""


def submit_job(submission: Submission, site: Site, ledger: Ledger) -> int:
    """Submit an allocation, or a job array with the submission's array tasks; return the job's id.

    Raises:
        SlurmError: submitit is not installed, or sbatch rejects the job; the message says why.
    """
    submitit = _import_submitit()
    executor = _executor(submission, site, ledger)
    tasks = [_task(submission, ledger, index) for index in range(len(submission.elements))]
    try:
        with executor.batch():
            jobs = [executor.submit(task) for task in tasks]
    except (submitit.core.utils.FailedJobError, submitit.core.utils.FailedSubmissionError) as error:
        raise SlurmError(f"sbatch: {' '.join(str(error).split())}") from error
    for job in jobs:
        job.paths.submitted_pickle.chmod(OWNER_ALONE)
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
    """Write the missing pickles of array tasks: submitit writes them after sbatch, and can be interrupted.

    An array task waits a minute for its pickle.
    """
    submitit = _import_submitit()
    for index in range(len(submission.elements)):
        path = submitit.core.utils.JobPaths(ledger.logs, submission.job_id(index)).submitted_pickle
        if not path.exists():
            task = _task(submission, ledger, index)
            with atomic_write(path, OWNER_ALONE) as temporary:
                submitit.core.utils.DelayedSubmission(task).dump(temporary)


def log_files(ledger: Ledger, job_id: str) -> list[Path]:
    """Return the files with an array task's output and errors that exist; all its starts append to them.

    Of an allocation those of all nodes, the first one's last.
    """
    found = ledger.logs.glob(f"{job_id}_*_log.*")
    return sorted(found, key=lambda path: (-int(path.stem.split("_")[-2]), path.suffix == ".err"))


def _task(submission: Submission, ledger: Ledger, index: int) -> Callable[[], str]:
    study = str(ledger.study_folder)
    if submission.shape == "allocation":
        return Allocation(study, submission.token)
    return ArrayTask(study, submission.token, index)


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
    if submission.shape == "allocation":
        chosen |= _of_allocation(submission, site)
    executor.update_parameters(
        job_name=submission.name,
        time=site.time_limit_minutes,
        cpus_per_task=site.cpus,
        signal_delay_s=site.signal_seconds,
        array_parallelism=len(submission.elements),
        setup=list(site.setup),
        additional_parameters={"requeue": True, **site.extra},
        wckey=None,
        **{"srun_args": [_cpus_of_a_step(site)]}
        | {name: value for name, value in chosen.items() if value is not None},
    )
    return executor


def _cpus_of_a_step(site: Site) -> str:
    """Give a step what the batch step was given, which srun stopped inheriting in 22.05."""
    return f"--cpus-per-task={site.cpus}"


def _of_allocation(submission: Submission, site: Site) -> dict[str, Any]:
    """Return what makes a job an allocation: a task on each node, which end together.

    Where they did not end by themselves, the job's script looks on all of its nodes for what they left.
    """
    reap = f"srun {_cpus_of_a_step(site)} {site.command} -m clr_hpc.places.slurm.allocation.node_folder"
    return {
        "nodes": submission.nodes,
        "ntasks_per_node": 1,
        "srun_args": [_cpus_of_a_step(site), "--kill-on-bad-exit=1"],
        "teardown": ["clr_hpc_code=$?", f"[ $clr_hpc_code = 0 ] || {reap}", "exit $clr_hpc_code"],
    }


def _import_submitit() -> Any:
    try:
        import submitit
    except ImportError as error:
        raise SlurmError(f"{error}; --on slurm needs: pip install 'clr-hpc[slurm]'") from error
    return submitit
