"""The command ``clr-hpc show``."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from clr_hpc.cli.options import Overrides, Results, StudyOrFolder

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from clr_hpc.cli.display.origins import Value
    from clr_hpc.config.run import RunSpec
    from clr_hpc.config.study import Study

    ValuesOf = Callable[[RunSpec], list[Value]]

MOST_RUNS = 5
"""All of whose values are shown."""


def show(
    study_file: StudyOrFolder,
    overrides: Overrides = None,
    results: Results = Path("results"),
    run: Annotated[
        str | None,
        typer.Option("--run", metavar="WORD", help="Part of the names of the runs whose values are all shown."),
    ] = None,
) -> None:
    """Show a study as it would run: each value with its origin, its runs, the disk and the time they need.

    Nothing is trained, measured or written.
    """
    from clr_hpc.cli.display.origins import Value, unmeasured, values_of_run, values_of_study
    from clr_hpc.cli.display.terminal import say, terminal
    from clr_hpc.cli.study import on_its_pack
    from clr_hpc.config.base import UserError, counted
    from clr_hpc.config.expand import expand, with_placeholders
    from clr_hpc.config.load import find_study, load_study
    from clr_hpc.config.tuned_study import CHECKSUM_OF_NO_PACK
    from clr_hpc.config.yaml_file import read_yaml
    from clr_hpc.planning.lr_range import UnsuggestedRateError, with_measured
    from clr_hpc.store import layout

    file = study_file / layout.STUDY if study_file.is_dir() else study_file
    changes = tuple(overrides or ())
    study, checksum, no_pack = load_study(file, changes), CHECKSUM_OF_NO_PACK, None
    try:
        study, manifest = on_its_pack(study, file)
        checksum = manifest.checksum
    except UserError as error:
        no_pack = str(error)
    no_rates = None
    try:
        study = with_measured(study, checksum, results)
    except UnsuggestedRateError as error:
        no_rates = str(error)
    values = list(values_of_study(study, read_yaml(find_study(file)), changes))
    origins = {value.key: value.origin for value in values}
    if no_rates is not None:
        study = with_placeholders(study)

    def values_of(spec: "RunSpec") -> list[Value]:
        found = values_of_run(spec, study, origins)
        return list(found if no_rates is None else map(unmeasured, found))

    runs, console = expand(study, checksum), terminal(is_wide=True)
    if run is not None:
        _show_runs(console, [spec for spec in runs if run in spec.name], run, values_of)
        return
    console.print(_table(values))
    console.print()
    console.print(_kinds(runs, values_of))
    console.print()
    if study.tune is not None:
        trials = "its grid" if study.tune.trials is None else f"up to {counted(study.tune.trials, 'trial')}"
        say(f"clr-hpc tune trains {trials} besides these runs")
    if no_rates is not None:
        say(no_rates)
    if no_pack is not None:
        say(f"disk and time are known once there is a pack: {no_pack}")
    else:
        _show_need(console, study, checksum, results)


def _show_runs(console: "Console", found: "Sequence[RunSpec]", word: str, values_of: "ValuesOf") -> None:
    from clr_hpc.cli.display.terminal import plain
    from clr_hpc.config.base import UserError, counted

    if not found:
        raise UserError(f"--run {word}: no run of the study has that in its name; give part of one")
    for spec in found[:MOST_RUNS]:
        console.print(plain(spec.name, "bold"), soft_wrap=True)
        console.print(_table(values_of(spec)))
        console.print()
    if found[MOST_RUNS:]:
        more = counted(len(found) - MOST_RUNS, "run")
        console.print(plain(f"and {more} more; give more of a name"))


def _show_need(console: "Console", study: "Study", checksum: str, results: Path) -> None:
    from clr_hpc.cli.display.run import RunDisplay
    from clr_hpc.places.base import find_place
    from clr_hpc.places.disk import disk_line
    from clr_hpc.places.machine import resources_here
    from clr_hpc.places.options import TrainingOptions
    from clr_hpc.places.prepare import job_of
    from clr_hpc.places.processes.measured_plan import plan_if_possible
    from clr_hpc.store.study_folder import StudyFolder

    folder = StudyFolder.of(results, study.name)
    job = job_of(study, checksum, folder, TrainingOptions(results=results, dry_run=True))
    display = RunDisplay(console, folder, job.runs)
    if job.show(display):
        display.say(disk_line(job))
        plan_if_possible(job, find_place("here").ray_lanes, resources_here(), None, display)


def _table(values: "Sequence[Value]") -> "Table":
    from rich.table import Table

    from clr_hpc.cli.display.origins import DEFAULT
    from clr_hpc.cli.display.terminal import plain

    table = Table(box=None, header_style="bold", pad_edge=False, padding=(0, 3, 0, 0))
    table.add_column("key", no_wrap=True)
    table.add_column("value", overflow="fold")
    table.add_column("from", no_wrap=True)
    for each in values:
        style = "dim" if each.origin == DEFAULT else ""
        table.add_row(plain(each.key, style), plain(_text(each.value), style), plain(each.origin, style))
    return table


def _kinds(runs: "Sequence[RunSpec]", values_of: "ValuesOf") -> "Table":
    """Return one row for the runs that differ in task, architecture and seed alone."""
    from rich.table import Table

    from clr_hpc.cli.display.terminal import plain

    alike: dict[tuple[str, ...], list[RunSpec]] = {}
    for spec in runs:
        policy = "" if spec.is_fitted else spec.policy.model_dump_json()
        kind = (spec.stage, spec.task.name if spec.is_fitted else "", spec.optimizer.name, policy)
        alike.setdefault(kind, []).append(spec)
    table = Table(box=None, header_style="bold", pad_edge=False, padding=(0, 3, 0, 0))
    table.add_column("runs", justify="right", no_wrap=True)
    for name in ("stage", "policy", "optimizer"):
        table.add_column(name, no_wrap=True)
    table.add_column("values and where they are from", overflow="fold")
    for specs in alike.values():
        first = specs[0]
        if first.is_fitted:
            table.add_row(f"{len(specs):,}", first.stage, "–", "–", plain(first.task.name))
            continue
        shown = [
            f"{value.key.rpartition('.')[2]} {_text(value.value)} ({value.origin})"
            for value in values_of(first)
            if value.key.startswith(("policy.", "training.epochs"))
            and value.key != "policy.name"
            and value.value is not None
        ]
        name, text = first.policy.name, ", ".join(shown)
        table.add_row(f"{len(specs):,}", first.stage, name, first.optimizer.name, plain(text))
    return table


def _text(value: Any) -> str:
    if isinstance(value, list):
        return f"[{', '.join(map(_text, value))}]"
    return "–" if value is None else str(value).lower() if isinstance(value, bool) else str(value)
