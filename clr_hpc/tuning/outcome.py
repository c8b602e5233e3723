"""Outcome of a search: the best settings with their interval, importance of settings, cost."""

import math
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean, stdev
from typing import Literal

import numpy as np

from clr_hpc.config.run import Training
from clr_hpc.config.study import Study
from clr_hpc.config.tuned_study import Values, stage_of, trial_runs, tuned_study
from clr_hpc.config.yaml_file import to_yaml
from clr_hpc.store.outcome import (
    BestTrial,
    ChoiceRecord,
    Importance,
    IntervalRecord,
    Measurement,
    Outcome,
    SearchCost,
    TrialRecord,
)
from clr_hpc.tuning.space import Choice, Dimension, Dimensions
from clr_hpc.tuning.trial_queue import cost_of
from clr_hpc.tuning.tuner import Trial, Tuner

FEWEST_TRIALS = 8
TREES = 200
SHUFFLES = 20


def importance_of(tuner: Tuner, dimensions: Dimensions) -> Importance | None:
    """Return the importance of each setting, by a random forest of the trials that were trained to the end.

    ``settings`` has for each setting the fall of the forest's R² where its values are shuffled among trials
    (permutation importance, Breiman 2001), as a share of the sum. ``explained`` is the out-of-bag R²: near zero or
    below, the shares mean nothing. Where fewer than eight trials were trained to the end, all count, with their
    latest measurements.

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
    """Return the position of a value in its dimension."""
    if isinstance(dimension, Choice):
        return float(dimension.values.index(value))
    return dimension.place(value)


CONFIDENCE = 0.95


def outcome_of(
    tuner: Tuner,
    study: Study,
    dimensions: Dimensions,
    pack_checksum: str,
    runs_folder: Path,
    processor: str,
    processors: float,
) -> Outcome:
    """Return ``outcome.json``, also for a search that has not ended.

    Args:
        tuner: with the trials so far.
        study: with the ``tune`` section.
        dimensions: that were searched.
        pack_checksum: of the study's pack.
        runs_folder: holds the trials' runs.
        processor: ``CPU`` or ``GPU``.
        processors: CPU threads or GPUs per run; a fraction of a GPU where runs share it.
    """
    tuning = study.tune
    assert tuning is not None
    best = tuner.best()
    (some_run, *_) = trial_runs(study, tuner.trials[0].values, pack_checksum)
    return {
        "format_version": 1,
        "study": study.name,
        "search": tuning.search,
        "objective": tuning.objective,
        "stage": stage_of(study),
        "task": some_run.task.name,
        "architecture": some_run.architecture,
        "optimizer": some_run.optimizer.name,
        "policy": some_run.policy.name,
        "epochs": tuner.plan.epochs,
        "seeds": list(tuning.seeds or study.seeds),
        "rungs": list(tuner.plan.rungs),
        "dimensions": {name: _described(dimension) for name, dimension in dimensions.items()},
        "trials": [_trial(trial, tuner) for trial in tuner.trials],
        "history": _history(tuner, len(tuning.seeds or study.seeds)),
        "best": None if best is None else _best(best, tuner.plan.epochs),
        "importance": importance_of(tuner, dimensions),
        "cost": _cost(tuner, study, pack_checksum, runs_folder, processors),
        "processor": processor,
    }


def best_study(study: Study, values: Values) -> str:
    """Return the study with these settings as YAML, under another name; its seeds are the study's."""
    tuned = tuned_study(study, values)
    tuned = tuned.model_copy(update={"name": f"{study.name}-tuned", "seeds": study.seeds})
    training, plain = (each.model_dump(mode="json") for each in (tuned.training, Training(epochs=1)))
    raw = tuned.model_dump(mode="json", exclude={"tune", "training"}, exclude_none=True)
    raw["training"] = {
        name: value
        for name, value in training.items()
        if name in ("epochs", "batch_size", "image_size") or value != plain.get(name)
    }
    return to_yaml({name: value for name, value in raw.items() if value != []})


def interval_of_mean(values: Sequence[float]) -> tuple[float, float] | None:
    """Return Student's 95 % interval of a mean; None for a single value.

    Two or three seeds give a wide one. It does not account for selection: the best of many trials is also the
    luckiest.
    """
    if len(values) < 2:
        return None
    from scipy.stats import t

    half = float(t.ppf((1 + CONFIDENCE) / 2, len(values) - 1)) * stdev(values) / math.sqrt(len(values))
    return fmean(values) - half, fmean(values) + half


def _described(dimension: Dimension) -> ChoiceRecord | IntervalRecord:
    if isinstance(dimension, Choice):
        return {"values": list(dimension.values)}
    return {"low": dimension.low, "high": dimension.high, "scale": "log" if dimension.is_log else "linear"}


def _trial(trial: Trial, tuner: Tuner) -> TrialRecord:
    status: Literal["done", "stopped early", "under way", "failed"]
    if trial.failure is not None:
        status = "failed"
    elif tuner.plan.epochs in trial.measured:
        status = "done"
    else:
        status = "stopped early" if trial.target is None else "under way"
    return {
        "trial": trial.number,
        "values": dict(trial.values),
        "status": status,
        "epochs": max(trial.measured, default=0),
        "value": trial.newest,
        "reason": trial.failure,
        "ask_seconds": trial.ask_seconds,
    }


def _history(tuner: Tuner, seeds: int) -> list[Measurement]:
    """Return every measurement with the epochs spent so far."""
    spent = 0
    reached: dict[int, int] = {}
    history: list[Measurement] = []
    for number, epochs, value in tuner.history:
        spent += (epochs - reached.get(number, 0)) * seeds
        reached[number] = epochs
        is_whole = epochs == tuner.plan.epochs
        history.append(
            {"trial": number, "epochs": epochs, "value": value, "epochs_spent": spent, "is_whole": is_whole}
        )
    return history


def _best(best: Trial, epochs: int) -> BestTrial:
    by_seed = best.by_seed[epochs]
    return {
        "trial": best.number,
        "values": dict(best.values),
        "value": best.measured[epochs],
        "by_seed": {str(seed): value for seed, value in by_seed.items()},
        "interval": interval_of_mean(list(by_seed.values())),
    }


def _cost(tuner: Tuner, study: Study, pack_checksum: str, runs_folder: Path, processors: float) -> SearchCost:
    trained = seconds = whole = 0.0
    for trial in tuner.trials:
        try:
            runs = trial_runs(study, trial.values, pack_checksum)
        except ValueError:
            continue  # settings of which no run can be made
        for spec in runs:
            epochs, taken = cost_of(runs_folder / spec.name)
            trained, seconds = trained + epochs, seconds + taken
            # one that failed would not have been trained for longer
            whole += tuner.plan.epochs if trial.failure is None or trial.measured else epochs
    return {
        "epochs_trained": round(trained, 2),
        "epochs_without_early_stopping": round(whole, 2),
        "processor_hours": round(seconds * processors / 3600, 4),
        "ask_seconds": round(sum(trial.ask_seconds for trial in tuner.trials), 3),
    }
