"""``clr-hpc export``: a study's trained models as files for other programs and other people.

Imports that cost time stand inside the command, as in ``clr_hpc.cli.app``.
"""

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from clr_hpc.cli.options import Overrides, ResultsOfFile, StudyOrFolder
from clr_hpc.cli.study import command, find_folder

if TYPE_CHECKING:
    from collections.abc import Sequence

    from clr_hpc.data.pack import Pack
    from clr_hpc.inference.ensemble import Ensemble
    from clr_hpc.inference.export.check import Agreement
    from clr_hpc.inference.images import Reading
    from clr_hpc.reporting.stats.card import CardModels
    from clr_hpc.store.study_folder import StartedStudy


TERMS = {"nih": "no restriction, with attribution (Wang et al., CVPR 2017)", "phantom": "none, it is synthetic"}
"""Of sources that are no preset."""


class Format(StrEnum):
    """What a study can be exported as."""

    ONNX = "onnx"
    TORCH = "torch"
    BUNDLE = "bundle"


def export(
    study: StudyOrFolder,
    format: Annotated[
        Format,
        typer.Option(
            help="onnx for onnxruntime, torch for torch.export.load (one file per finding); "
            "bundle for clr_hpc itself (all findings, with a model card)."
        ),
    ],
    output: Annotated[
        Path | None,
        typer.Option(help="Folder to write, or a bundle's .zip file (default: the study's name and the format)."),
    ] = None,
    finding: Annotated[
        list[str] | None,
        typer.Option(help="Finding to export; repeat (default: all; onnx and torch: all classifiers)."),
    ] = None,
    pack: Annotated[
        Path | None, typer.Option(help="Where the study's pack is now (default: where the study says).")
    ] = None,
    results: ResultsOfFile = None,
    overrides: Overrides = None,
) -> None:
    """Export the best model of each finding for other programs, or for other people.

    For each finding the setting with the highest validation AUROC is taken, all its seeds together. A file is
    written only if it scores validation images as in training.
    """
    from clr_hpc.config.given_file import check_writable
    from clr_hpc.inference.study import load

    folder = find_folder(study, results, overrides)
    trained, started = load(folder.path), folder.started()
    chosen = [trained.best(name) for name in finding or trained.findings]
    images = _its_pack(started, pack)
    target = output or Path(f"{started.study.name}-{format}")
    check_writable(target.parent if format == Format.BUNDLE else target)
    if format == Format.BUNDLE:
        _export_bundle(target, chosen, trained.reading, started, images)
    else:
        classifiers = [ensemble for ensemble in chosen if ensemble.is_binary]
        _export_files(target, chosen if finding else classifiers, images, format)


def _export_files(target: Path, chosen: "Sequence[Ensemble]", pack: "Pack", format: Format) -> None:
    from clr_hpc.inference.export.files import FORMATS, export_file

    target.mkdir(parents=True, exist_ok=True)
    kind = FORMATS[format]
    for ensemble in chosen:
        file = target / f"{ensemble.finding}{kind.suffix}"
        agreement = export_file(ensemble, pack, file, kind)
        typer.echo(f"{file}: {file.stat().st_size / 1e6:,.1f} MB, {ensemble.title}; {_words(agreement)}")


def _export_bundle(
    target: Path, chosen: "Sequence[Ensemble]", reading: "Reading", started: "StartedStudy", pack: "Pack"
) -> None:
    from clr_hpc.inference.export.bundle import write_bundle
    from clr_hpc.reporting.page.model_card import Source, model_card
    from clr_hpc.reporting.stats.card import card_results

    source = Source(str(pack.manifest.source.get("kind", "unknown")), reading.size, _terms(pack))
    card = model_card(started.study, started.pack, source, card_results([_for_card(each) for each in chosen]))
    agreements = write_bundle(target, chosen, reading, started.study.name, pack, card)
    for ensemble, agreement in zip(chosen, agreements, strict=True):
        typer.echo(f"{ensemble.finding}: {ensemble.title}; {_words(agreement)}")
    files = [target] if target.is_file() else [file for file in target.rglob("*") if file.is_file()]
    size = sum(file.stat().st_size for file in files)
    typer.echo(f"{target}: {size / 1e6:,.1f} MB; use it in place of a study: {command('predict', target)} IMAGES")


def _for_card(ensemble: "Ensemble") -> "CardModels":
    """Return what a model card says of a setting."""
    import math

    from clr_hpc.reporting.stats.card import CardModels

    rows, calibration = ensemble.known_rows("test"), ensemble.calibration
    return CardModels(
        finding=ensemble.finding,
        specs=tuple(model.spec for model in ensemble.models),
        kind=ensemble.models[0].name,
        validation_auroc=ensemble.validation_auroc,
        threshold=ensemble.threshold if math.isfinite(ensemble.threshold) else None,
        calibration=None if calibration is None else calibration.method,
        test=rows,
        probabilities=None if calibration is None else calibration(rows["score"].to_numpy()),
    )


def _terms(pack: "Pack") -> str:
    """Return the terms under which the publisher gives the images; empty where they aren't known."""
    from clr_hpc.data.presets import preset_names, read_preset

    kind = str(pack.manifest.source.get("kind"))
    return read_preset(kind).terms if kind in preset_names() else TERMS.get(kind, "")


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
