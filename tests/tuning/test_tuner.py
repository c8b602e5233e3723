"""What is decided from the journal: killed at any line, a search goes on as if it had not been."""

import json
import math
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from mutation import damaged_lines

from clr_hpc.config.tune import EarlyStopping, SearchName
from clr_hpc.config.tuned_study import Values
from clr_hpc.store.records import DamagedError
from clr_hpc.tuning.search import Proposals, make_search
from clr_hpc.tuning.space import Choice, Dimensions, Interval
from clr_hpc.tuning.tuner import Trial, TrialPlan, Tuner
from clr_hpc.tuning.tuning_folder import Event, Journal

DIMENSIONS: Dimensions = {"batch_size": Choice((16, 32)), "lr_max": Interval(1e-3, 1e-1, is_log=True)}


def tuner(path: Path, search: SearchName = "random", trials: int | None = 9, halving: bool = True) -> Tuner:
    stopping = EarlyStopping(min_epochs=1, reduction=2) if halving else None
    plan = TrialPlan(trials, epochs=4, early_stopping=stopping, higher_is_better=True)
    return Tuner(plan, Proposals(make_search(search, DIMENSIONS, 5), DIMENSIONS, 5), Journal(path))


def auroc(values: Values, epochs: int) -> float:
    return 0.9 - 0.1 * abs(math.log10(values["lr_max"]) + 2) - 0.1 / epochs


def train(tuner: Tuner, at_once: int = 1, auroc: Callable[[Values, int], float] = auroc) -> None:
    """Train the trials under way, in the order in which they began, until the search has no more."""
    under_way = tuner.under_way()
    while True:
        while len(under_way) < at_once:
            trial = tuner.next(nothing_is_under_way=not under_way)
            if trial is None:
                break
            under_way.append(trial)
        if not under_way:
            return
        done: Trial = under_way.pop(0)
        assert done.target is not None
        tuner.measured(done, {0: auroc(done.values, done.target), 1: auroc(done.values, done.target) + 0.02})


def story(path: Path) -> list[Event]:
    """Return the journal without what a clock said."""
    return [
        {name: value for name, value in event.items() if name != "ask_seconds"} for event in Journal(path).read()
    ]


@pytest.mark.parametrize("search", ["grid", "random", "optuna-tpe", "hyperopt-tpe"])
@pytest.mark.parametrize("halving", [True, False])
def test_killed_at_any_line_it_resumes_as_if_undisturbed(
    tmp_path: Path, search: SearchName, halving: bool
) -> None:
    undisturbed = tmp_path / "undisturbed.jsonl"
    if search.startswith(("optuna", "hyperopt")):
        pytest.importorskip(search.split("-")[0])
    train(tuner(undisturbed, search, 10, halving))
    lines = undisturbed.read_text().splitlines(keepends=True)
    for kept in range(len(lines)):
        killed = tmp_path / f"killed{kept}.jsonl"
        killed.write_text("".join(lines[:kept]) + lines[kept][: len(lines[kept]) // 2])  # torn in its middle
        train(tuner(killed, search, 10, halving))
        assert story(killed) == story(undisturbed)


def test_every_trial_is_asked_for_once_also_with_several_at_a_time(tmp_path: Path) -> None:
    path = tmp_path / "trials.jsonl"
    search = tuner(path)
    train(search, at_once=3)
    asked = [json.dumps(event["values"]) for event in story(path) if event["event"] == "asked"]
    assert len(asked) == len(set(asked)) == 9
    stretches = [(event["trial"], event["epochs"]) for event in story(path) if event["event"] == "measured"]
    assert len(stretches) == len(set(stretches))


def test_halving_trains_fewer_epochs_and_keeps_the_best(tmp_path: Path) -> None:
    whole, halved = (tuner(tmp_path / f"{halving}.jsonl", halving=halving) for halving in (False, True))
    train(whole)
    train(halved)
    assert _epochs(halved) < 0.7 * _epochs(whole)
    assert whole.best() is not None
    assert halved.best() is not None
    assert halved.best().values == whole.best().values  # type: ignore[union-attr]


def _epochs(tuner: Tuner) -> int:
    return sum(max(trial.measured) for trial in tuner.trials)


def test_two_trials_are_enough_for_one_that_is_trained_to_its_end(tmp_path: Path) -> None:
    search = tuner(tmp_path / "trials.jsonl", trials=2)
    train(search)
    assert sorted(max(trial.measured) for trial in search.trials) == [1, 4]


def test_more_trials_can_be_asked_for_later(tmp_path: Path) -> None:
    few, many = tmp_path / "few.jsonl", tmp_path / "many.jsonl"
    train(tuner(few, trials=3, halving=False))
    train(tuner(few, trials=6, halving=False))
    train(tuner(many, trials=6, halving=False))
    assert story(few) == story(many)


def test_a_failed_trial_counts_as_the_worst_and_is_not_tried_again(tmp_path: Path) -> None:
    path = tmp_path / "trials.jsonl"
    search = tuner(path, halving=False)
    first = search.next(nothing_is_under_way=True)
    assert first is not None
    search.failed(first, "it diverged")
    train(search)
    observations = search.observations()
    assert observations[0].loss == max(trial.loss for trial in observations if trial.loss is not None)
    again = tuner(path, halving=False)
    assert again.next(nothing_is_under_way=True) is None
    assert again.trials[0].failure == "it diverged"


def test_a_lower_loss_is_better_where_the_loss_is_the_objective(tmp_path: Path) -> None:
    plan = TrialPlan(4, epochs=1, early_stopping=None, higher_is_better=False)
    search = Tuner(
        plan, Proposals(make_search("random", DIMENSIONS, 0), DIMENSIONS, 0), Journal(tmp_path / "t.jsonl")
    )
    train(search, auroc=lambda values, _: values["lr_max"])
    best = search.best()
    assert best is not None
    assert best.values["lr_max"] == min(trial.values["lr_max"] for trial in search.trials)


def test_a_damaged_journal_is_an_error_that_names_it(tmp_path: Path) -> None:
    path = tmp_path / "trials.jsonl"
    train(tuner(path, trials=6))
    sound = path.read_bytes()

    @settings(max_examples=200, suppress_health_check=[HealthCheck.too_slow])
    @given(damaged_lines(sound))
    def check(content: bytes) -> None:
        path.write_bytes(content)
        error = ""
        try:
            read = tuner(path, trials=7)
            read.best()
            read.next(nothing_is_under_way=True)
        except DamagedError as raised:
            error = str(raised)
        assert not error or str(path) in error

    check()
