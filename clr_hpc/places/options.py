"""Options of the commands that train, declared once: the command line shows them, a place reads those it takes.

Light, since ``--help`` shows it. A field's panel says whom it is for; ``Place.options`` names what a place takes.
"""

from dataclasses import dataclass, fields
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, get_type_hints

import typer

THROUGHPUT = "File of recorded throughput to plan with; clr-hpc manual plan has its format."
STUDY, MACHINE, RAY, SLURM = "Study", "This machine", "Ray", "SLURM"


class JobShape(StrEnum):
    """What a study becomes on a SLURM cluster."""

    AUTO = "auto"
    ARRAY = "array"
    ALLOCATION = "allocation"


def _option(panel: str, text: str, *names: str, **more: Any) -> Any:
    return typer.Option(*names, help=text, rich_help_panel=panel, **more)


@dataclass(frozen=True)
class SearchOptions:
    """Options of a command that trains in processes it waits for."""

    on: Annotated[str, _option(STUDY, "Place to train: here, ray, slurm or one that a package adds.")] = "here"
    results: Annotated[Path, _option(STUDY, "Folder of all studies' results.")] = Path("results")
    overrides: Annotated[
        list[str] | None,
        _option(STUDY, "Override of a key of the study: --set batch_size=8", "--set", metavar="KEY=VALUE"),
    ] = None
    dry_run: Annotated[bool, _option(STUDY, "List what would be trained, and train nothing.", "--dry-run")] = False
    checkpoint_seconds: Annotated[
        float, _option(STUDY, "Seconds from one checkpoint of a run to the next.", min=0, metavar="SECONDS")
    ] = 60
    processes: Annotated[
        int | None, _option(MACHINE, "Number of processes (default: one per GPU, else per core).", min=1)
    ] = None
    address: Annotated[
        str | None, _option(RAY, "Cluster to join, HOST:PORT (default: one is started on this machine).")
    ] = None
    cpus: Annotated[int | None, _option(RAY, "CPU cores of a new cluster (default: all).", min=1)] = None
    gpus: Annotated[int | None, _option(RAY, "GPUs of a new cluster (default: all).", min=0)] = None
    lanes: Annotated[
        int | None, _option(RAY, "Number of lanes (default: chosen by the plan). Also for allocations.", min=1)
    ] = None
    workers_per_lane: Annotated[
        int | None,
        _option(
            RAY, "Processes that train a run together (default: chosen by the plan). Also for allocations.", min=1
        ),
    ] = None

    @property
    def changes(self) -> tuple[str, ...]:
        """The overrides of the study, as its loader takes them."""
        return tuple(self.overrides or ())


@dataclass(frozen=True)
class TrainingOptions(SearchOptions):
    """Options of a command that trains the runs of a study."""

    with_plan: Annotated[
        bool, _option(STUDY, "Plan the runs before training; measures this machine.", "--plan/--no-plan")
    ] = True
    throughput: Annotated[Path | None, _option(STUDY, THROUGHPUT)] = None
    replace: Annotated[
        bool, _option(STUDY, "Replace another study of this name; its folder is kept aside.", "--replace")
    ] = False
    cohort: Annotated[
        int, _option(MACHINE, "Runs per process, trained side by side: clr-hpc manual train-side-by-side.", min=1)
    ] = 1
    profile: Annotated[bool, _option(MACHINE, "Profile each run's time: clr-hpc manual profile.", "--profile")] = (
        False
    )
    site: Annotated[Path | None, _option(SLURM, "Site file (default: site.yaml in ~/.config/clr-hpc).")] = None
    shape: Annotated[
        JobShape, _option(SLURM, "Kind of job: an array, one allocation of several nodes, or what ends sooner.")
    ] = JobShape.AUTO
    nodes: Annotated[
        int | None, _option(SLURM, "Nodes of an allocation (default: as in the site file).", min=1)
    ] = None
    parallel: Annotated[int | None, _option(SLURM, "Most array tasks (default: as in the site file).", min=1)] = (
        None
    )
    accept_changes: Annotated[bool, _option(SLURM, "Resume runs that other code began.", "--accept-changes")] = (
        False
    )

    def __post_init__(self) -> None:
        """Reject what no place can do."""
        if self.profile and self.cohort > 1:
            raise ValueError(
                f"--profile is not for --cohort {self.cohort}: its runs share their time; leave one of them out"
            )


def of_a_place(options: type[SearchOptions]) -> set[str]:
    """Return the names of the options that only some places take."""
    hints = get_type_hints(options, include_extras=True)
    return {field.name for field in fields(options) if hints[field.name].__metadata__[0].rich_help_panel != STUDY}
