"""``clr-hpc evaluate``: external validation, a study's models on a pack of other patients.

Imports that cost time stand inside the command, as in ``clr_hpc.cli.app``.
"""

from pathlib import Path
from typing import Annotated

import typer

from clr_hpc.cli.images import DeviceGiven, SplitGiven, checked_device, checked_split, progress_bar
from clr_hpc.cli.options import Overrides, ResultsOfFile, StudyOrFolder
from clr_hpc.cli.study import find_folder


def evaluate(
    study: StudyOrFolder,
    pack: Annotated[
        Path, typer.Option(help="Pack of other patients, with images of the size of the study's own.")
    ],
    split: SplitGiven = None,
    finding: Annotated[
        list[str] | None, typer.Option(help="Finding to evaluate; repeat (default: all of the study).")
    ] = None,
    every_setting: Annotated[
        bool, typer.Option("--all", help="All settings of a finding, not only the best on validation.")
    ] = False,
    name: Annotated[
        str | None, typer.Option(help="Folder in the study's evaluations/ (default: name of the pack's folder).")
    ] = None,
    trained_on: Annotated[
        Path | None, typer.Option(help="The study's own pack, if it was moved; it shows which images are known.")
    ] = None,
    device: DeviceGiven = None,
    results: ResultsOfFile = None,
    overrides: Overrides = None,
) -> None:
    """Evaluate a study's models on another pack, next to their own test images (external validation).

    Nothing is chosen or fitted on that pack. Patients of whom the study has seen an image are left out.
    """
    from clr_hpc.data.pack import Pack
    from clr_hpc.inference.evaluate import prepare
    from clr_hpc.inference.study import load
    from clr_hpc.reporting.external import write_evaluation_page

    of_split, use = checked_split(None, pack, split), checked_device(device)
    validation = prepare(
        load(find_folder(study, results, overrides).path),
        Pack.open(pack),
        name=name,
        split=of_split,
        findings=finding,
        every_setting=every_setting,
        trained_on=trained_on,
    )
    with progress_bar("scoring", validation.images) as advance:
        folder = validation.run(use, advance)
    page = write_evaluation_page(folder)
    for line in page.answer:
        typer.echo(line)
    typer.echo(f"evaluation: {page.path}")
