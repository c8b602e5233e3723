"""Several studies that are to be compared: read with one numbering of their images, if they have the same."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from clr_hpc.config.base import UserError
from clr_hpc.reporting.read.known import KnownPredictions
from clr_hpc.reporting.read.predictions import Numbering
from clr_hpc.reporting.read.study import StudyRecord, read_study


def read_studies(
    folders: Sequence[Path], known: Callable[[Path], KnownPredictions] | None = None
) -> dict[str, StudyRecord]:
    """Read studies on one pack; images and patients have the same numbers in all of them.

    Args:
        folders: of the studies.
        known: returns what an earlier report of a study knows of its predictions.

    Returns:
        The studies by name, or by folder where two have the same name.

    Raises:
        ReportError: a folder is not a study's, or is damaged.
        UserError: it is one study alone, or their packs differ.
    """
    resolved = list(dict.fromkeys(folder.resolve() for folder in folders))
    if len(resolved) < 2:
        raise UserError(
            f"{', '.join(map(str, folders)) or 'no study'}: a comparison needs two studies or more; name another"
        )
    numbering = Numbering()
    studies = [read_study(folder, numbering, known(folder) if known else None, hold=False) for folder in resolved]
    names = [study.name for study in studies]
    labels = [
        study.name if names.count(study.name) == 1 else str(folder)
        for study, folder in zip(studies, resolved, strict=True)
    ]
    by_label = dict(zip(labels, studies, strict=True))
    _check_packs(by_label)
    return by_label


def _check_packs(studies: Mapping[str, StudyRecord]) -> None:
    checksums = {name: str(study.pack["checksum"]) for name, study in studies.items()}
    if len(set(checksums.values())) > 1:
        (first, of_first), *_ = checksums.items()
        other, of_other = next((name, value) for name, value in checksums.items() if value != of_first)
        raise UserError(
            f"{first} and {other} have different packs (checksums {of_first[:8]}… and {of_other[:8]}…): "
            "studies are compared on the same test images; train one of them again with --set pack=… of the other"
        )
