"""Probabilities without the weight that positives had in training, before calibration is judged."""

import numpy as np
from numpy.typing import NDArray

from clr_hpc.config.task import BinaryTask
from clr_hpc.reporting.read.study import RunRecord


def positive_weight(record: RunRecord) -> float:
    """Return by what factor a run's training raised the odds of a positive; NaN where that is not known.

    A loss that multiplies positives by negatives / positives (``pos_weight``) and a sampler that draws both
    classes equally often (``balanced_sampling``) have the same minimum, so the factor is the same.
    """
    if record.spec.training.class_imbalance == "none" or not isinstance(record.spec.task, BinaryTask):
        return 1.0
    train = record.result.get("train") or {}
    positives, images = train.get("positives") or 0, train.get("images") or 0
    return (images - positives) / positives if 0 < positives < images else float("nan")


def corrected(scores: NDArray[np.float64], weight: float) -> NDArray[np.float64]:
    """Return probabilities ``(N,)`` in [0, 1] whose odds are those of ``scores`` divided by ``weight``.

    The best model under a loss that multiplies positives by w says odds of w·p / (1 − p) where the probability is
    p, so log w is subtracted from its logits (Elkan 2001, "The foundations of cost-sensitive learning"; Saerens,
    Latinne & Decaestecker 2002, doi:10.1162/089976602753284446). The order of the images stays.
    """
    return scores / (scores + weight * (1 - scores))
