"""SMAC's random forest (Hutter et al. 2011; Lindauer et al. 2022). The only file that imports smac."""

import logging
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ConfigSpace import Configuration, ConfigurationSpace, Float, Integer
from smac import HyperparameterOptimizationFacade as Smac
from smac import Scenario
from smac.initial_design import SobolInitialDesign
from smac.model.random_forest.random_forest import RandomForest
from smac.runhistory import TrialInfo, TrialValue

from clr_hpc.config.tuned_study import Values
from clr_hpc.tuning.search import STARTUP_TRIALS, Observation, constant_liar_losses, seed_of_answer
from clr_hpc.tuning.space import Choice, Dimension, Dimensions, from_parameters, to_parameters

TREES = 10
"""The other settings are those of SMAC's facade, whose forest would take a thread per core from training."""
CHALLENGERS = 1_000
"""Random settings that the forest compares, besides those near the best: SMAC's 10,000 take seconds."""
ENDLESS = 1_000_000
"""Trials; SMAC does not limit their number."""


class SmacForest:
    """Expected improvement under a random forest, after the first points of a Sobol sequence.

    SMAC's forest ignores running trials, so they are passed with the mean loss.
    """

    def __init__(self, dimensions: Dimensions, seed: int) -> None:
        """Search the dimensions."""
        self._dimensions, self._seed = dimensions, seed

    def ask(self, trials: Sequence[Observation], attempt: int) -> Values:
        """Return what the forest makes of the trials."""
        with tempfile.TemporaryDirectory() as folder:  # SMAC requires one
            if len(trials) < STARTUP_TRIALS:
                answer = self._first_design(Path(folder), len(trials), attempt)
            else:
                answer = self._proposed_by_forest(Path(folder), trials, attempt)
        return from_parameters(self._dimensions, dict(answer))

    def _first_design(self, folder: Path, number: int, attempt: int) -> Configuration:
        scenario = self._scenario(folder, seed_of_answer(self._seed, 0, attempt))
        design = SobolInitialDesign(scenario, n_configs=STARTUP_TRIALS, max_ratio=1.0, seed=scenario.seed)
        configurations = design.select_configurations()
        return configurations[number % len(configurations)]

    def _proposed_by_forest(self, folder: Path, trials: Sequence[Observation], attempt: int) -> Configuration:
        scenario = self._scenario(folder, seed_of_answer(self._seed, len(trials), attempt))
        logging.getLogger("smac").setLevel(logging.ERROR)
        forest = RandomForest(
            scenario.configspace,
            n_trees=TREES,
            ratio_features=1.0,
            min_samples_split=2,
            min_samples_leaf=1,
            log_y=True,
            seed=scenario.seed,
            n_jobs=1,
        )
        smac = Smac(
            scenario,
            _is_never_called,
            model=forest,
            initial_design=SobolInitialDesign(scenario, n_configs=0),
            intensifier=Smac.get_intensifier(scenario, max_config_calls=1),
            acquisition_maximizer=Smac.get_acquisition_maximizer(scenario, challengers=CHALLENGERS),
            overwrite=True,
            logging_level=False,
        )
        for observation, loss in zip(trials, constant_liar_losses(trials), strict=True):
            parameters = to_parameters(self._dimensions, observation.values)
            known = Configuration(scenario.configspace, values=parameters)
            smac.tell(TrialInfo(known, seed=0), TrialValue(cost=loss), save=False)
        return smac.ask().config

    def _scenario(self, folder: Path, seed: int) -> Scenario:
        space = ConfigurationSpace(seed=seed)
        space.add([_hyperparameter(name, dimension) for name, dimension in self._dimensions.items()])
        return Scenario(space, deterministic=True, n_trials=ENDLESS, seed=seed, output_directory=folder)


def _is_never_called(config: Configuration, seed: int = 0) -> float:
    raise NotImplementedError


def _hyperparameter(name: str, dimension: Dimension) -> Any:
    if isinstance(dimension, Choice):
        return Integer(name, (0, len(dimension.values) - 1))
    return Float(name, (dimension.low, dimension.high), log=dimension.is_log)
