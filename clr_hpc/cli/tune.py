"""The command ``clr-hpc tune``: search the settings that the study's ``tune`` section names."""

import shlex
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from clr_hpc.cli.options import (
    Address,
    CheckpointSeconds,
    Cpus,
    Gpus,
    Overrides,
    Place,
    ProcessCount,
    Results,
    StudyFile,
    refuse,
)

if TYPE_CHECKING:
    from rich.console import Console

    from clr_hpc.cli.train import RayOptions
    from clr_hpc.config.study import Study
    from clr_hpc.config.tuned_study import Values
    from clr_hpc.places.local.place import Processes
    from clr_hpc.tuning.space import Dimensions
    from clr_hpc.tuning.trial_places import TrialPlace
    from clr_hpc.tuning.tuner import Trial, Tuner
    from clr_hpc.tuning.tuning_folder import TuningFolder


def tune(
    study_file: StudyFile,
    overrides: Overrides = None,
    on: Annotated[Place, typer.Option(help="here: this machine; ray: the lanes of a Ray cluster.")] = Place.HERE,
    results: Results = Path("results"),
    processes: ProcessCount = None,
    address: Address = None,
    cpus: Cpus = None,
    gpus: Gpus = None,
    lanes: Annotated[
        int | None, typer.Option(min=1, help="With --on ray: runs at a time; one a GPU, or one a core.")
    ] = None,
    workers_per_lane: Annotated[
        int | None, typer.Option(min=1, help="With --on ray: processes that train a run together; one.")
    ] = None,
    checkpoint_seconds: CheckpointSeconds = 60,
) -> None:
    """Search the batch size, rates and other settings that a study's tune section names."""
    from rich.console import Console

    from clr_hpc.cli.train import RayOptions
    from clr_hpc.config.load import StudyError, load_study
    from clr_hpc.data.manifest import PackError, open_manifest
    from clr_hpc.places.lanes import LaneError
    from clr_hpc.places.ray.cluster import ClusterError
    from clr_hpc.tuning.batch_size import NothingFitsError
    from clr_hpc.tuning.search import MissingLibraryError
    from clr_hpc.tuning.tuning_folder import TuningFolder, TuningInUseError

    console = Console()
    try:
        _check_place(on)
        study = load_study(study_file, tuple(overrides or ()))
        if study.tune is None:
            raise StudyError(f"{study_file}: no tune: section; docs/reference/tuning.md has an example")
        with console.status(f"checking {study.pack}"):
            manifest = open_manifest(Path(study.pack), verify=True)
        folder = TuningFolder(results / study.name, study, manifest.checksum)
        with (
            folder.opened(),
            _place(on, processes, RayOptions(address, lanes, workers_per_lane), cpus, gpus) as place,
        ):
            tuner, dimensions = _open_search(console, study, manifest.checksum, folder, place.sharing)
            went_through = _train(console, study, manifest.checksum, folder, tuner, place, checkpoint_seconds)
            _write_outcome(console, study, manifest.checksum, folder, tuner, dimensions, place)
    except (StudyError, PackError, MissingLibraryError, NothingFitsError, TuningInUseError) as error:
        refuse(error)
    except (ClusterError, LaneError) as error:  # of --on ray
        refuse(error)
    if not went_through:
        command = shlex.join(["clr-hpc", *sys.argv[1:]])
        console.print(f"stopped; nothing is lost. Go on with the same command: {command}", soft_wrap=True)
        raise typer.Exit(130)
    if tuner.best() is None:
        raise typer.Exit(1)


def _check_place(on: Place) -> None:
    from clr_hpc.config.load import StudyError

    if on is Place.SLURM:
        raise StudyError(
            "--on slurm: a search takes its command as long as it goes on; take an allocation and run the same "
            "command in it with --on here or --on ray: docs/how-to/tune-a-study.md"
        )


@contextmanager
def _place(
    on: Place, processes: int | None, ray: "RayOptions", cpus: int | None, gpus: int | None
) -> "Iterator[TrialPlace]":
    from clr_hpc.cli.plan import resources_of
    from clr_hpc.places.local.place import Processes
    from clr_hpc.tuning.trial_places import ThisMachine, ray_lanes

    if on is Place.HERE:
        yield ThisMachine(Processes.for_this_machine(processes))
        return
    with ray_lanes(resources_of(gpus, cpus), ray.address, ray.lanes, ray.workers_per_lane) as lanes:
        yield lanes


def _open_search(
    console: "Console", study: "Study", pack_checksum: str, folder: "TuningFolder", sharing: "Processes"
) -> "tuple[Tuner, Dimensions]":
    """Return the search as its journal left it, or a new one."""
    from clr_hpc.config.tuned_study import stage_of
    from clr_hpc.tuning.batch_size import batch_sizes_that_fit
    from clr_hpc.tuning.search import Proposals, make_search
    from clr_hpc.tuning.space import dimensions_of
    from clr_hpc.tuning.tuner import Plan, Tuner

    tuning = study.tune
    assert tuning is not None
    fitting = folder.batch_sizes_that_fit()
    if fitting is None:
        fitting = batch_sizes_that_fit(study, pack_checksum, sharing, console.print)
        folder.write_config(fitting)
    dimensions = dimensions_of(tuning.space, fitting)
    search = make_search(tuning.search, dimensions, tuning.search_seed)
    stage = getattr(study.stages, stage_of(study))
    plan = Plan(
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
    checkpoint_seconds: float,
) -> bool:
    from clr_hpc.places.job import WorkerTask
    from clr_hpc.training.run import RunSettings
    from clr_hpc.tuning.trial_queue import TrialQueue

    def say(line: str) -> None:
        console.print(line, highlight=False, soft_wrap=True)

    queue = TrialQueue(tuner, study, pack_checksum, folder.runs, lambda trial: say(_line(trial, tuner)))
    task = WorkerTask(Path(study.pack).absolute(), folder.runs.absolute(), RunSettings(checkpoint_seconds))
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
