"""Arguments and options that several commands share."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

StudyFile = Annotated[Path, typer.Argument(help="Study file; jobs/ has examples.")]
Results = Annotated[Path, typer.Option(help="Folder in which each study has its own.")]
Overrides = Annotated[
    list[str] | None,
    typer.Option("--set", help="Override a key of the study: --set epochs=2", metavar="KEY=VALUE"),
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
