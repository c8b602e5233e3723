"""``clr-hpc predict``: score images with a study's trained models.

Imports that cost time stand inside the command, as in ``clr_hpc.cli.app``.
"""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from clr_hpc.cli.images import (
    BitsGiven,
    DeviceGiven,
    ImagesGiven,
    PackGiven,
    SplitGiven,
    checked_device,
    checked_split,
    complain_of_rejected,
    count_of,
    with_bar,
)
from clr_hpc.cli.options import Overrides, ResultsOfFile, StudyOrBundle
from clr_hpc.cli.study import load_trained

if TYPE_CHECKING:
    from collections.abc import Sequence

    from clr_hpc.inference.ensemble import Ensemble


def predict(
    study: StudyOrBundle,
    images: ImagesGiven = None,
    output: Annotated[Path, typer.Option(help="CSV file to write.")] = Path("scores.csv"),
    pack: PackGiven = None,
    split: SplitGiven = None,
    finding: Annotated[
        list[str] | None, typer.Option(help="Finding to score; repeat (default: all of the study).")
    ] = None,
    device: DeviceGiven = None,
    bits: BitsGiven = None,
    results: ResultsOfFile = None,
    overrides: Overrides = None,
) -> None:
    """Score images with a study's models. Exits with 1 if an image can't be read; the others are scored.

    For each finding the setting with the highest validation AUROC is used, all its seeds together.
    """
    from clr_hpc.config.base import counted
    from clr_hpc.config.given_file import check_output
    from clr_hpc.data.images.files import checked_bits
    from clr_hpc.data.pack import Pack
    from clr_hpc.inference.images import files_of
    from clr_hpc.inference.table import scored
    from clr_hpc.store.atomic import atomic_write
    from clr_hpc.store.csv_text import csv_text

    of_split = checked_split(images, pack, split)
    check_output(output, (".csv",))
    _check_kind(output)
    use = checked_device(device)
    trained = load_trained(study, results, overrides)
    if bits is not None:
        trained = replace(trained, reading=replace(trained.reading, bits=checked_bits(bits)))
    chosen = [trained.best(name) for name in finding or trained.findings]
    describe(chosen)
    given = files_of(images or ()) if pack is None else Pack.open(pack)
    read = with_bar(trained.read(given, of_split), "scoring", count_of(given, of_split))
    table = scored(chosen, read, use)
    nullable = table.astype(object).where(table.notna(), None)
    rows = (dict(zip(table.columns, row, strict=True)) for row in nullable.to_numpy().tolist())
    output.parent.mkdir(parents=True, exist_ok=True)
    with atomic_write(output) as temporary:
        temporary.write_text(csv_text(rows), encoding="utf-8", newline="")
    rejected = table[table["reason"] != ""]
    typer.echo(f"{output}: {counted(len(table) - len(rejected), 'image')} scored")
    complain_of_rejected(list(zip(rejected["image"], rejected["reason"], strict=True)), "scored")


def _check_kind(output: Path) -> None:
    """See that a file in the way is a table of scores, which is written anew, and not somebody's labels.

    Raises:
        UserError: it is another.
    """
    from clr_hpc.config.base import UserError

    if not output.exists():
        return
    with output.open("rb") as file:
        header = file.readline(1 << 16).strip()
    if not (header.startswith(b"image,") and header.endswith(b",reason")):
        raise UserError(f"{output} is there, and not a table of scores; give another --output")


def describe(chosen: "Sequence[Ensemble]") -> None:
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
