"""Laws of asynchronous successive halving."""

from hypothesis import given
from hypothesis import strategies as st

from clr_hpc.tuning.asynchronous_halving import last_promotion, promotion

Losses = dict[int, float]
losses = st.dictionaries(st.integers(0, 30), st.floats(0, 1, allow_nan=False), max_size=30)
reductions = st.integers(2, 5)


@given(losses, reductions)
def test_of_so_many_trials_one_goes_on(reached: Losses, reduction: int) -> None:
    gone: set[int] = set()
    while (promoted := promotion([reached], [gone], reduction)) is not None:
        trial, rung = promoted
        assert (rung, trial in gone) == (0, False)
        gone.add(trial)
    assert len(gone) == len(reached) // reduction
    if gone:
        stayed = [loss for trial, loss in reached.items() if trial not in gone]
        assert max(reached[trial] for trial in gone) <= min(stayed)


@given(losses, reductions, st.data())
def test_nobody_goes_on_twice_whoever_went_before(reached: Losses, reduction: int, data: st.DataObject) -> None:
    gone = data.draw(st.sets(st.sampled_from(sorted(reached)))) if reached else set()
    promoted = promotion([reached], [gone], reduction)
    assert promoted is None or promoted[0] not in gone


def test_the_higher_rung_comes_first() -> None:
    reached = [dict.fromkeys(range(6), 0.5), {0: 0.3, 1: 0.2}]
    assert promotion(reached, [{0, 1}, set()], 2) == (1, 1)
    assert promotion(reached, [{0, 1}, {1}], 2) == (2, 0)


def test_a_better_trial_that_comes_late_still_goes_on() -> None:
    early = {0: 0.5, 1: 0.6}
    assert promotion([early], [set()], 2) == (0, 0)
    assert promotion([early | {2: 0.7}], [{0}], 2) is None
    assert promotion([early | {2: 0.1}], [{0}], 2) == (2, 0)


@given(losses, losses)
def test_a_search_of_few_trials_ends_with_the_best_of_the_highest_rung(low: Losses, high: Losses) -> None:
    promoted = last_promotion([low, high], [set(high), set()])
    if high:
        assert promoted is not None
        assert (promoted[1], high[promoted[0]]) == (1, min(high.values()))
    elif low:
        assert promoted is not None
        assert (promoted[1], low[promoted[0]]) == (0, min(low.values()))
    else:
        assert promoted is None
