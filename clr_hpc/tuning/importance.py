"""How much each setting mattered, as far as the trials can tell."""

from statistics import fmean
from typing import Any

import numpy as np

from clr_hpc.tuning.dimensions import Choice, Dimension, Dimensions
from clr_hpc.tuning.tuner import Tuner

FEWEST_TRIALS = 8
TREES = 200
SHUFFLES = 20


def importance_of(tuner: Tuner, dimensions: Dimensions) -> dict[str, Any] | None:
    """Return what a random forest makes of the trials that were trained to their end.

    ``settings`` has for each setting by how much the forest's R² falls where its values are shuffled among trials
    (permutation importance, Breiman 2001), as a share of all. ``explained`` is R² on trials that a tree has not
    seen, out of bag: near zero or below, the shares say nothing. Where fewer than eight trials went to the end,
    all count, with what was measured last.

    Returns:
        None for fewer than eight trials.
    """
    ended = [trial for trial in tuner.trials if tuner.plan.epochs in trial.measured]
    chosen = ended if len(ended) >= FEWEST_TRIALS else [trial for trial in tuner.trials if trial.measured]
    if len(chosen) < FEWEST_TRIALS:
        return None
    from sklearn.ensemble import RandomForestRegressor
    from sklearn.inspection import permutation_importance

    places = np.array([[_place(dimensions[name], trial.values[name]) for name in dimensions] for trial in chosen])
    losses = np.array([tuner.plan.loss(trial.newest or 0.0) for trial in chosen])
    if np.ptp(losses) == 0:
        return None
    forest = RandomForestRegressor(TREES, min_samples_leaf=2, oob_score=True, random_state=0).fit(places, losses)
    drops = permutation_importance(forest, places, losses, n_repeats=SHUFFLES, random_state=0).importances_mean
    drops = np.maximum(drops, 0.0)
    total = float(drops.sum()) or 1.0
    return {
        "settings": {name: float(drop) / total for name, drop in zip(dimensions, drops, strict=True)},
        "explained": float(forest.oob_score_),
        "trials": len(chosen),
        "epochs": fmean(max(trial.measured) for trial in chosen),
    }


def _place(dimension: Dimension, value: float) -> float:
    """Return where a value lies among those that were searched."""
    if isinstance(dimension, Choice):
        return float(dimension.values.index(value))
    return dimension.place(value)
