"""``clr-hpc compare``: several studies on the same findings and test images.

Imports that cost time stand inside the command, as in ``clr_hpc.cli.app``.
"""

from pathlib import Path
from typing import Annotated

import typer

from clr_hpc.cli.options import ResultsOfFile
from clr_hpc.cli.study import find_folder


def compare(
    studies: Annotated[
        list[Path], typer.Argument(metavar="STUDY STUDY...", help="Study files, or folders of studies.")
    ],
    output: Annotated[Path, typer.Option(help="Folder to write the page and its tables to.")] = Path("comparison"),
    finding: Annotated[
        list[str] | None,
        typer.Option(help="Finding to compare; repeat (default: all, which must be the same in all studies)."),
    ] = None,
    margin: Annotated[
        float | None,
        typer.Option(min=0, max=1, help="Equivalence margin in AUROC (default: that of the studies' question)."),
    ] = None,
    results: ResultsOfFile = None,
) -> None:
    """Compare studies that were trained on the same pack, on the same test images.

    Each is represented by its best setting of each finding on validation, seed by seed.
    """
    from clr_hpc.config.given_file import check_writable
    from clr_hpc.reporting.studies import write_comparison

    check_writable(output)
    folders = [find_folder(each, None if each.is_dir() else results, None).path for each in studies]
    page = write_comparison(folders, output, finding or (), margin)
    typer.echo(page.answer)
    typer.echo(f"comparison: {page.path}")
