"""Ending a study's jobs, or taking some of its runs away from them."""

from collections.abc import Sequence

from clr_hpc.config.run import RunSpec
from clr_hpc.places.slurm.commands import cancel_jobs
from clr_hpc.places.slurm.place import queued_runs, settle
from clr_hpc.places.slurm.study import SlurmStudy


def cancel_study(study: SlurmStudy) -> list[str]:
    """End all jobs of a study and say which; those that run save a checkpoint first.

    Raises:
        SlurmError: SLURM does not answer.
    """
    active = [job for job in settle(study.ledger) if job.is_active]
    cancel_jobs([job.job_id for job in active])
    return [f"cancelled: job {job.job_id}, {job.state.lower()}" for job in active] or ["no job waits or runs"]


def cancel_runs(study: SlurmStudy, runs: Sequence[RunSpec]) -> list[str]:
    """Have nobody train these runs, and those that go on from them, any more, until they are submitted again.

    Elements without any other run are ended; others go on without these runs.

    Raises:
        SlurmError: SLURM does not answer.
    """
    chosen = {spec.run_id for spec in runs}
    with_sequels = [
        spec
        for spec in study.unfinished
        if spec.run_id in chosen or (spec.start is not None and spec.start.baseline.run_id in chosen)
    ]
    jobs = settle(study.ledger)
    study.ledger.cancel([spec.name for spec in with_sequels])
    cancelled = study.ledger.cancelled()
    unneeded = [
        job
        for job in jobs
        if job.state == "PENDING" and queued_runs(study.ledger, [job]) <= cancelled | study.done_names
    ]
    cancel_jobs([job.job_id for job in unneeded])
    return [
        *(f"cancelled: {spec.name}" for spec in with_sequels),
        *(f"cancelled: job {job.job_id}, which has no other run" for job in unneeded),
    ] or ["these runs are done; nothing to cancel"]
