"""Which images of another pack a study's models know, told by the checksums of the files that were packed."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from clr_hpc.config.base import UserError
from clr_hpc.data.manifest import PackError, read_manifest
from clr_hpc.data.pack import Pack
from clr_hpc.store.study_folder import StartedStudy

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class Overlap:
    """Masks ``(N,)`` of the images of another pack."""

    seen: NDArray[np.bool_]
    """The same file is in the study's pack, of a patient whose images it trained or validated on."""
    left_out: NDArray[np.bool_]
    """All images of the patients of whom an image was seen."""
    tested: NDArray[np.bool_]
    """Of the others: the same file is among the study's test images."""


def find_overlap(own: "pd.DataFrame", other: "pd.DataFrame") -> Overlap:
    """Compare the indices of a study's own pack and of another.

    Names of patients are a pack's own, so only files tell that two are one. What a study has seen is all that its
    pack has for training and validation, whatever its runs selected; and of these patients any image.
    """
    known = set(own.loc[own["split"] != "test", "patient"])
    of_known = own["patient"].isin(known)
    seen = other["source_sha256"].isin(own.loc[of_known, "source_sha256"])
    left_out = other["patient"].isin(other.loc[seen, "patient"])
    tested = other["source_sha256"].isin(own.loc[~of_known, "source_sha256"]) & ~left_out
    return Overlap(*(mask.to_numpy(dtype=bool) for mask in (seen, left_out, tested)))


def own_index(started: StartedStudy, trained_on: Path | None) -> "pd.DataFrame":
    """Return the index of the pack that a study was trained on, which says what its models have seen.

    Args:
        started: the study.
        trained_on: folder of that pack; None: where the study says.

    Raises:
        UserError: it isn't there, or is another pack.
    """
    folder = trained_on or Path(started.study.pack)
    remedy = (
        "without the pack that the study was trained on, it can't be told which images its models know: give its "
        "folder with --trained-on; manifest.json and index.parquet are enough"
    )
    try:
        manifest = read_manifest(folder)
        index = Pack(folder, manifest).index
    except (PackError, OSError) as error:
        raise UserError(f"{error}; {remedy}") from error
    if manifest.checksum != (trained := started.pack["checksum"]):
        raise UserError(
            f"{folder} has checksum {manifest.checksum[:8]}…, the study's pack {trained[:8]}…; {remedy}"
        )
    return index
