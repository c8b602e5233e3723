"""The commands ``clr-hpc run`` and ``clr-hpc range-test``: have a place train what is missing of a study."""

import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from clr_hpc.cli.options import on_a_place
from clr_hpc.cli.study import command, make_way, on_its_pack
from clr_hpc.cli.track import check_trackers, mirrored
from clr_hpc.places.options import TrainingOptions
from clr_hpc.places.signals import exit_code_of_stop

if TYPE_CHECKING:
    from rich.console import Console

    from clr_hpc.config.study import Study
    from clr_hpc.places.base import Place, TrainingJob
    from clr_hpc.planning.lr_range import TestedLearner


@on_a_place(TrainingOptions)
def run(study_file: Path, options: TrainingOptions, place: "Place") -> None:
    """Train the remaining runs of a study, on this machine or a Ray cluster, or submit them to a SLURM cluster."""
    from clr_hpc.cli.display.terminal import say, terminal
    from clr_hpc.config.base import counted
    from clr_hpc.config.expand import runs_of_one_seed
    from clr_hpc.config.load import load_study
    from clr_hpc.config.tuned_study import CHECKSUM_OF_NO_PACK
    from clr_hpc.places.prepare import check_beforehand, job_of, with_auto_rates
    from clr_hpc.planning.throughput import read_throughput
    from clr_hpc.store.study_folder import StudyFolder

    console = terminal()
    study = load_study(study_file, options.changes)
    folder = StudyFolder.of(options.results, study.name)
    study, manifest = on_its_pack(study, study_file)
    check_beforehand(manifest, runs_of_one_seed(study, CHECKSUM_OF_NO_PACK), options.results)
    if options.throughput is not None:
        read_throughput(options.throughput)
    check_trackers(study.track)
    change = None if options.replace else folder.check(study, manifest.checksum)
    if change is not None:
        say(f"{counted(change.new, 'run')} more than {folder.path} has: {change}")
    checksum = _checked_pack(console, study, place)

    def train_tests(tests: "TrainingJob") -> bool:
        failed = _train(console, tests, place)
        if failed:
            raise typer.Exit(1)
        return failed is not None

    numbered = with_auto_rates(study, checksum, place, options, train_tests, say)
    if numbered is None:
        return
    job = job_of(numbered, checksum, folder, options)
    if (line := make_way(job)) is not None:
        say(line)
    failed = _train(console, job, place)
    if failed is not None:
        say(f"report: {command('report', folder.path)}")
    if failed:
        raise typer.Exit(1)


@on_a_place(TrainingOptions)
def range_test(study_file: Path, options: TrainingOptions, place: "Place") -> None:
    """Measure the range of learning rates in which each architecture and optimizer of a study learns.

    What was measured before, for this study or another, is not measured again. Exits with 1 if a range can't be
    determined.
    """
    from clr_hpc.cli.display.terminal import say, terminal
    from clr_hpc.config.base import UserError
    from clr_hpc.config.expand import range_test_study, runs_of_one_seed
    from clr_hpc.config.load import load_study
    from clr_hpc.config.tuned_study import CHECKSUM_OF_NO_PACK
    from clr_hpc.places.prepare import check_beforehand, job_of
    from clr_hpc.planning.lr_range import folder_of_tests, summarize_tests
    from clr_hpc.store.study_folder import StudyFolder

    if options.replace:
        raise UserError("--replace: LR range tests replace nothing, studies share them; leave it out")
    console = terminal()
    study = load_study(study_file, options.changes, "range-test")
    StudyFolder.of(options.results, study.name)  # rejects what it could not be
    study, manifest = on_its_pack(study, study_file)
    tests = range_test_study(study)
    check_beforehand(manifest, runs_of_one_seed(tests, CHECKSUM_OF_NO_PACK), options.results)
    checksum = _checked_pack(console, tests, place)
    job = job_of(tests, checksum, folder_of_tests(options.results, tests.name), options)
    failed: int | None = 0
    if job.missing or place.waits:
        failed = _train(console, job, place)
    if failed is None:
        if not options.dry_run:
            say("when they have ended, the same command shows the ranges")
        return
    learners = list(summarize_tests(job.runs, job.folder))
    _show_ranges(job, learners)
    if failed or any(one.measured is None for one in learners):
        raise typer.Exit(1)


def _checked_pack(console: "Console", study: "Study", place: "Place") -> str:
    """Return the checksum of a study's pack; its files are read where this command trains on them."""
    from clr_hpc.cli.display.terminal import plain
    from clr_hpc.data.manifest import open_manifest

    with console.status(plain(f"checking {study.pack}")):
        return open_manifest(Path(study.pack), verify=place.waits).checksum


def _train(console: "Console", job: "TrainingJob", place: "Place") -> int | None:
    """Return how many runs failed; None where nothing is trained by now: in a dry run, or after submitting."""
    from clr_hpc.cli.display.log_file import open_log
    from clr_hpc.cli.display.profile import show_profiles
    from clr_hpc.cli.display.run import RunDisplay
    from clr_hpc.cli.display.terminal import complain, say
    from clr_hpc.config.base import counted
    from clr_hpc.places.base import Submitted
    from clr_hpc.places.notify import train_and_notify
    from clr_hpc.places.prepare import check_job
    from clr_hpc.store.study_folder import StudyFolder

    missing = job.missing
    with RunDisplay(console, job.folder, job.runs) as display:
        for damaged in job.damaged:
            display.say(f"does not count, and is trained again: {damaged}")
        check_job(job)
        if job.options.dry_run:
            place.describe(job, display)
            return None
        # that of the study itself, also for the range tests that come first
        open_log(StudyFolder.of(job.options.results, job.study.name).path, "run", makes_folder=True)
        with mirrored(job.folder, _trackers_of(job) if place.waits else ()):
            ended = train_and_notify(place, job, display)
    if isinstance(ended, Submitted):
        say(f"watch: {command('status', job.folder.path)}")
        if _trackers_of(job):
            say(f"mirror while it trains, or afterwards: {command('track', job.folder.path)} --watch")
        return None
    if job.options.profile:
        show_profiles(console, [job.folder.runs / spec.name for spec in missing])
    again = shlex.join(["clr-hpc", *sys.argv[1:]])
    if not ended.is_complete:
        say(f"stopped; every run under way is saved. Resume with the same command: {again}")
        raise typer.Exit(exit_code_of_stop())
    if display.failed:
        count = f"{display.failed} of {counted(len(job.runs), 'run')} failed"
        complain(f"{count}{next_step(display.failed, display.hopeless, again)}")
    return display.failed


def _trackers_of(job: "TrainingJob") -> tuple[str, ...]:
    """Return the trackers into which its runs are mirrored; range tests, which studies share, are in none."""
    return () if job.study.stages.range_test else job.study.track


def next_step(failed: int, hopeless: int, again: str) -> str:
    """Return what to do about runs that failed; trying again is for those that it may help."""
    if hopeless == failed:
        return ", and would fail again; change the study as the lines above say"
    others = (
        f"; {hopeless} would fail again until the study is changed. Try the others" if hopeless else "; try them"
    )
    return f"{others} again with the same command: {again}"


def _show_ranges(job: "TrainingJob", learners: "list[TestedLearner]") -> None:
    from clr_hpc.cli.display.lr_range import pasteable, reasons, render
    from clr_hpc.cli.display.terminal import say, terminal
    from clr_hpc.planning.lr_range import write_verdicts
    from clr_hpc.reporting.page.lr_range import write_page

    folder = job.folder.path
    write_verdicts(job.folder, learners)
    page = write_page(folder)
    terminal(is_wide=True).print(render(learners))
    for line in (*reasons(learners), *pasteable(learners)):
        say(line)
    say(f"curves of {job.study.name}: {page}")
    say(f"in TensorBoard: {command('tensorboard', folder)}")
