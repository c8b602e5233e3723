"""``clr-hpc predict``: score images with a study's trained models.

Imports that cost time stand inside the command, as in ``clr_hpc.cli.app``.
"""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from clr_hpc.cli.options import Overrides, ResultsOfFile, StudyOrFolder
from clr_hpc.cli.study import find_folder

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    import pandas as pd

    from clr_hpc.data.splits import SplitName
    from clr_hpc.inference.ensemble import Ensemble
    from clr_hpc.inference.images import Images

MOST_SHOWN = 20
"""Images that can't be read; the table has all."""


def predict(
    study: StudyOrFolder,
    images: Annotated[
        list[str] | None, typer.Argument(help="Image files, folders of images, or patterns in quotes.")
    ] = None,
    output: Annotated[Path, typer.Option(help="CSV file to write.")] = Path("scores.csv"),
    pack: Annotated[Path | None, typer.Option(help="A pack in place of image files.")] = None,
    split: Annotated[
        str | None, typer.Option(help="Split of the pack: train, validation or test; all if not given.")
    ] = None,
    finding: Annotated[
        list[str] | None, typer.Option(help="Score this finding alone; repeat. All of the study if not given.")
    ] = None,
    device: Annotated[str | None, typer.Option(help="cpu or cuda; a GPU where there is one if not given.")] = None,
    bits: Annotated[
        str | None,
        typer.Option(help="Bits of 16-bit samples whose file states none, 8 to 16, or 'image', as for pack."),
    ] = None,
    results: ResultsOfFile = None,
    overrides: Overrides = None,
) -> None:
    """Score images with a study's models. Exits with 1 if an image can't be read; the others are scored.

    Of each finding the setting with the highest validation AUROC is used, all its seeds together.
    """
    from clr_hpc.cli.display.terminal import complain
    from clr_hpc.config.given_file import check_output
    from clr_hpc.data.images.files import checked_bits
    from clr_hpc.data.pack import Pack
    from clr_hpc.inference.images import files_of
    from clr_hpc.inference.study import load
    from clr_hpc.store.atomic import atomic_write
    from clr_hpc.store.csv_text import csv_text

    of_split = _checked_split(images, pack, split)
    check_output(output, (".csv",))
    use = _checked_device(device)
    trained = load(find_folder(study, results, overrides).path)
    if bits is not None:
        trained = replace(trained, reading=replace(trained.reading, bits=checked_bits(bits)))
    chosen = [trained.best(name) for name in finding or trained.findings]
    _describe(chosen)
    given = files_of(images or ()) if pack is None else Pack.open(pack)
    total = len(given) if isinstance(given, list) else None
    table = _scored(chosen, trained.read(given, of_split), total, use)
    nullable = table.astype(object).where(table.notna(), None)
    rows = (dict(zip(table.columns, row, strict=True)) for row in nullable.to_numpy().tolist())
    output.parent.mkdir(parents=True, exist_ok=True)
    with atomic_write(output) as temporary:
        temporary.write_text(
            csv_text(rows),
            encoding="utf-8",
            newline="",
        )
    rejected = table[table["reason"] != ""]
    typer.echo(f"{output}: {len(table) - len(rejected):,} images scored")
    for row in rejected.head(MOST_SHOWN).itertuples():
        complain(f"not scored: {row.image}: {row.reason}")
    if len(rejected):
        more = len(rejected) - MOST_SHOWN
        complain(f"{len(rejected):,} images are not scored{f', {more:,} more than shown' if more > 0 else ''}")
        raise typer.Exit(1)


def _checked_split(images: list[str] | None, pack: Path | None, split: str | None) -> "SplitName | None":
    """Return the split that is asked for, where images and pack are given as they should be."""
    from clr_hpc.config.base import UserError, unknown
    from clr_hpc.data.splits import SPLITS

    if (pack is None) == (not images):
        raise UserError("name image files or folders, or a pack with --pack; one of the two")
    if split is not None and pack is None:
        raise UserError(f"--split {split} needs --pack")
    found = next((each for each in SPLITS if each == split), None)
    if split is not None and found is None:
        raise UserError(unknown("split", split, list(SPLITS)))
    return found


def _scored(
    chosen: "Sequence[Ensemble]", images: "Iterable[Images]", total: int | None, device: str
) -> "pd.DataFrame":
    """Score images with a progress bar, some hundred at a time."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    from clr_hpc.cli.display.terminal import terminal
    from clr_hpc.inference.table import scored

    columns = (TextColumn("scoring"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=terminal(stderr=True), transient=True) as bar:
        task = bar.add_task("scoring", total=total)

        def seen() -> "Iterator[Images]":
            for part in images:
                yield part
                bar.advance(task, len(part.names) + len(part.rejected))

        return scored(chosen, seen(), device)


def _checked_device(device: str | None) -> str:
    import torch

    from clr_hpc.config.base import UserError

    if device is None:
        return "cuda" if torch.cuda.is_available() else "cpu"
    try:
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        raise UserError(f"--device {device}: torch can't compute on it here; take cpu, or leave it out") from error
    return device


def _describe(chosen: "Sequence[Ensemble]") -> None:
    """Say which model scores each finding, how good it was on validation images, and from where on it calls."""
    from clr_hpc.cli.display.terminal import plain, terminal

    for each in chosen:
        terminal().print(
            plain(
                f"{each.finding}: {each.title}; validation AUROC {each.validation_auroc:.3f}, "
                f"positive from {each.threshold:.3g}"
            ),
            soft_wrap=True,
        )
