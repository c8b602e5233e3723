"""``clr-hpc --version``: what somebody who helps asks first."""

import platform
from importlib.metadata import PackageNotFoundError, version

import typer

import clr_hpc

NAMED = ("torch", "ray", "submitit")
"""Packages on which behaviour depends most, the extras' among them."""


def print_version(is_wanted: bool) -> None:
    """Print the version and leave, where ``--version`` was given."""
    if is_wanted:
        typer.echo(version_text())
        raise typer.Exit


def version_text() -> str:
    """Return one line per program, this one first; nothing is imported to find them."""
    from clr_hpc.store.provenance import checked_out

    commit, is_changed = checked_out()
    of_commit = f" (commit {commit[:10]}{', changed since' if is_changed else ''})" if commit else ""
    lines = [f"clr-hpc {clr_hpc.__version__}{of_commit}", f"Python {platform.python_version()}"]
    return "\n".join([*lines, *(f"{name} {installed(name) or 'not installed'}" for name in NAMED)])


def installed(package: str) -> str | None:
    """Return the version of an installed package; None where it is not installed."""
    try:
        return version(package)
    except PackageNotFoundError:
        return None
