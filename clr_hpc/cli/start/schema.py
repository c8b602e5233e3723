"""The command ``clr-hpc schema``: what a study or a site file may hold, for editors and other programs."""

import json
from enum import StrEnum
from typing import Annotated, Any

import typer

DIALECT = "https://json-schema.org/draft/2020-12/schema"


class Kind(StrEnum):
    """The files that people write."""

    STUDY = "study"
    SITE = "site"


def schema(
    kind: Annotated[Kind, typer.Argument(help="File whose schema is printed.")],
    on: Annotated[str, typer.Option(help="Place that the site file is for.")] = "slurm",
) -> None:
    """Print the JSON Schema of study files, or of site files."""
    typer.echo(schema_text(kind, on), nl=False)


def schema_text(kind: Kind, on: str = "slurm") -> str:
    """Return a schema as JSON, with a description of each key.

    Args:
        kind: of the file.
        on: the name of the place that a site file is for.

    Raises:
        UserError: the place has no site file.
    """
    from clr_hpc.config.base import UserError
    from clr_hpc.config.study import Study
    from clr_hpc.places.base import find_place

    model = Study if kind == Kind.STUDY else find_place(on).site
    if model is None:
        raise UserError(f"--on {on}: this place has no site file; name one that has, such as slurm")
    content: dict[str, Any] = {"$schema": DIALECT} | model.model_json_schema()
    return json.dumps(content, indent=1, ensure_ascii=False) + "\n"
