"""The interface of all searches, and the two without a library: grid and random."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module
from itertools import product
from statistics import fmean
from typing import Protocol

import numpy as np

from clr_hpc.config.base import UserError
from clr_hpc.config.tune import SearchName
from clr_hpc.config.tuned_study import Values
from clr_hpc.tuning.space import Dimensions

STARTUP_TRIALS = 8
"""Trials drawn at random before a model of the space proposes: fewer are too few for a model."""


@dataclass(frozen=True)
class Observation:
    """A trial as a search sees it."""

    values: Values
    loss: float | None
    """To be minimised; None while the trial is running."""


class Search(Protocol):
    """Proposes settings to try next.

    It is stateless: it gets all trials at each call. So a kill loses nothing, the same trials give the same
    proposal, and running trials count too.
    """

    def ask(self, trials: Sequence[Observation], attempt: int) -> Values | None:
        """Return settings to try next; ``trials`` are in the order in which they were proposed.

        Args:
            trials: finished and running. A failed trial has the highest loss of all.
            attempt: number of proposals so far that repeat an earlier trial.

        Returns:
            A value for each dimension; None where there is nothing left to try.
        """


class MissingLibraryError(UserError):
    """The search's library is not installed."""


_FILES: dict[SearchName, tuple[str, str, str]] = {
    "grid": ("search", "Grid", ""),
    "random": ("search", "RandomSearch", ""),
    "optuna-tpe": ("optuna_search", "ParzenEstimator", "optuna"),
    "optuna-gp": ("optuna_search", "GaussianProcess", "optuna"),
    "hyperopt-tpe": ("hyperopt_search", "HyperoptParzenEstimator", "hyperopt"),
    "smac-forest": ("smac_search", "SmacForest", "smac"),
}
"""The module, the class in it, and the extra that it needs."""


def make_search(name: SearchName, dimensions: Dimensions, seed: int) -> Search:
    """Return a search by its name.

    Raises:
        MissingLibraryError: its library is not installed.
    """
    module, kind, extra = _FILES[name]
    try:
        search: Search = getattr(import_module(f"clr_hpc.tuning.{module}"), kind)(dimensions, seed)
    except ImportError as error:
        if not extra:
            raise
        raise MissingLibraryError(
            f"search: {name} needs a library that is not installed ({error}); "
            f"pip install 'clr-hpc[{extra}]', or use grid or random, which need none"
        ) from error
    return search


def seed_of_answer(seed: int, trials: int, attempt: int) -> int:
    """Return the seed of one answer of a search, from 0 to 2**31 - 1."""
    digest = hashlib.sha256(f"{seed} {trials} {attempt}".encode()).digest()
    return int.from_bytes(digest[:4]) >> 1


class Grid:
    """The points of a grid, the last setting changing fastest."""

    def __init__(self, dimensions: Dimensions, seed: int) -> None:  # noqa: ARG002  a grid is deterministic
        """Lay a grid over the dimensions."""
        combinations = product(*(dimension.grid() for dimension in dimensions.values()))
        self.points = [dict(zip(dimensions, point, strict=True)) for point in combinations]

    def ask(self, trials: Sequence[Observation], attempt: int) -> Values | None:  # noqa: ARG002
        """Return the first point that has not been tried."""
        tried = [trial.values for trial in trials]
        return next((point for point in self.points if point not in tried), None)


class RandomSearch:
    """Draws each setting independently and uniformly, an interval with a logarithmic scale in its logarithm.

    Bergstra & Bengio 2012, JMLR 13, 281-305.
    """

    def __init__(self, dimensions: Dimensions, seed: int) -> None:
        """Draw from the dimensions."""
        self._dimensions, self._seed = dimensions, seed

    def ask(self, trials: Sequence[Observation], attempt: int) -> Values:
        """Draw settings; of the trials only their number matters."""
        random = np.random.default_rng(seed_of_answer(self._seed, len(trials), attempt))
        return {name: dimension.draw(random) for name, dimension in self._dimensions.items()}


ATTEMPTS = 3
"""Proposals of the search before random ones: equal settings and seeds train to the same bytes."""
DRAWS = 200
"""Random proposals after those; where they are all known too, the space counts as exhausted."""


class Proposals:
    """Proposals of a search, or random ones where it repeats itself."""

    def __init__(self, search: Search, dimensions: Dimensions, seed: int) -> None:
        """Ask this search over these dimensions."""
        self._search, self._random = search, RandomSearch(dimensions, seed)

    def next(self, trials: Sequence[Observation]) -> Values | None:
        """Return settings that none of the trials has; None where the space is exhausted."""
        tried = [trial.values for trial in trials]
        for attempt in range(ATTEMPTS + DRAWS):
            asked = self._search if attempt < ATTEMPTS else self._random
            values = asked.ask(trials, attempt)
            if values is None:
                return None
            if values not in tried:
                return values
        return None


def constant_liar_losses(trials: Sequence[Observation]) -> list[float]:
    """Return the loss of each trial; a running one has the mean of the finished ones: the constant liar.

    So a search neither repeats what is running nor is drawn to it or away from it (Ginsbourger, Le
    Riche & Carraro 2010, "Kriging is well-suited to parallelize optimization").
    """
    ended = [trial.loss for trial in trials if trial.loss is not None]
    lie = fmean(ended) if ended else 0.0
    return [lie if trial.loss is None else trial.loss for trial in trials]
