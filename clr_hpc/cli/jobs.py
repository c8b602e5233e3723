"""``clr-hpc run --on slurm``, ``clr-hpc cancel`` and ``clr-hpc logs``: a study on a SLURM cluster.

All of it is for login nodes: nothing here imports torch, and nothing stays open.
"""

import os
import shlex
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from clr_hpc.cli.options import Results, StudyFile, refuse

if TYPE_CHECKING:
    from clr_hpc.config.run import RunSpec
    from clr_hpc.config.study import Study
    from clr_hpc.places.slurm.ledger import Ledger, Submission
    from clr_hpc.places.slurm.shape import AskedShape
    from clr_hpc.places.slurm.site import Site
    from clr_hpc.store.study_folder import StudyFolder


@dataclass(frozen=True)
class SlurmOptions:
    """What was asked for with --on slurm."""

    site_file: Path | None
    shape: "AskedShape"
    dry_run: bool
    accept_changes: bool
    checkpoint_seconds: float
    rates: Path | None


def submit_study(study_file: Path, overrides: tuple[str, ...], results: Path, asked: SlurmOptions) -> None:
    """Submit what is missing of a study and neither queued nor running, and return."""
    from clr_hpc.config.expand import expand
    from clr_hpc.config.load import StudyError, load_study
    from clr_hpc.data.manifest import PackError, open_manifest
    from clr_hpc.places.slurm.commands import SlurmError
    from clr_hpc.places.slurm.ledger import OWNER_ALONE, Ledger, LedgerError
    from clr_hpc.places.slurm.site import SiteError, load_site
    from clr_hpc.planning.lr_range import UnsuggestedRateError, leave_what_was_measured, with_measured
    from clr_hpc.store.study_folder import StudyFolder

    os.umask(OWNER_ALONE)
    try:
        site = load_site(asked.site_file)
        study = load_study(study_file, overrides)
        pack_folder = Path(study.pack).absolute()
        checksum = open_manifest(pack_folder).checksum
        study = with_measured(study, checksum, results)
        runs = expand(study, checksum)
        folder = StudyFolder((results / study.name).absolute())
        _refuse_folder_of_its_own(folder.path, site)
        ledger = Ledger(folder.path)
        with ExitStack() as stack:
            if not asked.dry_run:
                folder.prepare(study, pack_folder)
                leave_what_was_measured(study, checksum, results)
                ledger.prepare()
                stack.enter_context(ledger.locked())
            _submit_what_is_left(study, folder, ledger, runs, site, pack_folder, asked)
    except (
        *(StudyError, PackError, SiteError, LedgerError, SlurmError),
        *(UnsuggestedRateError, OSError, ValueError),
    ) as error:
        refuse(error)
    if not asked.dry_run:
        watch = shlex.join(["clr-hpc", "status", str(study_file), "--results", str(results)])
        typer.echo(f"watch: {watch}")


def _refuse_folder_of_its_own(study_folder: Path, site: "Site") -> None:
    if not study_folder.resolve().is_relative_to(site.shared_folder.resolve()):
        raise ValueError(
            f"{study_folder} is not in shared_folder={site.shared_folder} of the site file, so that nodes may not "
            f"see it; give --results {site.shared_folder / 'results'}"
        )


def _submit_what_is_left(
    study: "Study",
    folder: "StudyFolder",
    ledger: "Ledger",
    runs: "tuple[RunSpec, ...]",
    site: "Site",
    pack_folder: Path,
    asked: SlurmOptions,
) -> None:
    from clr_hpc.places.slurm.ledger import Submission
    from clr_hpc.places.slurm.place import known_jobs, settle, submit, what_is_left
    from clr_hpc.places.slurm.shape import choose
    from clr_hpc.planning.throughput import read_rates
    from clr_hpc.store.provenance import code_identity
    from clr_hpc.training.run import RunSettings

    jobs = known_jobs(ledger) if asked.dry_run else settle(ledger)
    left = what_is_left(folder, runs, ledger, jobs)
    told = f"{study.name}: {len(runs)} runs, {left.done} done, {left.queued} queued or running"
    elsewhere = f", {left.running} trained elsewhere" if left.running else ""
    typer.echo(f"{told}{elsewhere}; in {folder.path}")
    if not left.runs:
        typer.echo("nothing to submit")
        return
    code = code_identity()
    _refuse_other_code(folder, left.begun, code.source_sha256, asked.accept_changes)
    table = None if asked.rates is None else read_rates(asked.rates)
    chosen = choose(asked.shape, left.runs, pack_folder, site, table)
    typer.echo(chosen.text)
    draft = Submission(
        token="",
        name="",
        made="",
        state="intended",
        elements=(),
        failed_before=folder.failures(left.begun),
        commit=code.commit,
        source_sha256=code.source_sha256,
        pack_checksum=runs[0].pack_checksum,
        pack_folder=str(pack_folder),
        settings=RunSettings(asked.checkpoint_seconds),
        accept_changes=asked.accept_changes,
        processes=site.processes,
        threads=site.threads,
        baseline_wait_seconds=site.baseline_wait_seconds,
        shape=chosen.shape,
        nodes=chosen.nodes,
        lanes=asked.shape.lanes,
        workers_per_lane=asked.shape.workers_per_lane,
        rates=None if asked.rates is None else str(asked.rates.absolute()),
    )
    if asked.dry_run:
        _show(draft, left.runs, study, site, ledger, asked)
    else:
        submit(left.runs, draft, study.name, site, asked.shape.parallel, ledger, _say_submitted)


def _refuse_other_code(
    folder: "StudyFolder", runs: "tuple[RunSpec, ...]", source_sha256: str, accept_changes: bool
) -> None:
    from clr_hpc.places.slurm.place import begun_with_other_code

    begun = begun_with_other_code(folder, runs, source_sha256)
    if not begun:
        return
    what = f"{len(begun)} runs were begun with other code than this, the first of them {begun[0].name}"
    if not accept_changes:
        raise ValueError(f"{what}; go back to that code, or let them go on with --accept-changes")
    typer.echo(f"{what}; they go on with --accept-changes")


def _say_submitted(submission: "Submission") -> None:
    runs = sum(len(element) for element in submission.elements)
    if submission.shape == "allocation":
        parts = f"an allocation of {submission.nodes} nodes"
    else:
        parts = f"{len(submission.elements)} elements"
    typer.echo(f"job {submission.job}: {runs} runs in {parts}")


def _show(
    draft: "Submission",
    runs: "tuple[RunSpec, ...]",
    study: "Study",
    site: "Site",
    ledger: "Ledger",
    asked: SlurmOptions,
) -> None:
    """Print what would be submitted: sbatch's text, and which runs each element would train."""
    from clr_hpc.places.slurm.place import elements_wanted, make_submissions
    from clr_hpc.places.slurm.sbatch import sbatch_text
    from clr_hpc.places.slurm.shares import share_out

    wanted = elements_wanted(runs, site, asked.shape.parallel) if draft.shape == "array" else 1
    shares = share_out(runs, wanted)
    for submission in make_submissions(draft, shares, study.name):
        typer.echo(sbatch_text(submission, site, ledger))
        for index, names in enumerate(submission.elements):
            in_lanes = f"# in lanes on {draft.nodes} nodes:"
            at_a_time = f"# element {index}, {site.processes} at a time:"
            typer.echo(at_a_time if draft.shape == "array" else in_lanes)
            for name in names:
                typer.echo(f"#   {name}")
    if asked.rates is not None:
        _show_plan(runs, Path(study.pack), draft, len(shares), site, asked.rates)


def _show_plan(
    runs: "tuple[RunSpec, ...]",
    pack_folder: Path,
    draft: "Submission",
    elements: int,
    site: "Site",
    rates_file: Path,
) -> None:
    from rich.console import Console

    from clr_hpc.cli.display.plan import show_plan
    from clr_hpc.places.slurm.shape import plan_of_allocation, plan_of_array
    from clr_hpc.planning.throughput import read_rates

    table = read_rates(rates_file)
    if draft.shape == "array":
        plan = plan_of_array(runs, pack_folder, site, elements, table)
    else:
        plan = plan_of_allocation(runs, pack_folder, site, draft.nodes, table, draft.lanes, draft.workers_per_lane)
    show_plan(Console(), plan)


Runs = Annotated[list[str] | None, typer.Argument(help="Names or ids of runs, or parts of them; all.")]


def cancel(study_file: StudyFile, runs: Runs = None, results: Results = Path("results")) -> None:
    """End a study's jobs on a SLURM cluster, or have some of its runs trained no more; what they have is saved."""
    from clr_hpc.config.load import StudyError, load_study
    from clr_hpc.monitoring.status import NothingThereError
    from clr_hpc.places.slurm.cancel import cancel_runs, cancel_study
    from clr_hpc.places.slurm.commands import SlurmError
    from clr_hpc.places.slurm.ledger import OWNER_ALONE, LedgerError
    from clr_hpc.places.slurm.study import SlurmStudy

    os.umask(OWNER_ALONE)
    try:
        study = SlurmStudy(results / load_study(study_file).name)
        with study.ledger.locked():
            jobs = cancel_runs(study, study.find(runs)) if runs else cancel_study(study)
    except (StudyError, NothingThereError, LedgerError, SlurmError, OSError) as error:
        refuse(error)
    for line in jobs:
        typer.echo(line)


def logs(
    study_file: StudyFile,
    run: Annotated[str, typer.Argument(help="Name or id of a run, or a part of it.")],
    results: Results = Path("results"),
    lines: Annotated[int, typer.Option(min=1, help="Of the end of each file.")] = 50,
) -> None:
    """Show what the job printed that trained a run on a SLURM cluster, and why the run failed if it did."""
    from clr_hpc.config.load import StudyError, load_study
    from clr_hpc.monitoring.status import NothingThereError
    from clr_hpc.places.slurm.ledger import LedgerError
    from clr_hpc.places.slurm.logs import log_of_run
    from clr_hpc.places.slurm.study import SlurmStudy

    try:
        study = SlurmStudy(results / load_study(study_file).name)
        (spec,) = study.find([run], only_one=True)
        for line in log_of_run(study, spec, lines):
            typer.echo(line)
    except (StudyError, NothingThereError, LedgerError, OSError) as error:
        refuse(error)
