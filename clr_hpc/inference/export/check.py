"""Whether what was exported scores images as the runs did that it comes from."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from clr_hpc.config.base import UserError
from clr_hpc.data.images.gray import fit_square
from clr_hpc.data.pack import Pack
from clr_hpc.inference.ensemble import Ensemble
from clr_hpc.inference.export.graph import CALIBRATED, SCORE
from clr_hpc.store.records import Damaged
from clr_hpc.store.run_files import read_environments

Scorer = Callable[[NDArray[np.uint8]], Mapping[str, NDArray[np.floating]]]
"""From pixels ``(N, H, W)`` to ``score`` and, where there is one, ``calibrated``, each ``(N,)``."""
BATCHES = (1, 64)
MOST_CHECKED = 64
"""Validation images, spread evenly over the names; a batch of 1 is tried on eight of them."""
TOLERANCE = 1e-4
"""Of scores in [0, 1], and a share of larger ones. Both compute in float32, on a CPU, in another order."""
TOLERANCE_OF_LESS_PRECISION = 0.03
"""Where a run computed in bfloat16, or its GPU in TF32, and the export does in float32."""


class MismatchError(UserError):
    """An exported file scores images otherwise than the runs did."""


@dataclass(frozen=True)
class Agreement:
    """How far the scores of a file are from those of its runs."""

    images: int
    difference: float
    """The largest."""
    tolerance: float
    """What is allowed."""


def agreement(score: Scorer, ensemble: Ensemble, pack: Pack, file: Path) -> Agreement:
    """Compare scores of validation images with those that the runs have recorded.

    Once as the pack has the images, in batches of 1 and 64, and once drawn out to three times the height and twice
    the width, which the file has to shrink again.

    Args:
        score: runs what was exported.
        ensemble: of the study's folder.
        pack: the study's.
        file: for the error.

    Raises:
        NoScoresError: predictions are missing or damaged.
        MismatchError: a score is farther off than is allowed.
    """
    pixels, recorded = _validation_images(ensemble, pack)
    tolerance = _tolerance(ensemble) * max(1.0, float(np.abs(recorded).max()))
    few = pixels[:8]
    compared = {f"in batches of {batch}": _compared(score, pixels, recorded, ensemble, batch) for batch in BATCHES}
    large = few.repeat(3, axis=1).repeat(2, axis=2)
    shrunk = np.stack([fit_square(each, pack.manifest.size) for each in large])
    again = ensemble.member_scores(shrunk).mean(axis=0).astype(np.float64)
    compared["of other sizes"] = _compared(score, large, again, ensemble, len(large))
    for how, difference in compared.items():
        if not difference <= tolerance:  # also where it is undefined
            raise MismatchError(
                f"{file} was not written: scores of {len(pixels)} validation images {how} differ by up to "
                f"{difference:.2g} from those of {ensemble.title}, and {tolerance:g} is allowed; export it on the "
                "hardware of the training, or with another version of torch"
            )
    return Agreement(len(pixels), max(compared.values()), tolerance)


def _validation_images(ensemble: Ensemble, pack: Pack) -> tuple[NDArray[np.uint8], NDArray[np.float64]]:
    """Return some images ``(N, S, S)`` and their recorded scores ``(N,)``."""
    known = ensemble.known_rows("validation")
    some = known.iloc[np.unique(np.linspace(0, len(known) - 1, min(MOST_CHECKED, len(known))).astype(np.int64))]
    rows = np.searchsorted(pack.index["image"].to_numpy(dtype=str), some["image"].to_numpy(dtype=str))
    return pack.gather(rows.astype(np.int64)), some["score"].to_numpy(np.float64)


def _compared(
    score: Scorer, pixels: NDArray[np.uint8], expected: NDArray[np.float64], ensemble: Ensemble, batch: int
) -> float:
    """Return the largest difference, of calibrated probabilities too; NaN where one is undefined."""
    if batch == 1:
        pixels, expected = pixels[:8], expected[:8]
    parts = [score(pixels[first : first + batch]) for first in range(0, len(pixels), batch)]
    found = {name: np.concatenate([part[name] for part in parts]).astype(np.float64) for name in parts[0]}
    differences = [found[SCORE] - expected]
    if (calibration := ensemble.calibration) is not None:
        differences.append(found[CALIBRATED] - calibration(found[SCORE]))
    return float(np.abs(differences).max())


def _tolerance(ensemble: Ensemble) -> float:
    for model in ensemble.models:
        starts = read_environments(model.folder)
        had_gpu = starts is None or isinstance(starts, Damaged) or any(start.get("gpu") for start in starts)
        if had_gpu or model.spec.training.precision == "bfloat16":
            return TOLERANCE_OF_LESS_PRECISION
    return TOLERANCE
