"""Arguments and options that several commands share."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated, NoReturn

import typer

StudyFile = Annotated[Path, typer.Argument(help="Study file; jobs/ has examples.")]
Results = Annotated[Path, typer.Option(help="Folder in which each study has its own.")]
Overrides = Annotated[
    list[str] | None,
    typer.Option("--set", help="Override a key of the study: --set epochs=2", metavar="KEY=VALUE"),
]
ProcessCount = Annotated[
    int | None, typer.Option(min=1, help="With --on here: processes; one a GPU, or one a core.")
]
Address = Annotated[
    str | None, typer.Option(help="With --on ray: a cluster to join, HOST:PORT; else one is started here.")
]
Cpus = Annotated[int | None, typer.Option(min=1, help="With --on ray: CPU cores to use; all.")]
Gpus = Annotated[int | None, typer.Option(min=0, help="With --on ray: GPUs to use; all.")]
CheckpointSeconds = Annotated[float, typer.Option(min=0, help="Age at which a checkpoint is renewed.")]
Site = Annotated[Path | None, typer.Option(help="With --on slurm: the site file; ~/.config/clr-hpc/site.yaml.")]
Parallel = Annotated[
    int | None, typer.Option(min=1, help="With --on slurm: array elements; as the site file says.")
]
DryRun = Annotated[
    bool, typer.Option("--dry-run", help="With --on slurm: print what would be submitted, and don't.")
]


class Place(StrEnum):
    """Where a study can be trained."""

    HERE = "here"
    RAY = "ray"
    SLURM = "slurm"


class JobShape(StrEnum):
    """What a study becomes on a SLURM cluster."""

    AUTO = "auto"
    ARRAY = "array"
    ALLOCATION = "allocation"


def refuse(error: Exception) -> NoReturn:
    """Print what was wrong and what to do, without a traceback, and exit with 2 as for a wrong option."""
    typer.secho(f"error: {error}", err=True, fg="red")
    raise typer.Exit(2)
