"""Whether the disk of the results has room for the runs of a job, before anything starts."""

import shutil
from functools import cache

from clr_hpc.config.base import UserError, counted
from clr_hpc.config.network import NETWORKS, NetworkSize
from clr_hpc.config.run import RunSpec
from clr_hpc.config.task import BinaryTask, PretrainingTask, Task
from clr_hpc.data.manifest import read_manifest
from clr_hpc.places.base import TrainingJob
from clr_hpc.planning.disk import DiskNeed, disk_need
from clr_hpc.training.upkeep.freeable import size_of


def disk_line(job: TrainingJob) -> str:
    """Say what the missing runs of a job take, and what is free."""
    need, free = _need_and_free(job)
    runs = counted(len(job.missing), "run")
    return f"disk: {_text(need)} for {runs}; {_text(free)} are free for {job.options.results}"


def disk_of(job: TrainingJob) -> DiskNeed:
    """Return what the missing runs of a job take."""
    return disk_need(job.missing, read_manifest(job.pack_folder).counts, size_of_network, job.study.keep)


def check_disk(job: TrainingJob) -> None:
    """See that the missing runs of a job can be written down.

    Raises:
        UserError: the disk has less room than they take.
    """
    need, free = _need_and_free(job)
    if need > free:
        runs = counted(len(job.missing), "run")
        raise UserError(
            f"{job.options.results}: {_text(free)} are free, and {runs} of {job.study.name} take {_text(need)}; "
            "make room ('clr-hpc clean' frees what studies that are done don't need), give --results a folder on "
            "another disk, let the study's keep: keep less, or train fewer runs"
        )


def _need_and_free(job: TrainingJob) -> tuple[int, int]:
    """Return bytes: what the runs take besides what they have on disk, and what is free."""
    need = disk_of(job)
    there = sum(size_of(job.folder.runs / spec.name) for spec in job.missing)
    folder = job.options.results.absolute()
    nearest = next(each for each in (folder, *folder.parents) if each.is_dir())
    return max(need.left + need.under_way - there, 0), shutil.disk_usage(nearest).free


def size_of_network(spec: RunSpec) -> NetworkSize:
    known = NETWORKS.get(spec.architecture)
    is_the_network = spec.network == spec.architecture and not isinstance(spec.task, PretrainingTask)
    if known is not None and known.size is not None and is_the_network:
        return known.size
    # all findings have classifiers of one size
    task = BinaryTask(pathology="effusion") if isinstance(spec.task, BinaryTask) else spec.task
    return _built_size(task, spec.architecture)


@cache
def _built_size(task: Task, architecture: str) -> NetworkSize:
    from clr_hpc.models.size import (
        built_size,
    )  # torch takes seconds, and most studies need none here

    return built_size(task, architecture)


def _text(count: int) -> str:
    return f"{count / 1e9:,.2f} GB"
