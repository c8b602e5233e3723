"""The one interface of all searches, and how one is had by its name."""

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
"""So many trials are drawn by chance before a model of the space is asked: too few for one to say anything."""


@dataclass(frozen=True)
class Told:
    """What a search is told of a trial."""

    values: Values
    loss: float | None
    """What is minimised; None while the trial is under way."""


class Search(Protocol):
    """Says what to try next.

    It has no state: all that it goes by are the trials that it is told each time. So nothing of it can be lost in
    a kill, the same trials give the same answer, and the trials under way count too.
    """

    def ask(self, trials: Sequence[Told], attempt: int) -> Values | None:
        """Return settings to try beside and after ``trials``, which are in the order in which they were asked for.

        Args:
            trials: those that ended, and those under way. A trial that failed has the highest loss of all.
            attempt: counts the answers that could not be used, since they were tried before.

        Returns:
            A value for each dimension; None where there is nothing left to try.
        """


class MissingLibraryError(UserError):
    """The search's library is not installed; the message says which extra installs it."""


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
            f"search: {name} needs a library that is not there ({error}); "
            f"pip install 'clr-hpc[{extra}]', or take another search: grid and random need none"
        ) from error
    return search


def seed_of_answer(seed: int, trials: int, attempt: int) -> int:
    """Return the seed of one answer of a search, from 0 to 2**31 - 1."""
    digest = hashlib.sha256(f"{seed} {trials} {attempt}".encode()).digest()
    return int.from_bytes(digest[:4]) >> 1


class Grid:
    """The points of a grid, the last setting changing fastest."""

    def __init__(self, dimensions: Dimensions, seed: int) -> None:  # noqa: ARG002  a grid leaves nothing to chance
        """Lay a grid over the dimensions."""
        combinations = product(*(dimension.grid() for dimension in dimensions.values()))
        self.points = [dict(zip(dimensions, point, strict=True)) for point in combinations]

    def ask(self, trials: Sequence[Told], attempt: int) -> Values | None:  # noqa: ARG002
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

    def ask(self, trials: Sequence[Told], attempt: int) -> Values:
        """Draw settings; what came of the trials doesn't matter, only how many there are."""
        random = np.random.default_rng(seed_of_answer(self._seed, len(trials), attempt))
        return {name: dimension.draw(random) for name, dimension in self._dimensions.items()}


ATTEMPTS = 3
"""Of the search, to name something new: equal settings and seeds train to the same bytes."""
DRAWS = 200
"""By chance, after that; where these are all known too, the space counts as used up."""


class Proposals:
    """Asks a search, and where it repeats itself draws by chance."""

    def __init__(self, search: Search, dimensions: Dimensions, seed: int) -> None:
        """Ask this search over these dimensions."""
        self._search, self._by_chance = search, RandomSearch(dimensions, seed)

    def next(self, trials: Sequence[Told]) -> Values | None:
        """Return settings that none of the trials has; None where the space is used up."""
        tried = [trial.values for trial in trials]
        for attempt in range(ATTEMPTS + DRAWS):
            asked = self._search if attempt < ATTEMPTS else self._by_chance
            values = asked.ask(trials, attempt)
            if values is None:
                return None
            if values not in tried:
                return values
        return None


def losses_with_a_liar(trials: Sequence[Told]) -> list[float]:
    """Return the loss of each trial, for one under way the mean of those that ended: the constant liar.

    So a search neither asks for what is being tried already nor is drawn to it or away from it (Ginsbourger, Le
    Riche & Carraro 2010, "Kriging is well-suited to parallelize optimization").
    """
    ended = [trial.loss for trial in trials if trial.loss is not None]
    lie = fmean(ended) if ended else 0.0
    return [lie if trial.loss is None else trial.loss for trial in trials]
