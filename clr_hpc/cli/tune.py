"""The command ``clr-hpc tune``: search the settings that the study's ``tune`` section names."""

import shlex
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from clr_hpc.cli.options import on_a_place
from clr_hpc.cli.study import on_its_pack
from clr_hpc.places.options import SearchOptions
from clr_hpc.places.signals import exit_code_of_stop
from clr_hpc.store import layout

if TYPE_CHECKING:
    from clr_hpc.config.tune import Range, UpToWhatFits
    from clr_hpc.config.tuned_study import Values
    from clr_hpc.places.base import Place, TrialPlace
    from clr_hpc.places.machine import Processes
    from clr_hpc.tuning.space import Dimensions
    from clr_hpc.tuning.tuner import Trial, TrialPlan, Tuner
    from clr_hpc.tuning.tuning_folder import TuningFolder

    Say = Callable[..., None]


@on_a_place(SearchOptions, check=lambda place, options: place.trials(options))
def tune(study_file: Path, options: SearchOptions, place: "Place") -> None:
    """Search the batch size, learning rates and other settings that a study's tune section names."""
    from clr_hpc.cli.display.log_file import open_log
    from clr_hpc.cli.display.terminal import plain, terminal
    from clr_hpc.config.base import UserError
    from clr_hpc.config.load import load_study
    from clr_hpc.config.tuned_study import runs_at_corners
    from clr_hpc.data.manifest import open_manifest
    from clr_hpc.places.base import settings_of
    from clr_hpc.places.job import WorkerTask
    from clr_hpc.places.prepare import check_beforehand
    from clr_hpc.store.study_folder import StudyFolder
    from clr_hpc.tuning.search import make_search
    from clr_hpc.tuning.space import dimensions_of
    from clr_hpc.tuning.trial_queue import TrialQueue, check_objective
    from clr_hpc.tuning.tuning_folder import TuningFolder

    console = terminal()

    def say(line: str, style: str = "") -> None:
        console.print(plain(line, style), soft_wrap=True)

    trial_place = place.trials(options)
    study = load_study(study_file, options.changes, "tune")
    if study.tune is None:
        raise UserError(f"{study_file}: no tune: section; clr-hpc manual tuning has an example")
    make_search(study.tune.search, dimensions_of(study.tune.space, (1,)), 0)  # its library is there
    study, manifest = on_its_pack(study, study_file)
    check_beforehand(manifest, runs_at_corners(study), options.results)
    check_objective(study, manifest.counts)
    with console.status(plain(f"checking {study.pack}")):
        open_manifest(Path(study.pack), verify=True)
    checksum = manifest.checksum
    folder = TuningFolder(StudyFolder.of(options.results, study.name).path, study, checksum)
    if options.dry_run:
        _describe(say, folder, place)
        return
    open_log(StudyFolder.of(options.results, study.name).path, "tune", makes_folder=True)
    with folder.opened(), trial_place as trials:
        tuner, dimensions = _open_search(say, folder, trials.sharing)
        queue = TrialQueue(tuner, study, checksum, folder.runs, lambda trial: say(*_line(trial, tuner)))
        task = WorkerTask(Path(study.pack).absolute(), folder.runs.absolute(), settings_of(options))
        is_complete = trials.train(queue, task, say)
        _write_outcome(say, folder, tuner, dimensions, trials)
    if not is_complete:
        say(f"stopped; nothing is lost. Resume with the same command: {shlex.join(['clr-hpc', *sys.argv[1:]])}")
        raise typer.Exit(exit_code_of_stop())
    if tuner.best() is None:
        raise typer.Exit(1)


def _describe(say: "Say", folder: "TuningFolder", place: "Place") -> None:
    """Show what a search would try and where; train, measure and write nothing."""
    from clr_hpc.config.base import counted

    tuning, plan = folder.tuning, _plan(folder)
    say(_opening(folder, sum(event["event"] == "asked" for event in folder.journal.read())))
    for name, values in tuning.space.named.items():
        say(f"  {name}: {_searched(values)}")
    *pauses, epochs = plan.rungs
    rungs = f", with pauses after {', '.join(map(str, pauses))}" if pauses else ""
    seeds = counted(len(tuning.seeds or folder.study.seeds), "seed")
    say(f"would train each for {counted(epochs, 'epoch')}{rungs}, with {seeds}, --on {place.name}")
    say(f"the best has the {'highest' if plan.higher_is_better else 'lowest'} {_objective(plan)}")


def _searched(values: "tuple[float, ...] | Range | UpToWhatFits") -> str:
    if isinstance(values, tuple):
        return ", ".join(f"{value:g}" for value in values)
    if values.high == "fits":
        return f"{values.low}, doubled up to what fits into memory, which is measured first"
    return f"{values.low:g} to {values.high:g}, {values.scale}"


def _opening(folder: "TuningFolder", known: int) -> str:
    tuning = folder.tuning
    wanted = "all of the grid" if tuning.trials is None else f"{tuning.trials} trials"
    before = f", {known} known from before" if known else ""
    searched = ", ".join(tuning.space.named)
    return f"{folder.study.name}: {tuning.search} over {searched}: {wanted}{before}; in {folder.path}"


def _objective(plan: "TrialPlan") -> str:
    return f"validation {'AUROC' if plan.higher_is_better else 'loss'}"


def _plan(folder: "TuningFolder") -> "TrialPlan":
    from clr_hpc.config.tuned_study import stage_of
    from clr_hpc.tuning.tuner import TrialPlan

    study, tuning = folder.study, folder.tuning
    return TrialPlan(
        trials=tuning.trials,
        epochs=getattr(study.stages, stage_of(study)).epochs or study.training.epochs,
        early_stopping=tuning.early_stopping,
        higher_is_better=tuning.objective == "auroc",
    )


def _open_search(say: "Say", folder: "TuningFolder", sharing: "Processes") -> "tuple[Tuner, Dimensions]":
    """Return the search as its journal left it, or a new one."""
    from clr_hpc.tuning.batch_size import batch_sizes_that_fit
    from clr_hpc.tuning.search import Proposals, make_search
    from clr_hpc.tuning.space import dimensions_of
    from clr_hpc.tuning.tuner import Tuner

    study, tuning = folder.study, folder.tuning
    fitting = folder.batch_sizes_that_fit()
    if fitting is None:
        fitting = batch_sizes_that_fit(study, folder.pack_checksum, sharing, say)
        folder.write_config(fitting)
    dimensions = dimensions_of(tuning.space, fitting)
    search = make_search(tuning.search, dimensions, tuning.search_seed)
    tuner = Tuner(_plan(folder), Proposals(search, dimensions, tuning.search_seed), folder.journal)
    say(_opening(folder, len(tuner.trials)))
    return tuner, dimensions


def _line(trial: "Trial", tuner: "Tuner") -> tuple[str, str]:
    """Return the line of a trial that was measured or failed, and its style."""
    opening = f"trial {trial.number}  {_shown(trial.values)}"
    if trial.failure is not None:
        return f"failed  {opening}  {trial.failure}", "red"
    epochs = max(trial.measured)
    where = "" if epochs == tuner.plan.epochs else f" after {epochs} of {tuner.plan.epochs} epochs"
    return f"{opening}  {_objective(tuner.plan)} {trial.measured[epochs]:.4f}{where}", ""


def _shown(values: "Values") -> str:
    return ", ".join(f"{name} {value:g}" for name, value in values.items())


def _write_outcome(
    say: "Say", folder: "TuningFolder", tuner: "Tuner", dimensions: "Dimensions", place: "TrialPlace"
) -> None:
    """Write what the search has come to by now, and print the best settings."""
    from clr_hpc.reporting.page.tuning import best_in_words, cost_in_words, write_tuning_page
    from clr_hpc.store.atomic import atomic_write
    from clr_hpc.store.outcome import write_outcome
    from clr_hpc.tuning.outcome import best_study, outcome_of

    if not tuner.trials:
        return
    used = place.processor, place.processors
    outcome = outcome_of(tuner, folder.study, dimensions, folder.pack_checksum, folder.runs, *used)
    write_outcome(folder.path, outcome)
    best = tuner.best()
    if best is None:
        failures = [trial.failure for trial in tuner.trials if trial.failure]
        why = f"; the first failure: {failures[0]}" if failures else ""
        say(f"no trial was trained to its end{why}", "red")
    else:
        text = f"# {best_in_words(outcome)}\n{best_study(folder.study, best.values)}"
        with atomic_write(folder.path / layout.BEST_STUDY) as temporary:
            temporary.write_text(text)
        say(f"\nbest: trial {best.number}  {_shown(best.values)}")
        say(best_in_words(outcome))
        say(f"as a study, {folder.path / layout.BEST_STUDY}:\n")
        say(text)
    say(cost_in_words(outcome))
    say(f"page: {write_tuning_page(folder.path)}")
