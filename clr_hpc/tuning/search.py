"""The one interface of all searches, and how one is had by its name."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import Protocol

from clr_hpc.config.tune import SearchName
from clr_hpc.config.tuned_study import Values
from clr_hpc.tuning.dimensions import Dimensions

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


class MissingLibraryError(Exception):
    """The search's library is not installed; the message says which extra installs it."""


_FILES: dict[SearchName, tuple[str, str, str]] = {
    "grid": ("grid", "Grid", ""),
    "random": ("random_search", "RandomSearch", ""),
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
