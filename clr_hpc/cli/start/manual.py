"""The command ``clr-hpc manual``: the pages of ``docs/``, wherever the package is installed."""

from collections import Counter
from pathlib import Path
from typing import Annotated

import typer

FOLDER = Path(__file__).parents[2] / "manual"
"""A link to ``docs/`` in a checkout; a wheel has copies of its pages."""
WIDEST = 100
"""Columns that a page takes of a wide terminal."""


def manual(
    page: Annotated[str | None, typer.Argument(help="Page to print (default: a list of all).")] = None,
) -> None:
    """Print a page of the documentation, as text in a terminal and as Markdown in a pipe."""
    from rich.markdown import Markdown

    from clr_hpc.cli.display.terminal import plain, terminal
    from clr_hpc.config.base import UserError, unknown

    files = pages()
    console = terminal()
    if page is None:
        for name, file in files.items():
            console.print(plain(f"{name:32}{_title(file)}"), soft_wrap=True)
        return
    if page not in files:
        raise UserError(unknown("page", page, list(files)))
    text = files[page].read_text(encoding="utf-8")
    if console.is_terminal:
        console.print(Markdown(text), width=min(console.width, WIDEST))
    else:
        typer.echo(text, nl=False)


def pages() -> dict[str, Path]:
    """Return the file of each page by its name, which has its kind before it where two pages have one name."""
    files = [file for file in sorted(FOLDER.glob("*/*.md")) if file.parent.name != "images"]
    files += [file for file in sorted(FOLDER.glob("*.md")) if file.stem != "README"]
    times = Counter(file.stem for file in files)
    return {file.stem if times[file.stem] == 1 else f"{file.parent.name}/{file.stem}": file for file in files}


def _title(file: Path) -> str:
    with file.open(encoding="utf-8") as opened:
        return opened.readline().lstrip("# ").strip()
