"""Scores as a table: a row for each image, and for each finding what the models say and how sure they are.

Columns of a finding such as ``effusion``: ``effusion``, the mean score of the seeds; ``effusion_spread``, their
standard deviation, where there are several; ``effusion_calibrated``, a probability; ``effusion_call``, 1 from the
threshold on, else 0. Of a one-class task ``…_quantile`` stands in place of the calibrated score: the share of the
training images of the class that scored lower.
"""

from collections.abc import Iterable, Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from clr_hpc.inference.ensemble import Ensemble
from clr_hpc.inference.images import Images


def scored(chosen: Sequence[Ensemble], images: Iterable[Images], device: str = "cpu") -> pd.DataFrame:
    """Score images with an ensemble for each finding.

    Returns:
        ``image``, the columns of each finding, and ``reason``: empty, or why an image has no scores.
    """
    parts = [part for each in images for part in parts_of(chosen, each, device)]
    table = pd.concat(parts, ignore_index=True) if parts else pd.DataFrame({"image": [], "reason": []})
    for name in table.columns:
        if name.endswith("_call"):  # which images without scores don't have
            table[name] = table[name].astype("Int8")
    return table[[*(name for name in table.columns if name != "reason"), "reason"]]


def parts_of(chosen: Sequence[Ensemble], images: Images, device: str) -> list[pd.DataFrame]:
    """Return the rows of those images that could be read, and of those that could not."""
    parts = []
    if images.names:
        columns: dict[str, object] = {"image": list(images.names)}
        for ensemble in chosen:
            columns |= columns_of(ensemble, ensemble.member_scores(images.pixels, device))
        parts.append(pd.DataFrame(columns | {"reason": ""}))
    if images.rejected:
        parts.append(pd.DataFrame(list(images.rejected), columns=["image", "reason"]))
    return parts


def columns_of(ensemble: Ensemble, members: NDArray[np.float32]) -> dict[str, NDArray[np.generic]]:
    """Return the columns of one finding.

    Args:
        ensemble: whose threshold and calibration hold.
        members: scores of each of its models ``(models, N)``.
    """
    name, scores = ensemble.finding, members.mean(axis=0)
    columns: dict[str, NDArray[np.generic]] = {name: scores}
    if len(members) > 1:
        columns[f"{name}_spread"] = members.std(axis=0, ddof=1)
    if not ensemble.is_binary:
        columns[f"{name}_quantile"] = ensemble.training_quantiles(scores)
    elif (calibration := ensemble.calibration) is not None:
        columns[f"{name}_calibrated"] = calibration(scores)
    if np.isfinite(ensemble.threshold):
        columns[f"{name}_call"] = (scores >= ensemble.threshold).astype(np.int8)
    return columns
