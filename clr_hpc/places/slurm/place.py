"""``--on slurm``: what is left of a study is submitted as a job array or an allocation, and the command returns.

All of it is for login nodes: nothing here imports torch, and nothing stays open.
"""

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from clr_hpc.config.base import UserError, counted
from clr_hpc.config.plugins import require
from clr_hpc.config.run import RunSpec
from clr_hpc.doctor.check import Examination
from clr_hpc.places.base import Events, JobStatus, Place, Submitted, TrainingJob, settings_of
from clr_hpc.places.options import SearchOptions, TrainingOptions
from clr_hpc.places.slurm.checkup import Checkup
from clr_hpc.places.slurm.commands import Job
from clr_hpc.places.slurm.draft import draft_site
from clr_hpc.places.slurm.jobs import cancel_runs, cancel_study, log_of_run, read_slurm_status
from clr_hpc.places.slurm.ledger import Ledger, Submission
from clr_hpc.places.slurm.request import LISTING, check_request
from clr_hpc.places.slurm.sbatch import sbatch_text
from clr_hpc.places.slurm.shape import choose, plan_of_allocation, plan_of_array
from clr_hpc.places.slurm.site import Site, load_site
from clr_hpc.places.slurm.submit import (
    array_tasks_wanted,
    begun_with_other_code,
    known_jobs,
    make_submissions,
    settle,
    share_out,
    submit,
    what_is_left,
)
from clr_hpc.planning.throughput import read_throughput
from clr_hpc.store.provenance import code_identity
from clr_hpc.store.study_folder import StudyFolder


class Slurm(Place):
    """Jobs of a SLURM cluster."""

    name = "slurm"
    waits = False
    site = Site
    options = frozenset({"site", "shape", "nodes", "parallel", "accept_changes", "lanes", "workers_per_lane"})
    instead: ClassVar[Mapping[str, str]] = {
        "cohort": "set runs_at_once in the site file",
        "processes": "set runs_at_once in the site file",
        "cpus": "set cpus in the site file",
        "gpus": "set gpus in the site file",
    }

    def check(self, options: SearchOptions) -> None:
        """See that submitit and SLURM are here, and that the site file suits the cluster and the results."""
        assert isinstance(options, TrainingOptions)
        require("submitit", "slurm", f"--on {self.name}")
        site = load_site(options.site)
        _check_is_shared(options.results, site)
        check_request(site, must_answer=not options.dry_run)

    def draft_site(self, shared_folder: Path) -> str | None:
        """Return a site file for this cluster; None where no command of SLURM is installed."""
        return draft_site(shared_folder) if shutil.which(LISTING) else None

    def examinations(self, site: Path | None, results: Path, submits: bool) -> Sequence[Examination]:
        """Look at SLURM's commands, its settings, the site file and, by a job, at the nodes' clocks."""
        return Checkup(site, results, submits).examinations()

    def describe(self, job: TrainingJob, events: Events) -> None:
        """Show what would be given to sbatch, the runs of each job and, with ``--throughput``, the plan."""
        site = _site_of(job)
        ledger = _ledger_of(job.folder)
        draft = _draft(job, ledger, known_jobs(ledger), site, events)
        if draft is not None:
            draft.show(job, ledger, events)

    def run(self, job: TrainingJob, events: Events) -> Submitted:
        """Submit the runs that are missing and neither queued nor trained elsewhere.

        Raises:
            UserError: SLURM rejects the jobs, the site file can't be used, the study's folder is in use by another
                command or not on the shared disk, or runs were begun with other code.
        """
        site = _site_of(job)
        job.prepare()
        ledger = _ledger_of(job.folder)
        ledger.prepare()
        with ledger.locked():
            draft = _draft(job, ledger, settle(ledger), site, events)
            if draft is not None:
                parallel, name = job.options.parallel, job.study.name
                submit(
                    draft.runs, draft.submission, name, site, parallel, ledger,
                    lambda submission: events.say(_line_of(submission)),
                )  # fmt: skip
        return Submitted()

    def has_jobs(self, study: StudyFolder) -> bool:
        """Look for the study's ledger."""
        return _ledger_of(study).exists

    def status(self, study: StudyFolder) -> JobStatus | None:
        """Ask SLURM, or take its last answer from the study's folder if that is recent."""
        return read_slurm_status(_ledger_of(study)) if self.has_jobs(study) else None

    def cancel(self, study: StudyFolder, runs: Sequence[RunSpec] | None) -> list[str]:
        """Cancel jobs, or runs; those under way save a checkpoint first."""
        ledger = _ledger_of(study)
        with ledger.locked():
            if runs is None:
                return cancel_study(ledger)
            return cancel_runs(study, ledger, study.started().runs, runs)

    def logs(self, study: StudyFolder, run: RunSpec, lines: int) -> list[str]:
        """Read the log files of the array task, or of the allocation's nodes, that trained a run last."""
        return log_of_run(_ledger_of(study), run, lines)


def _ledger_of(study: StudyFolder) -> Ledger:
    return Ledger(study.path.absolute())


def _site_of(job: TrainingJob) -> Site:
    """Read the site file, and see that the study's folder lies where all nodes see it."""
    site = load_site(job.options.site)
    _check_is_shared(job.folder.path, site)
    return site


def _check_is_shared(folder: Path, site: Site) -> None:
    if not folder.resolve().is_relative_to(site.shared_folder.resolve()):
        raise UserError(
            f"{folder.absolute()} is not in shared_folder={site.shared_folder} of the site file, so that nodes "
            f"may not see it; give --results {site.shared_folder / 'results'}"
        )


@dataclass(frozen=True)
class _Draft:
    """What is about to be submitted."""

    runs: tuple[RunSpec, ...]
    submission: Submission
    """Without the runs of its array tasks, and without a name."""
    site: Site

    def show(self, job: TrainingJob, ledger: Ledger, events: Events) -> None:
        """Show it, and submit nothing."""
        submission, site = self.submission, self.site
        is_array = submission.shape == "array"
        wanted = array_tasks_wanted(self.runs, site, job.options.parallel) if is_array else 1
        shares = share_out(self.runs, wanted)
        for one in make_submissions(submission, shares, job.study.name):
            events.say(sbatch_text(one, site, ledger))
            for index, names in enumerate(one.elements):
                at_a_time = f"array task {index}, {site.processes} at a time"
                events.say(f"# {at_a_time if is_array else f'in lanes on {one.nodes} nodes'}:")
                for name in names:
                    events.say(f"#   {name}")
        if job.options.throughput is None:
            return
        table = read_throughput(job.options.throughput)
        if is_array:
            plan = plan_of_array(self.runs, job.pack_folder, site, len(shares), table)
        else:
            lanes, workers = submission.lanes, submission.workers_per_lane
            plan = plan_of_allocation(self.runs, job.pack_folder, site, submission.nodes, table, lanes, workers)
        events.planned(plan)


def _draft(job: TrainingJob, ledger: Ledger, jobs: Sequence[Job], site: Site, events: Events) -> _Draft | None:
    """Return what is to be submitted, and say so; None where nothing is left."""
    folder, options = job.folder, job.options
    left = what_is_left(folder, job.runs, ledger, jobs)
    elsewhere = f", {left.running} trained elsewhere" if left.running else ""
    queued = f"{left.done} done, {left.queued} queued or running{elsewhere}"
    events.say(f"{job.study.name}: {counted(len(job.runs), 'run')}, {queued}; in {folder.path.absolute()}")
    for remark in job.remarks:
        events.say(remark)
    if not left.runs:
        events.say("nothing to submit")
        return None
    code = code_identity()
    _reject_other_code(job, left.begun, code.source_sha256, events)
    table = None if options.throughput is None else read_throughput(options.throughput)
    chosen = choose(options, left.runs, job.pack_folder, site, table)
    events.say(chosen.text)
    submission = Submission(
        token="",
        name="",
        made="",
        state="intended",
        elements=(),
        failed_before=folder.failures(left.begun),
        commit=code.commit,
        source_sha256=code.source_sha256,
        pack_checksum=job.pack_checksum,
        pack_folder=str(job.pack_folder),
        settings=settings_of(options),
        accept_changes=options.accept_changes,
        processes=site.processes,
        threads=site.threads,
        baseline_wait_seconds=site.baseline_wait_seconds,
        shape=chosen.shape,
        nodes=chosen.nodes,
        lanes=options.lanes,
        workers_per_lane=options.workers_per_lane,
        rates=None if options.throughput is None else str(options.throughput.absolute()),
    )
    return _Draft(left.runs, submission, site)


def _reject_other_code(job: TrainingJob, runs: tuple[RunSpec, ...], source_sha256: str, events: Events) -> None:
    begun = begun_with_other_code(job.folder, runs, source_sha256)
    if not begun:
        return
    what = f"{counted(len(begun), 'run')} begun with other code than this, the first of them {begun[0].name}"
    if not job.options.accept_changes:
        raise UserError(f"{what}; go back to that code, or let them resume with --accept-changes")
    events.say(f"{what}; they resume with --accept-changes")


def _line_of(submission: Submission) -> str:
    runs = counted(sum(len(element) for element in submission.elements), "run")
    if submission.shape == "allocation":
        return f"job {submission.job}: {runs} in an allocation of {counted(submission.nodes, 'node')}"
    return f"job {submission.job}: {runs} in {counted(len(submission.elements), 'array task')}"
