"""``clr-hpc export``: a study's trained models as files for other programs and other people.

Imports that cost time stand inside the command, as in ``clr_hpc.cli.app``.
"""

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from clr_hpc.cli.options import Overrides, ResultsOfFile, StudyOrFolder
from clr_hpc.cli.study import find_folder

if TYPE_CHECKING:
    from clr_hpc.data.pack import Pack
    from clr_hpc.inference.export.check import Agreement
    from clr_hpc.store.study_folder import StartedStudy


class Format(StrEnum):
    """What a study can be exported as."""

    ONNX = "onnx"
    TORCH = "torch"


def export(
    study: StudyOrFolder,
    format: Annotated[
        Format, typer.Option(help="One file per finding: onnx for onnxruntime, torch for torch.export.load.")
    ],
    output: Annotated[
        Path | None, typer.Option(help="Folder to write (default: the study's name and the format).")
    ] = None,
    finding: Annotated[
        list[str] | None, typer.Option(help="Export this finding alone; repeat. All classifiers if not given.")
    ] = None,
    pack: Annotated[
        Path | None, typer.Option(help="Where the study's pack is now (default: where the study says).")
    ] = None,
    results: ResultsOfFile = None,
    overrides: Overrides = None,
) -> None:
    """Export the best model of each finding: from pixels of any size to a probability, in one file.

    Of each finding the setting with the highest validation AUROC is taken, all its seeds together. No file is
    written before it has scored validation images as the training did.
    """
    from clr_hpc.config.given_file import check_writable
    from clr_hpc.inference.export.files import FORMATS, export_file
    from clr_hpc.inference.study import load

    folder = find_folder(study, results, overrides)
    trained, started = load(folder.path), folder.started()
    chosen = [trained.best(name) for name in finding or trained.findings]
    chosen = chosen if finding else [ensemble for ensemble in chosen if ensemble.is_binary]
    images = _its_pack(started, pack)
    target = output or Path(f"{started.study.name}-{format}")
    check_writable(target)
    target.mkdir(parents=True, exist_ok=True)
    kind = FORMATS[format]
    for ensemble in chosen:
        file = target / f"{ensemble.finding}{kind.suffix}"
        agreement = export_file(ensemble, images, file, kind)
        typer.echo(f"{file}: {file.stat().st_size / 1e6:,.1f} MB, {ensemble.title}; {_words(agreement)}")


def _words(agreement: "Agreement") -> str:
    return (
        f"scores of {agreement.images} validation images differ by at most {agreement.difference:.1e} "
        f"({agreement.tolerance:g} is allowed)"
    )


def _its_pack(started: "StartedStudy", given: Path | None) -> "Pack":
    """Open the pack that a study was trained on.

    Raises:
        UserError: it is another, or not there.
    """
    from clr_hpc.config.base import UserError
    from clr_hpc.data.manifest import PackError
    from clr_hpc.data.pack import Pack

    folder = given or Path(started.study.pack)
    try:
        pack = Pack.open(folder)
    except PackError as error:
        raise UserError(f"{error}; exports are checked on its images: name it with --pack") from error
    if pack.manifest.checksum != started.pack["checksum"]:
        raise UserError(f"{folder} is not the pack that this study was trained on; name that one with --pack")
    return pack
