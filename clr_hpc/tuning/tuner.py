"""Decides which trial is trained next, and how far. Its state is in the journal, so a kill loses nothing."""

import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import fmean

from clr_hpc.config.tune import EarlyStopping
from clr_hpc.config.tuned_study import Values
from clr_hpc.tuning.search import Observation, Proposals
from clr_hpc.tuning.tuning_folder import Event, Journal


@dataclass
class Trial:
    """One setting of the hyperparameters, and its measurements so far."""

    number: int
    values: Values
    ask_seconds: float = 0.0
    """Time that the search took to propose it."""
    measured: dict[int, float] = field(default_factory=dict)
    """The objective's mean over seeds, by epochs."""
    by_seed: dict[int, dict[int, float]] = field(default_factory=dict)
    """The same for each seed."""
    target: int | None = None
    """Epochs up to which it is being trained; None where it is paused or has ended."""
    failure: str | None = None

    @property
    def newest(self) -> float | None:
        """The latest measurement of the objective."""
        return self.measured[max(self.measured)] if self.measured else None


@dataclass(frozen=True)
class TrialPlan:
    """The number of trials, how long each trains, and which values are better."""

    trials: int | None
    """None: until the search is exhausted."""
    epochs: int
    early_stopping: EarlyStopping | None
    higher_is_better: bool

    @property
    def rungs(self) -> tuple[int, ...]:
        """Epochs after which a trial pauses; the last is its end."""
        return (self.epochs,) if self.early_stopping is None else self.early_stopping.rungs(self.epochs)

    def loss(self, value: float) -> float:
        """Return what is minimised: 1 − AUROC, or the loss itself."""
        return 1 - value if self.higher_is_better else value


class Tuner:
    """The trials of one search."""

    def __init__(self, plan: TrialPlan, proposals: Proposals, journal: Journal) -> None:
        """Resume from the journal."""
        self.plan, self._proposals, self._journal = plan, proposals, journal
        self.trials: list[Trial] = []
        self.history: list[tuple[int, int, float]] = []
        """Trial, epochs and objective of every measurement, in order."""
        self._asked: tuple[Values, float] | None = None
        """The latest proposal of the search, and the seconds that it took."""
        self._is_exhausted = False
        for event in journal.read():
            self._apply(event)

    def next(self, nothing_is_under_way: bool) -> Trial | None:
        """Return a trial with a new ``target``; None where there is none, or none until others have ended."""
        promoted = self._promotion()
        if promoted is None and self._wants_more():
            return self._new_trial()
        if promoted is None and nothing_is_under_way and self.best() is None:
            promoted = last_promotion(*self._rungs())
        if promoted is None:
            return None
        number, rung = promoted
        self._record({"event": "promoted", "trial": number, "epochs": self.plan.rungs[rung + 1]})
        return self.trials[number]

    def measured(self, trial: Trial, by_seed: Mapping[int, float]) -> None:
        """Record the measurements of a trial at its target, by seed."""
        self._record(
            {
                "event": "measured",
                "trial": trial.number,
                "epochs": trial.target,
                "by_seed": {str(seed): value for seed, value in sorted(by_seed.items())},
                "value": fmean(by_seed.values()),
            }
        )

    def failed(self, trial: Trial, reason: str) -> None:
        """Record that a trial can't be trained."""
        self._record({"event": "failed", "trial": trial.number, "reason": reason})

    def under_way(self) -> list[Trial]:
        """Return the trials that have a target, including those from before a kill."""
        return [trial for trial in self.trials if trial.target is not None]

    def best(self) -> Trial | None:
        """Return the best of the trials that were trained to the end; None where there is none."""
        ended = [trial for trial in self.trials if self.plan.epochs in trial.measured]
        return min(ended, key=lambda trial: self.plan.loss(trial.measured[self.plan.epochs]), default=None)

    def observations(self) -> list[Observation]:
        """Return the trials as a search sees them."""
        values = [trial.newest for trial in self.trials]
        losses = [None if value is None else self.plan.loss(value) for value in values]
        worst = max((loss for loss in losses if loss is not None), default=1.0)
        return [
            Observation(trial.values, worst if trial.failure is not None else loss)
            for trial, loss in zip(self.trials, losses, strict=True)
        ]

    def _wants_more(self) -> bool:
        """Ask the search for another trial to begin; say whether there is one."""
        if self._asked is None and not self._is_exhausted and len(self.trials) != self.plan.trials:
            started = time.perf_counter()
            values = self._proposals.next(self.observations())
            self._asked = None if values is None else (values, round(time.perf_counter() - started, 4))
            self._is_exhausted = values is None
        return self._asked is not None

    def _new_trial(self) -> Trial:
        assert self._asked is not None
        (values, seconds), self._asked = self._asked, None
        number, epochs = len(self.trials), self.plan.rungs[0]
        asked = {"event": "asked", "trial": number, "values": dict(values), "epochs": epochs}
        self._record(asked | {"ask_seconds": seconds})
        return self.trials[number]

    def _promotion(self) -> tuple[int, int] | None:
        stopping = self.plan.early_stopping
        return None if stopping is None else promotion(*self._rungs(), stopping.reduction)

    def _rungs(self) -> tuple[list[dict[int, float]], list[set[int]]]:
        """Return for each rung but the last the losses of trials that reached it, and those promoted from it."""
        losses, promoted = [], []
        for rung in self.plan.rungs[:-1]:
            there = [trial for trial in self.trials if rung in trial.measured]
            losses.append({trial.number: self.plan.loss(trial.measured[rung]) for trial in there})
            promoted_here = (trial for trial in there if (trial.target or max(trial.measured)) > rung)
            promoted.append({trial.number for trial in promoted_here} | {t.number for t in there if t.failure})
        return losses, promoted

    def _record(self, event: Event) -> None:
        self._journal.append(event)
        self._apply(event)

    def _apply(self, event: Event) -> None:
        if event["event"] == "asked":
            trial = Trial(event["trial"], event["values"], event["ask_seconds"], target=event["epochs"])
            self.trials.append(trial)
            return
        trial = self.trials[event["trial"]]
        if event["event"] == "promoted":
            trial.target = event["epochs"]
        elif event["event"] == "measured":
            trial.measured[event["epochs"]] = event["value"]
            trial.by_seed[event["epochs"]] = {int(seed): value for seed, value in event["by_seed"].items()}
            trial.target = None
            self.history.append((trial.number, event["epochs"], event["value"]))
        else:
            trial.failure, trial.target = event["reason"], None


def promotion(
    losses: Sequence[Mapping[int, float]], promoted: Sequence[Collection[int]], reduction: int
) -> tuple[int, int] | None:
    """Return the trial to promote, and its rung; None where none has earned it yet.

    Asynchronous successive halving (Li et al. 2018, arXiv:1810.05934, algorithm 2).

    Of the ``n`` trials that reached a rung, the best ``n // reduction`` are promoted. Higher rungs come first.
    Nothing waits for a rung to be full, so a trial promoted early may turn out not to be among the best later.

    Args:
        losses: (rungs,) of each trial that reached the rung; without the last rung, which is the end of training.
        promoted: (rungs,) the trials that were promoted from it.
        reduction: number of trials of which one is promoted.
    """
    for rung in reversed(range(len(losses))):
        reached = losses[rung]
        best = sorted(reached, key=lambda trial: (reached[trial], trial))[: len(reached) // reduction]
        for trial in best:
            if trial not in promoted[rung]:
                return trial, rung
    return None


def last_promotion(
    losses: Sequence[Mapping[int, float]], promoted: Sequence[Collection[int]]
) -> tuple[int, int] | None:
    """Return the trial to promote where none has earned it and nothing else is left to do; None where none can.

    The best on the highest rung that any trial has reached: so a search of few trials also ends with one that is
    trained to its end. The article has no such end, since its searches never end.
    """
    for rung in reversed(range(len(losses))):
        waiting = {trial: loss for trial, loss in losses[rung].items() if trial not in promoted[rung]}
        if waiting:
            return min(waiting, key=lambda trial: (waiting[trial], trial)), rung
    return None
