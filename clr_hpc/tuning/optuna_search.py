"""Optuna's tree-structured Parzen estimators and Gaussian process. The only file that imports optuna."""

from collections.abc import Callable, Sequence

import optuna
from optuna.distributions import BaseDistribution, FloatDistribution, IntDistribution
from optuna.samplers import BaseSampler, GPSampler, TPESampler
from optuna.trial import FrozenTrial, TrialState, create_trial

from clr_hpc.config.tuned_study import Values
from clr_hpc.tuning.search import STARTUP_TRIALS, Observation, seed_of_answer
from clr_hpc.tuning.space import Choice, Dimension, Dimensions, from_parameters, to_parameters


class _OptunaSearch:
    """An Optuna sampler that gets all trials at each call."""

    def __init__(self, dimensions: Dimensions, seed: int, make_sampler: Callable[[int], BaseSampler]) -> None:
        self._dimensions, self._seed, self._make_sampler = dimensions, seed, make_sampler
        self._distributions = {name: _distribution(dimension) for name, dimension in dimensions.items()}

    def ask(self, trials: Sequence[Observation], attempt: int) -> Values:
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        study = optuna.create_study(sampler=self._make_sampler(seed_of_answer(self._seed, len(trials), attempt)))
        study.add_trials([self._trial(observation) for observation in trials])
        return from_parameters(self._dimensions, study.ask(self._distributions).params)

    def _trial(self, observation: Observation) -> FrozenTrial:
        return create_trial(
            state=TrialState.RUNNING if observation.loss is None else TrialState.COMPLETE,
            value=observation.loss,
            params=to_parameters(self._dimensions, observation.values),
            distributions=self._distributions,
        )


class ParzenEstimator(_OptunaSearch):
    """Densities of good and of bad settings, of all settings jointly (Bergstra 2011, Falkner 2018)."""

    def __init__(self, dimensions: Dimensions, seed: int) -> None:
        """Search the dimensions."""
        super().__init__(
            dimensions,
            seed,
            lambda seed: TPESampler(
                seed=seed, n_startup_trials=STARTUP_TRIALS, multivariate=True, constant_liar=True
            ),
        )


class GaussianProcess(_OptunaSearch):
    """A Gaussian process with a Matérn kernel and the expected improvement of its logarithm."""

    def __init__(self, dimensions: Dimensions, seed: int) -> None:
        """Search the dimensions."""
        super().__init__(
            dimensions,
            seed,
            lambda seed: GPSampler(seed=seed, n_startup_trials=STARTUP_TRIALS, deterministic_objective=False),
        )


def _distribution(dimension: Dimension) -> BaseDistribution:
    if isinstance(dimension, Choice):
        return IntDistribution(0, len(dimension.values) - 1)
    return FloatDistribution(dimension.low, dimension.high, log=dimension.is_log)
