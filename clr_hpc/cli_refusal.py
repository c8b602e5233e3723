"""How a command says no."""

from typing import NoReturn

import typer


def refuse(error: Exception) -> NoReturn:
    """Print what was wrong and what to do, without a traceback, and exit with 2 as for a wrong option."""
    typer.secho(f"error: {error}", err=True, fg="red")
    raise typer.Exit(2)
