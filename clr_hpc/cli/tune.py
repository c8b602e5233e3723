"""The command ``clr-hpc tune``: search the settings that the study's ``tune`` section names."""

import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from clr_hpc.cli.options import on_a_place
from clr_hpc.places.options import SearchOptions

if TYPE_CHECKING:
    from rich.console import Console

    from clr_hpc.config.study import Study
    from clr_hpc.config.tuned_study import Values
    from clr_hpc.places.base import Place, TrialPlace
    from clr_hpc.places.machine import Processes
    from clr_hpc.training.run import RunSettings
    from clr_hpc.tuning.space import Dimensions
    from clr_hpc.tuning.tuner import Trial, Tuner
    from clr_hpc.tuning.tuning_folder import TuningFolder


@on_a_place(SearchOptions)
def tune(study_file: Path, options: SearchOptions, place: "Place") -> None:
    """Search the batch size, learning rates and other settings that a study's tune section names."""
    from rich.console import Console

    from clr_hpc.config.base import UserError
    from clr_hpc.config.load import load_study
    from clr_hpc.data.manifest import open_manifest
    from clr_hpc.places.base import settings_of
    from clr_hpc.tuning.tuning_folder import TuningFolder

    console = Console()
    trial_place = place.trials(options)
    study = load_study(study_file, options.changes)
    if study.tune is None:
        raise UserError(f"{study_file}: no tune: section; docs/reference/tuning.md has an example")
    with console.status(f"checking {study.pack}"):
        checksum = open_manifest(Path(study.pack), verify=True).checksum
    folder = TuningFolder(options.results / study.name, study, checksum)
    with folder.opened(), trial_place as trials:
        tuner, dimensions = _open_search(console, study, checksum, folder, trials.sharing)
        went_through = _train(console, study, checksum, folder, tuner, trials, settings_of(options))
        _write_outcome(console, study, checksum, folder, tuner, dimensions, trials)
    if not went_through:
        command = shlex.join(["clr-hpc", *sys.argv[1:]])
        console.print(f"stopped; nothing is lost. Resume with the same command: {command}", soft_wrap=True)
        raise typer.Exit(130)
    if tuner.best() is None:
        raise typer.Exit(1)


def _open_search(
    console: "Console", study: "Study", pack_checksum: str, folder: "TuningFolder", sharing: "Processes"
) -> "tuple[Tuner, Dimensions]":
    """Return the search as its journal left it, or a new one."""
    from clr_hpc.config.tuned_study import stage_of
    from clr_hpc.tuning.batch_size import batch_sizes_that_fit
    from clr_hpc.tuning.search import Proposals, make_search
    from clr_hpc.tuning.space import dimensions_of
    from clr_hpc.tuning.tuner import TrialPlan, Tuner

    tuning = study.tune
    assert tuning is not None
    fitting = folder.batch_sizes_that_fit()
    if fitting is None:
        fitting = batch_sizes_that_fit(study, pack_checksum, sharing, console.print)
        folder.write_config(fitting)
    dimensions = dimensions_of(tuning.space, fitting)
    search = make_search(tuning.search, dimensions, tuning.search_seed)
    stage = getattr(study.stages, stage_of(study))
    plan = TrialPlan(
        trials=tuning.trials,
        epochs=stage.epochs or study.training.epochs,
        early_stopping=tuning.early_stopping,
        higher_is_better=tuning.objective == "auroc",
    )
    tuner = Tuner(plan, Proposals(search, dimensions, tuning.search_seed), folder.journal)
    known = f", {len(tuner.trials)} known from before" if tuner.trials else ""
    wanted = "all of the grid" if tuning.trials is None else f"{tuning.trials} trials"
    console.print(
        f"{study.name}: {tuning.search} over {', '.join(dimensions)}: {wanted}{known}; in {folder.path}",
        highlight=False,
        soft_wrap=True,
    )
    return tuner, dimensions


def _train(
    console: "Console",
    study: "Study",
    pack_checksum: str,
    folder: "TuningFolder",
    tuner: "Tuner",
    place: "TrialPlace",
    settings: "RunSettings",
) -> bool:
    from clr_hpc.places.job import WorkerTask
    from clr_hpc.tuning.trial_queue import TrialQueue

    def say(line: str) -> None:
        console.print(line, highlight=False, soft_wrap=True)

    queue = TrialQueue(tuner, study, pack_checksum, folder.runs, lambda trial: say(_line(trial, tuner)))
    task = WorkerTask(Path(study.pack).absolute(), folder.runs.absolute(), settings)
    return place.train(queue, task, say)


def _line(trial: "Trial", tuner: "Tuner") -> str:
    """Return the line of a trial that was measured or failed."""
    opening = f"trial {trial.number}  {_shown(trial.values)}"
    if trial.failure is not None:
        return f"[red]failed[/]  {opening}  {trial.failure}"
    epochs = max(trial.measured)
    name = "AUROC" if tuner.plan.higher_is_better else "loss"
    where = "" if epochs == tuner.plan.epochs else f" after {epochs} of {tuner.plan.epochs} epochs"
    return f"{opening}  validation {name} {trial.measured[epochs]:.4f}{where}"


def _shown(values: "Values") -> str:
    return ", ".join(f"{name} {value:g}" for name, value in values.items())


def _write_outcome(
    console: "Console",
    study: "Study",
    pack_checksum: str,
    folder: "TuningFolder",
    tuner: "Tuner",
    dimensions: "Dimensions",
    place: "TrialPlace",
) -> None:
    """Write what the search has come to by now, and print the best settings."""
    from clr_hpc.reporting.page.tuning import best_in_words, cost_in_words, write_tuning_page
    from clr_hpc.store.atomic import atomic_write, write_json
    from clr_hpc.tuning.outcome import best_study, outcome_of

    if not tuner.trials:
        return
    outcome = outcome_of(tuner, study, dimensions, pack_checksum, folder.runs, place.processors)
    outcome["processor"] = place.processor
    write_json(folder.path / "outcome.json", outcome)
    best = tuner.best()
    if best is None:
        failures = [trial.failure for trial in tuner.trials if trial.failure]
        why = f"; the first failure: {failures[0]}" if failures else ""
        console.print(f"[red]no trial was trained to its end[/]{why}", highlight=False, soft_wrap=True)
    else:
        text = f"# {best_in_words(outcome)}\n{best_study(study, best.values)}"
        with atomic_write(folder.path / "best.yaml") as temporary:
            temporary.write_text(text)
        console.print(f"\nbest: trial {best.number}  {_shown(best.values)}", highlight=False, soft_wrap=True)
        console.print(best_in_words(outcome), highlight=False, soft_wrap=True)
        console.print(f"as a study, {folder.path / 'best.yaml'}:\n", highlight=False, soft_wrap=True)
        console.print(text, highlight=False, markup=False, soft_wrap=True)
    console.print(cost_in_words(outcome), highlight=False, soft_wrap=True)
    page = write_tuning_page(folder.path)
    console.print(f"page: {page}", highlight=False, soft_wrap=True)
