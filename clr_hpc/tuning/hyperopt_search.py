"""Hyperopt's tree-structured Parzen estimators (Bergstra et al. 2011). The only file that imports hyperopt."""

import math
from collections.abc import Sequence
from typing import Any

from hyperopt import JOB_STATE_DONE, STATUS_OK, Trials, hp, tpe
from hyperopt.base import Domain

from clr_hpc.config.tuned_study import Values
from clr_hpc.tuning.search import STARTUP_TRIALS, Observation, constant_liar_losses, seed_of_answer
from clr_hpc.tuning.space import Choice, Dimension, Dimensions, from_parameters, to_parameters


class HyperoptParzenEstimator:
    """Densities of good and of bad values, one setting at a time.

    Hyperopt ignores running trials, so they are passed with the mean loss.
    """

    def __init__(self, dimensions: Dimensions, seed: int) -> None:
        """Search the dimensions."""
        self._dimensions, self._seed = dimensions, seed
        space = {name: _expression(name, dimension) for name, dimension in dimensions.items()}
        self._domain = Domain(lambda _: 0.0, space)

    def ask(self, trials: Sequence[Observation], attempt: int) -> Values:
        """Return what the densities make of the trials."""
        known = Trials()
        losses = constant_liar_losses(trials)
        known.insert_trial_docs(
            [self._document(known, number, trial, losses[number]) for number, trial in enumerate(trials)]
        )
        known.refresh()
        seed = seed_of_answer(self._seed, len(trials), attempt)
        (answer,) = tpe.suggest(
            [len(trials)], self._domain, known, seed, n_startup_jobs=STARTUP_TRIALS, verbose=False
        )
        found = answer["misc"]["vals"]
        return from_parameters(self._dimensions, {name: values[0] for name, values in found.items()})

    def _document(self, known: Trials, number: int, observation: Observation, loss: float) -> dict[str, Any]:
        parameters = to_parameters(self._dimensions, observation.values)
        misc = {
            "tid": number,
            "cmd": self._domain.cmd,
            "workdir": None,
            "idxs": {name: [number] for name in parameters},
            "vals": {name: [value] for name, value in parameters.items()},
        }
        document: dict[str, Any]
        (document,) = known.new_trial_docs([number], [None], [{"status": STATUS_OK, "loss": loss}], [misc])
        return document | {"state": JOB_STATE_DONE}


def _expression(name: str, dimension: Dimension) -> Any:
    if isinstance(dimension, Choice):
        return hp.uniformint(name, 0, len(dimension.values) - 1)
    if dimension.is_log:
        return hp.loguniform(name, math.log(dimension.low), math.log(dimension.high))
    return hp.uniform(name, dimension.low, dimension.high)
