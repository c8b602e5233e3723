"""What every search keeps to, whatever library does it."""

import math
import subprocess
import sys
from importlib.util import find_spec
from statistics import fmean
from typing import get_args

import pytest

from clr_hpc.config.tune import SearchName
from clr_hpc.config.tuned_study import Values
from clr_hpc.tuning.search import STARTUP_TRIALS, Observation, Proposals, Search, constant_liar_losses, make_search
from clr_hpc.tuning.space import Choice, Dimensions, Interval

DIMENSIONS: Dimensions = {
    "batch_size": Choice((16, 32, 64, 128)),
    "lr_max": Interval(1e-4, 1e-1, is_log=True, points=4),
    "weight_decay": Interval(0.0, 0.01, points=2),
}
EXTRAS = {"optuna-tpe": "optuna", "optuna-gp": "optuna", "hyperopt-tpe": "hyperopt", "smac-forest": "smac"}
NAMES = get_args(SearchName)


def loss(values: Values) -> float:
    """Return a bowl with its bottom at a rate of 0.01 and a batch of 32."""
    return 0.1 * (math.log10(values["lr_max"]) + 2) ** 2 + 0.02 * abs(math.log2(values["batch_size"]) - 5)


def search_of(name: SearchName, seed: int = 0) -> Search:
    extra = EXTRAS.get(name)
    if extra is not None and find_spec(extra) is None:
        pytest.skip(f"{extra} is not installed: pip install 'clr-hpc[{extra}]'")
    return make_search(name, DIMENSIONS, seed)


def searched(name: SearchName, trials: int, seed: int = 0) -> list[Observation]:
    proposals = Proposals(search_of(name, seed), DIMENSIONS, seed)
    observations: list[Observation] = []
    for _ in range(trials):
        values = proposals.next(observations)
        assert values is not None
        observations.append(Observation(values, loss(values)))
    return observations


@pytest.fixture(scope="module", params=NAMES)
def name(request: pytest.FixtureRequest) -> SearchName:
    chosen: SearchName = request.param
    return chosen


def test_it_stays_within_the_space_and_never_repeats_itself(name: SearchName) -> None:
    trials = [trial.values for trial in searched(name, 14)]
    assert all(trials.count(values) == 1 for values in trials)
    for values in trials:
        assert list(values) == list(DIMENSIONS)
        assert values["batch_size"] in (16, 32, 64, 128)
        assert 1e-4 <= values["lr_max"] <= 1e-1
        assert 0 <= values["weight_decay"] <= 0.01


def test_the_same_trials_give_the_same_answer_whoever_asks(name: SearchName) -> None:
    """So a search that was killed goes on as if it had not been."""
    trials = searched(name, STARTUP_TRIALS + 2)
    for known in (0, 3, STARTUP_TRIALS + 1):
        again = Proposals(search_of(name), DIMENSIONS, 0).next(trials[:known])
        assert again == trials[known].values


def test_another_seed_is_another_search(name: SearchName) -> None:
    if name == "grid":
        assert searched(name, 3, seed=1) == searched(name, 3, seed=2)
    else:
        assert searched(name, 3, seed=1) != searched(name, 3, seed=2)


def test_running_trials_are_not_proposed_again(name: SearchName) -> None:
    trials = searched(name, STARTUP_TRIALS + 2)
    waiting: list[Observation] = []
    for _ in range(2):
        values = Proposals(search_of(name), DIMENSIONS, 0).next([*trials, *waiting])
        assert values is not None
        assert values not in [trial.values for trial in [*trials, *waiting]]
        waiting.append(Observation(values, None))


@pytest.mark.parametrize(
    ("name", "trials"), [("optuna-tpe", 24), ("optuna-gp", 6), ("hyperopt-tpe", 24), ("smac-forest", 8)]
)
def test_a_model_of_the_space_asks_for_better_settings_than_chance(name: SearchName, trials: int) -> None:
    def mean_loss(name: SearchName, seed: int) -> float:
        return fmean(trial.loss or 0.0 for trial in searched(name, STARTUP_TRIALS + trials, seed)[STARTUP_TRIALS:])

    seeds = range(2)
    by_model, by_chance = ([mean_loss(each, seed) for seed in seeds] for each in (name, "random"))
    assert fmean(by_model) < 0.75 * fmean(by_chance)


def test_a_grid_has_every_combination_once() -> None:
    proposals = Proposals(make_search("grid", DIMENSIONS, 0), DIMENSIONS, 0)
    observations: list[Observation] = []
    while (values := proposals.next(observations)) is not None:
        observations.append(Observation(values, None))
    assert len(observations) == 4 * 4 * 2
    rates = sorted({trial.values["lr_max"] for trial in observations})
    assert rates == pytest.approx([1e-4, 1e-3, 1e-2, 1e-1])


@pytest.mark.parametrize("name", ["random", "optuna-tpe", "hyperopt-tpe", "smac-forest"])
def test_a_space_that_is_used_up_ends_the_search(name: SearchName) -> None:
    search_of(name)
    few: Dimensions = {"batch_size": Choice((16, 32, 64))}
    proposals = Proposals(make_search(name, few, 0), few, 0)
    observations: list[Observation] = []
    while (values := proposals.next(observations)) is not None:
        observations.append(Observation(values, values["batch_size"]))
    assert sorted(trial.values["batch_size"] for trial in observations) == [16, 32, 64]


def test_the_liar_says_the_mean() -> None:
    trials = [Observation({}, 1.0), Observation({}, None), Observation({}, 3.0)]
    assert constant_liar_losses(trials) == [1.0, 2.0, 3.0]
    assert constant_liar_losses([Observation({}, None)]) == [0.0]


WITHOUT = """
import sys
for library in ("optuna", "hyperopt", "smac"):
    sys.modules[library] = None
from clr_hpc.tuning.space import Choice
from clr_hpc.tuning.search import MissingLibraryError, make_search
space = {"batch_size": Choice((16, 32))}
for name in ("grid", "random", "optuna-tpe", "optuna-gp", "hyperopt-tpe", "smac-forest"):
    try:
        print(name, make_search(name, space, 0).ask([], 0) is not None)
    except MissingLibraryError as error:
        print(name, error)
"""


def test_without_any_library_grid_and_random_work_and_the_others_name_their_extra() -> None:
    output = subprocess.run([sys.executable, "-c", WITHOUT], capture_output=True, text=True, check=True).stdout
    answers = dict(line.split(" ", 1) for line in output.splitlines())
    assert (answers["grid"], answers["random"]) == ("True", "True")
    for name, extra in EXTRAS.items():
        assert f"pip install 'clr-hpc[{extra}]'" in answers[name]
