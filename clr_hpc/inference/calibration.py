"""From scores to probabilities and decisions, both learned on validation images alone."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

FOLDS = 5
MOST_SURE = 1e-6
"""Scores of 0 and 1 have no logit."""
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Calibration:
    """A function from scores to probabilities that never puts two images into another order."""

    method: Literal["logistic", "isotonic"]
    at: Floats
    """Logits: the slope and the constant, or the places of the steps."""
    values: Floats
    """Of ``isotonic``: the probability at each step."""

    def __call__(self, scores: NDArray[np.floating]) -> Floats:
        """Return the probability ``(N,)`` of each score ``(N,)`` in [0, 1]."""
        logits = _logits(np.asarray(scores, dtype=np.float64))
        if self.method == "isotonic":
            steps: Floats = np.interp(logits, self.at, self.values)
            return steps
        slope, constant = self.at
        probabilities: Floats = expit(slope * logits + constant)
        return probabilities


def fit(scores: Floats, labels: NDArray[np.bool_], patients: NDArray[np.str_]) -> Calibration | None:
    """Return the calibration under which labels of other patients are likelier.

    Two are tried: the logistic one, a factor and a constant on the logits with Platt's targets (Platt 1999), of
    which temperature scaling (Guo et al. 2017, arXiv:1706.04599) is the case without the constant; and the
    isotonic one (Zadrozny & Elkan 2002, doi:10.1145/775047.775151). Where positives had a weight in training, the
    constant is needed.

    Args:
        scores: ``(N,)`` in [0, 1].
        labels: ``(N,)``.
        patients: ``(N,)``; images of one patient are never on both sides of a fold.

    Returns:
        None where one of the labels is absent.
    """
    if labels.all() or not labels.any():
        return None
    logits = _logits(scores)
    fold = _folds(patients)
    losses = {"logistic": 0.0, "isotonic": 0.0}
    for number in range(FOLDS):
        held_out = fold == number
        seen = labels[~held_out]
        if not held_out.any() or seen.all() or not seen.any():
            continue
        for method in losses:
            said = _fitted(method, logits[~held_out], seen)(scores[held_out]).clip(MOST_SURE, 1 - MOST_SURE)
            losses[method] -= float(np.log(np.where(labels[held_out], said, 1 - said)).sum())
    # the logistic one, with its two numbers, where both are as good
    return _fitted("isotonic" if losses["isotonic"] < losses["logistic"] else "logistic", logits, labels)


def youden_threshold(scores: Floats, labels: NDArray[np.bool_]) -> float:
    """Return the score from which on sensitivity plus specificity is highest; NaN where one label is absent.

    Args:
        scores: ``(N,)``.
        labels: ``(N,)``.
    """
    if labels.all() or not labels.any():
        return float("nan")
    order = np.argsort(-scores, kind="stable")
    ordered = scores[order]
    sensitivity = np.cumsum(labels[order]) / labels.sum()
    false_positives = np.cumsum(~labels[order]) / (~labels).sum()
    last_of_ties = np.append(ordered[1:] != ordered[:-1], True)
    index = np.where(last_of_ties, sensitivity - false_positives, -np.inf)
    return float(ordered[int(index.argmax())])


def _fitted(method: str, logits: Floats, labels: NDArray[np.bool_]) -> Calibration:
    if method == "logistic":
        from sklearn.linear_model import LogisticRegression

        positives, negatives = int(labels.sum()), int((~labels).sum())
        # none is positive or negative for sure, so that the fit is finite also where scores part the labels
        target = np.where(labels, (positives + 1) / (positives + 2), 1 / (negatives + 2))
        both, weights = np.tile(logits, 2)[:, None], np.concatenate([target, 1 - target])
        answers = np.repeat([True, False], len(logits))
        model = LogisticRegression(C=np.inf).fit(both, answers, sample_weight=weights)
        slope, constant = float(model.coef_[0, 0]), float(model.intercept_[0])
        if slope < 0:  # it would put images into another order
            slope, constant = 0.0, float(np.log(target.mean() / (1 - target.mean())))
        return Calibration("logistic", np.array([slope, constant]), np.empty(0))
    from sklearn.isotonic import IsotonicRegression

    # none is surer than so many images can make it
    least = 1 / (len(labels) + 2)
    model = IsotonicRegression(y_min=least, y_max=1 - least, out_of_bounds="clip").fit(logits, labels)
    return Calibration("isotonic", model.X_thresholds_, model.y_thresholds_)


def _folds(patients: NDArray[np.str_]) -> NDArray[np.int64]:
    """Return the fold ``(N,)`` of each image: patients in the order of their names, dealt in turn."""
    _, number = np.unique(patients, return_inverse=True)
    folds: NDArray[np.int64] = number.astype(np.int64) % FOLDS
    return folds


def _logits(scores: Floats) -> Floats:
    inside = np.clip(scores, MOST_SURE, 1 - MOST_SURE)
    return np.log(inside) - np.log1p(-inside)
