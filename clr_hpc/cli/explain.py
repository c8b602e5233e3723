"""``clr-hpc explain``: show where a study's classifiers look, and how well that finds the boxes of a pack."""

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
from clr_hpc.cli.options import Overrides, ResultsOfFile, StudyOrFolder
from clr_hpc.cli.predict import describe
from clr_hpc.cli.study import command, find_folder

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from clr_hpc.inference.boxes import Boxes
    from clr_hpc.inference.ensemble import Ensemble
    from clr_hpc.inference.images import Images
    from clr_hpc.inference.study import TrainedStudy

TABLE = "heatmaps.csv"
"""Name of the table in the output folder."""


def explain(
    study: StudyOrFolder,
    images: ImagesGiven = None,
    output: Annotated[Path, typer.Option(help="Folder for pictures, arrays and their table.")] = Path("heatmaps"),
    pack: PackGiven = None,
    split: SplitGiven = None,
    with_boxes: Annotated[
        bool,
        typer.Option(
            "--with-boxes",
            help="Explain images of the pack that have boxes of a finding, for one-class models of any; measure "
            "how well the heat maps find them, and keep that for the study's report.",
        ),
    ] = False,
    finding: Annotated[
        list[str] | None,
        typer.Option(help="Finding to explain; repeat (default: all that classifiers score)."),
    ] = None,
    device: DeviceGiven = None,
    bits: BitsGiven = None,
    results: ResultsOfFile = None,
    overrides: Overrides = None,
) -> None:
    """Write heat maps: where classifiers look (Grad-CAM), and what one-class models find unusual.

    For each finding the setting with the highest validation AUROC is used, all its seeds together. Exits with 1 if
    an image can't be read; the others are explained.
    """
    from clr_hpc.cli.display.terminal import complain
    from clr_hpc.config.base import UserError
    from clr_hpc.config.given_file import check_writable
    from clr_hpc.data.images.files import checked_bits
    from clr_hpc.data.pack import Pack
    from clr_hpc.inference.boxes import Boxes
    from clr_hpc.inference.explain import Gallery
    from clr_hpc.inference.explain import explain as explained
    from clr_hpc.inference.gradcam import check_installed
    from clr_hpc.inference.images import files_of
    from clr_hpc.inference.study import load
    from clr_hpc.store.atomic import atomic_write
    from clr_hpc.store.csv_text import csv_text
    from clr_hpc.store.explanations import write_explanations

    check_installed()
    of_split = checked_split(images, pack, split)
    if with_boxes and pack is None:
        raise UserError("--with-boxes needs --pack, since image files have no boxes; name a pack, or leave it out")
    check_writable(output)
    use = checked_device(device)
    folder = find_folder(study, results, overrides).path
    trained = load(folder)
    if bits is not None:
        trained = replace(trained, reading=replace(trained.reading, bits=checked_bits(bits)))
    given = files_of(images or ()) if pack is None else Pack.open(pack)
    boxes = Boxes.of(given, of_split) if with_boxes and isinstance(given, Pack) else None
    if boxes and of_split is None:
        complain(
            "all splits count, those that the networks were trained on too; --split test leaves these out",
            "yellow",
        )
    chosen = _chosen(trained, finding, boxes)
    describe(chosen)

    gallery, rows, compared = Gallery(output), [], []
    rejected: list[tuple[str, str]] = []
    read = with_bar(_noting(trained.read(given, of_split), rejected), "explaining", count_of(given, of_split))
    only = {each.finding: boxes.of_models(each) for each in chosen} if boxes else None
    for found in explained(chosen, read, use, only):
        rows += gallery.add(found, only[found.ensemble.finding] if only else {})
        if boxes:
            compared.append(boxes.compare(found, use))
    output.mkdir(parents=True, exist_ok=True)
    with atomic_write(output / TABLE) as temporary:
        temporary.write_text(csv_text(rows, ("image", "finding", "score")), encoding="utf-8", newline="")
    typer.echo(f"{output / TABLE}: {len(rows):,} heat maps")
    if boxes:
        path = write_explanations(folder, boxes.record(compared))
        typer.echo(f"{path}: how well they find the boxes; {command('report', folder)} shows it")
    complain_of_rejected(rejected, "explained")


def _chosen(trained: "TrainedStudy", findings: "Sequence[str] | None", boxes: "Boxes | None") -> "list[Ensemble]":
    """Return the best setting of each finding, and say what is left out.

    Raises:
        UserError: a finding that was asked for has no classifier or no boxes, or none is left.
    """
    from clr_hpc.cli.display.terminal import complain
    from clr_hpc.config.base import UserError

    chosen = []
    for each in map(trained.best, findings or trained.findings):
        reason = _why_not(each, boxes)
        if reason and findings:
            raise UserError(f"--finding {each.finding}: {reason}; name another finding")
        if reason:
            complain(f"left out: {each.finding}: {reason}", "yellow")
        else:
            chosen.append(each)
    if not chosen:
        raise UserError(
            f"{trained.folder}: none of {', '.join(trained.findings)} can be explained, for the reasons above; "
            "train a classifier of a finding"
        )
    return chosen


def _why_not(ensemble: "Ensemble", boxes: "Boxes | None") -> str | None:
    from clr_hpc.config.pathologies import NO_FINDING
    from clr_hpc.inference.explain import why_no_maps

    if reason := why_no_maps(ensemble):
        return reason
    if boxes and not ensemble.is_binary and ensemble.models[0].spec.task.label != NO_FINDING:
        return "boxes are of findings, and to this one-class model some of them are normal"
    if boxes and not boxes.of_models(ensemble):
        return f"{boxes.pack.folder} has no boxes of it; it has those of {', '.join(sorted(boxes.by_finding))}"
    return None


def _noting(images: "Iterable[Images]", rejected: list[tuple[str, str]]) -> "Iterator[Images]":
    """Yield images, and note those that can't be read."""
    for part in images:
        rejected += part.rejected
        yield part
