"""Submitting a study: what is left of it, in as many arrays as the site's limits ask for, or in one allocation.

The order of things holds at whatever moment the command is killed: an intent in the ledger, sbatch, the job's id
in the ledger. The next command asks SLURM for the names of intents without an id (``settle``). What sbatch may
still hand over after that finds its submission abandoned and does nothing.
"""

import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path

from clr_hpc.config.run import RunSpec
from clr_hpc.places.slurm import sbatch
from clr_hpc.places.slurm.commands import (
    Job,
    SlurmError,
    jobs_in_queue,
    jobs_still_allowed,
    max_array_size,
)
from clr_hpc.places.slurm.ledger import Ledger, Submission, abandoned, new_token, now, with_job
from clr_hpc.places.slurm.site import Site
from clr_hpc.store.checkpoints import newest_checkpoint
from clr_hpc.store.lease import LeaseTiming, read_lease
from clr_hpc.store.study_folder import StudyFolder


def families(runs: Sequence[RunSpec]) -> list[list[RunSpec]]:
    """Return each baseline with the runs that start from it, and each other run by itself, in the study's order.

    Runs whose baseline is not among ``runs`` stand by themselves: it is done, or another job has it.
    """
    names = {spec.run_id for spec in runs}
    found: dict[str, list[RunSpec]] = defaultdict(list)
    for spec in runs:
        baseline = spec.start.baseline.run_id if spec.start is not None else None
        found[baseline if baseline in names and baseline is not None else spec.run_id].append(spec)
    for head, family in found.items():
        family.sort(key=lambda spec: spec.run_id != head)
    return list(found.values())


def share_out(runs: Sequence[RunSpec], tasks: int) -> list[list[RunSpec]]:
    """Distribute runs over at most so many array tasks, evenly by epochs and pixels.

    Families stay together, so that no array task waits for another one's baseline, as long as every array task has
    work. Within an array task the runs of a network follow each other.

    Args:
        runs: of the study, which are to be submitted.
        tasks: upper limit; fewer where there are fewer runs.

    Returns:
        (array tasks,) the runs of each, in the order of training.
    """
    groups = families(runs)
    while len(groups) < tasks and (largest := max(groups, key=len, default=[])) and len(largest) > 1:
        groups.append([largest.pop()])
    count = min(tasks, len(groups))
    shares: list[list[RunSpec]] = [[] for _ in range(count)]
    filled = [0.0] * count
    for group in sorted(groups, key=lambda group: -_effort(group)):
        emptiest = filled.index(min(filled))
        shares[emptiest] += group
        filled[emptiest] += _effort(group)
    for share in shares:
        # baselines first, so that what waits for them is free soon; the sort keeps the order of equals
        share.sort(key=lambda spec: (spec.start is not None, spec.architecture, spec.training.image_size))
    return shares


def _effort(runs: Sequence[RunSpec]) -> float:
    return sum(spec.training.epochs * spec.training.image_size**2 for spec in runs) + 1e-9 * len(runs)


@dataclass(frozen=True)
class Left:
    """What is to be submitted of a study, and what is not."""

    runs: tuple[RunSpec, ...]
    begun: tuple[RunSpec, ...]
    """Those of them that have a folder."""
    done: int
    queued: int
    """Number of runs in jobs that wait or run."""
    running: int
    """Number of runs that other processes train, such as ``--on here``."""


def known_jobs(ledger: Ledger) -> list[Job]:
    """Return the jobs of all submissions that SLURM still knows.

    Raises:
        SlurmError: it does not answer.
    """
    return jobs_in_queue([one.name for one in ledger.submissions() if one.state != "abandoned"])


def settle(ledger: Ledger) -> list[Job]:
    """Resolve submissions that were interrupted, and return the jobs of all that SLURM still knows.

    Raises:
        SlurmError: it does not answer.
    """
    jobs = known_jobs(ledger)
    for submission in ledger.submissions():
        if submission.state != "intended":
            continue
        found = next((job for job in jobs if job.name == submission.name), None)
        if found is None:
            ledger.write(abandoned(submission))
            continue
        adopted = with_job(submission, int(found.job_id.split("_")[0]))
        sbatch.complete(adopted, ledger)
        ledger.write(adopted)
    return jobs


def queued_runs(ledger: Ledger, jobs: Sequence[Job]) -> set[str]:
    """Return the names of the runs of array tasks that wait or run."""
    active = {job.job_id for job in jobs if job.is_active}
    return {
        name
        for submission in ledger.submissions()
        for index, runs in enumerate(submission.elements)
        if submission.job_id(index) in active
        for name in runs
    }


def what_is_left(study: StudyFolder, runs: tuple[RunSpec, ...], ledger: Ledger, jobs: Sequence[Job]) -> Left:
    """Leave out runs that are done, queued or running; a cancelled run counts as neither."""
    unfinished = {spec.name: spec for spec in study.unfinished(runs)}
    queued = queued_runs(ledger, jobs) - ledger.cancelled()
    folders = {path.name for path in study.runs.glob("*")}
    free = {name: spec for name, spec in unfinished.items() if name not in queued}
    left = {name: spec for name, spec in free.items() if name not in folders or not _is_held(study.runs / name)}
    return Left(
        runs=tuple(left.values()),
        begun=tuple(spec for name, spec in left.items() if name in folders),
        done=len(runs) - len(unfinished),
        queued=len(unfinished) - len(free),
        running=len(free) - len(left),
    )


def _is_held(folder: Path) -> bool:
    lease = read_lease(folder)
    if lease is None or lease.by.is_known_dead:
        return False
    return time.time() - lease.renewed < LeaseTiming().stale_seconds


def begun_with_other_code(study: StudyFolder, runs: Sequence[RunSpec], source_sha256: str) -> list[RunSpec]:
    """Return the runs that have a checkpoint and were last trained by other code than that of this checksum."""
    return [
        spec
        for spec in runs
        if study.code_of(spec) not in (None, source_sha256) and newest_checkpoint(study.runs / spec.name) >= 0
    ]


def array_tasks_wanted(runs: Sequence[RunSpec], site: Site, parallel: int | None) -> int:
    """Return over how many array tasks to distribute runs; all of them may run at once."""
    wanted = parallel or site.parallel
    if wanted is None:
        return max(1, -(-len(families(runs)) // site.processes))
    return min(wanted, len(runs))


def make_submissions(draft: Submission, shares: Sequence[Sequence[RunSpec]], study_name: str) -> list[Submission]:
    """Return a submission for each array, none larger than the site allows."""
    size = max_array_size() or len(shares)
    made = []
    for start in range(0, len(shares), size):
        token, name = new_token(study_name)
        elements = tuple(tuple(spec.name for spec in share) for share in shares[start : start + size])
        made.append(replace(draft, token=token, name=name, made=now(), elements=elements))
    return made


def submit(
    runs: Sequence[RunSpec],
    draft: Submission,
    study_name: str,
    site: Site,
    parallel: int | None,
    ledger: Ledger,
    on_submitted: Callable[[Submission], None],
) -> None:
    """Distribute runs and submit them; where SLURM accepts no more jobs, the rest goes into fewer array tasks.

    An allocation counts as one.

    Raises:
        SlurmError: SLURM rejects even one array task.
    """
    wanted = 1
    if draft.shape == "array":
        wanted = array_tasks_wanted(runs, site, parallel)
        allowed = jobs_still_allowed(site.qos)
        if allowed is not None:
            wanted = max(1, min(wanted, allowed))
    ledger.allow([spec.name for spec in runs])
    left = {spec.name: spec for spec in runs}
    while left:
        for submission in make_submissions(draft, share_out(list(left.values()), wanted), study_name):
            ledger.write(submission)
            try:
                submitted = with_job(submission, sbatch.submit_job(submission, site, ledger))
            except SlurmError as error:
                ledger.write(abandoned(submission))
                if len(submission.elements) == 1 or not _is_about_limits(error):
                    raise
                wanted = len(submission.elements) // 2
                break
            ledger.write(submitted)
            on_submitted(submitted)
            for name in chain.from_iterable(submission.elements):
                del left[name]


def _is_about_limits(error: SlurmError) -> bool:
    """Return whether there are too many jobs, so that fewer help, and not a request that SLURM never accepts."""
    return any(sign in str(error) for sign in ("SubmitJob", "MaxJobCount", "policy", "array", "Array"))
