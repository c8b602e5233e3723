"""The command ``clr-hpc studies``: what comes with the package, and what a study's comment says."""

import re
import shlex
from pathlib import Path
from typing import Annotated

import typer


def studies(
    name: Annotated[str | None, typer.Argument(help="Study to print, as a start for your own.")] = None,
) -> None:
    """List the studies that come with clr-hpc; each can be run by its name. With a name, print its file."""
    from clr_hpc.cli.display.terminal import plain, terminal
    from clr_hpc.config.base import UserError, unknown
    from clr_hpc.config.expand import expand
    from clr_hpc.config.load import SHIPPED, load_study, shipped_studies
    from clr_hpc.config.tuned_study import CHECKSUM_OF_NO_PACK

    files = shipped_studies()
    if name is not None:
        if name not in files:
            raise UserError(unknown("study", name, list(files)))
        # a copy may lie anywhere, so its editor needs the whole path
        schema = SHIPPED / "study.schema.json"
        text = files[name].read_text(encoding="utf-8")
        typer.echo(text.replace(f"$schema={schema.name}", f"$schema={schema}", 1), nl=False)
        return
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    for title in ("study", "runs", "pack", "what it trains"):
        table.add_column(title, justify="right" if title == "runs" else "left", no_wrap=title != "what it trains")
    for each, file in files.items():
        study = load_study(file)
        runs = "searched" if study.tune is not None else f"{len(expand(study, CHECKSUM_OF_NO_PACK)):,}"
        table.add_row(each, runs, study.pack, plain(subject(file)))
    console = terminal()
    console.print(table)
    console.print(plain("\nclr-hpc run NAME trains one, clr-hpc studies NAME prints its file."), soft_wrap=True)


def subject(file: Path) -> str:
    """Return what a study is about: the first words of its comment, up to a colon or the end of a sentence."""
    text = " ".join(line.lstrip("# ") for line in _comment(file))
    return re.split(r"[:.](?:\s|$)", text, maxsplit=1)[0]


def command_for_pack(file: Path, pack: str) -> str | None:
    """Return the command in a study's comment that makes a pack; None where the comment has none for it.

    Args:
        file: of the study.
        pack: the folder, as the study names it.
    """
    text = "\n".join(line.removeprefix("#") for line in _comment(file)).replace("\\\n", " ")
    for line in text.splitlines():
        words = line.split()
        if words[:2] == ["clr-hpc", "pack"] and words[-2:] == ["--output", shlex.quote(pack)]:
            return " ".join(words)
    return None


def _comment(file: Path) -> list[str]:
    """Return the lines of the comment that a file begins with, without those for editors."""
    lines = file.read_text(encoding="utf-8").splitlines()
    end = next((number for number, line in enumerate(lines) if not line.startswith("#")), len(lines))
    return [line for line in lines[:end] if "yaml-language-server" not in line]
