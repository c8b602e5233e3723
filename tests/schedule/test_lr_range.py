"""What a range test reads off curves whose answers are known, and when it refuses."""

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import parts.quadratics as quadratics
from clr_hpc.schedule.lr_agreement import Agreement, agree
from clr_hpc.schedule.lr_range import Curve, Refusal, Suggestion, suggest

COUNT = 200
RATES = np.logspace(-5, 0, COUNT)


def curve(
    middle: float = 1e-3,
    fall: float = 0.5,
    sharpness: float = 4.0,
    rises_from: float = math.inf,
    noise: float = 0.0,
    seed: int = 0,
    rates: np.ndarray = RATES,
) -> Curve:
    """Return a loss that falls along a logistic curve of the rate's logarithm, by half of its fall at ``middle``.

    ``sharpness`` is the curve's, per decade. Beyond ``rises_from`` the loss grows as a power of the rate.
    Batches differ from each other by more than training changes them; ``noise`` comes on top of that.
    """
    random = np.random.default_rng(seed)
    batch = random.gamma(4.0, 0.25, len(rates))
    decades = np.log10(rates / middle)
    level = 1 - fall / (1 + np.exp(-sharpness * decades))
    if rises_from < math.inf:
        level = level * np.maximum(1.0, rates / rises_from)
    return Curve(rates, batch * (level + noise * random.standard_normal(len(rates))), batch)


def suggestion(of: Curve) -> Suggestion:
    found = suggest(of)
    assert isinstance(found, Suggestion), found
    return found


def middle_of(found: Suggestion) -> float:
    return math.sqrt(found.lr_min * found.lr_max)


def refusal(of: Curve) -> str:
    found = suggest(of)
    assert isinstance(found, Refusal), found
    return found.reason


def test_rates_stand_at_a_tenth_and_nine_tenths_of_the_fall() -> None:
    found = suggestion(curve(middle=1e-3, sharpness=4))
    tenth = math.log(9) / 4  # decades from the middle of a logistic curve
    assert math.log10(middle_of(found)) == pytest.approx(-3, abs=0.03)
    assert found.lr == pytest.approx(found.lr_max / 3)
    # smoothing widens the fall a little
    assert math.log10(found.lr_min) == pytest.approx(-3 - tenth, abs=0.1)
    assert math.log10(found.lr_max) == pytest.approx(-3 + tenth, abs=0.1)
    assert found.fall == pytest.approx(0.5, abs=0.01)
    assert "falls by 50%" in found.reason


@pytest.mark.parametrize("seed", range(8))
def test_noise_moves_them_little(seed: int) -> None:
    clean, noisy = suggestion(curve()), suggestion(curve(noise=0.1, seed=seed))
    for name in ("lr_min", "lr", "lr_max"):
        assert abs(math.log10(getattr(noisy, name) / getattr(clean, name))) < 0.4, name


def test_bounds_far_apart_and_near_each_other_have_a_rate_between_them() -> None:
    wide, near = suggestion(curve(1e-4, 0.3, 8, rises_from=2e-2)), suggestion(curve(fall=0.3, sharpness=12))
    assert wide.lr == pytest.approx(wide.lr_max / 3)
    assert near.lr == pytest.approx(middle_of(near))
    assert near.lr > near.lr_max / 3


def test_batches_that_differ_are_no_noise() -> None:
    """A fall of 3 % is found though losses differ from batch to batch by half of their mean."""
    found = suggestion(curve(fall=0.03))
    assert math.log10(middle_of(found)) == pytest.approx(-3, abs=0.05)


@settings(max_examples=30)
@given(st.floats(1e-3, 1e3), st.floats(1e-3, 1e3))
def test_scales_of_loss_and_rate_change_nothing_else(of_loss: float, of_rate: float) -> None:
    given_curve = curve(noise=0.05)
    scaled = Curve(given_curve.rates * of_rate, given_curve.losses * of_loss, given_curve.untrained * of_loss)
    one, other = suggestion(given_curve), suggestion(scaled)
    for name in ("lr_min", "lr", "lr_max"):
        assert getattr(other, name) == pytest.approx(getattr(one, name) * of_rate, rel=1e-9)


@settings(max_examples=30)
@given(st.floats(3e-4, 3e-3), st.floats(3e-4, 3e-3))
def test_a_fall_at_higher_rates_suggests_higher_rates(one: float, other: float) -> None:
    lower, higher = (suggestion(curve(middle=middle)) for middle in sorted((one, other)))
    for name in ("lr_min", "lr", "lr_max"):
        assert getattr(lower, name) <= getattr(higher, name)


@settings(max_examples=30)
@given(st.floats(1e-4, 1e-2), st.floats(0.05, 0.9), st.floats(2.5, 10), st.integers(0, 100))
def test_rates_are_in_order_and_within_the_test(middle: float, fall: float, sharpness: float, seed: int) -> None:
    found = suggest(curve(middle, fall, sharpness, noise=0.02, seed=seed))
    if isinstance(found, Suggestion):
        assert RATES[0] < found.lr_min < found.lr < found.lr_max < RATES[-1]


def test_the_loss_may_diverge_after_its_fall() -> None:
    clean, diverging = suggestion(curve()), suggestion(replace(curve(rises_from=0.1), diverged=True))
    assert diverging.lr_min == pytest.approx(clean.lr_min, rel=0.01)
    # half of the fall, which is a half, is left at 0.75 / 0.5 of the rate where it begins to rise
    assert diverging.lr_max == pytest.approx(0.15, rel=0.25)
    assert diverging.reason.endswith("it diverges")


@pytest.mark.parametrize("noise", [0.0, 0.05])
def test_a_turn_that_comes_later_puts_only_the_upper_bound_higher(noise: float) -> None:
    """The same fall, on whose floor the loss stays for one or for two decades."""
    short, long = (suggestion(curve(1e-4, 0.3, 8, rises_from=turn, noise=noise)) for turn in (2e-3, 2e-2))
    assert short.lr_min == pytest.approx(long.lr_min, rel=0.05)
    assert long.lr_max / short.lr_max == pytest.approx(10, rel=0.3)
    assert long.lr / short.lr == pytest.approx(10, rel=0.3)


@pytest.mark.parametrize(
    ("end", "then", "upper"), [(0.77, "rises", 120), (0.95, "loses half", 120), (0.7, "stays", 60)]
)
def test_what_the_loss_does_after_its_fall_decides_on_the_upper_bound(end: float, then: str, upper: int) -> None:
    """It falls by 0.3 up to record 50 or so, and jumps to another level at record 120."""
    test = curve(middle=1e-4, fall=0.3, sharpness=8, noise=0.01)
    level = test.losses / test.untrained
    level[120:] += end - 0.7
    found = suggestion(replace(test, losses=level * test.untrained))
    assert found.then == then
    assert np.searchsorted(RATES, found.lr_max) == pytest.approx(upper, abs=10)


def test_what_follows_a_large_rise_does_not_count() -> None:
    """Ragged curves come down again by chance, deeper than where they were smooth."""
    ragged = curve(middle=3e-4, fall=0.2, sharpness=8)
    level = ragged.losses / ragged.untrained
    level[125:160], level[160:] = 1.4, 0.5
    found = suggestion(replace(ragged, losses=level * ragged.untrained))
    assert found.fall == pytest.approx(0.2, abs=0.02)
    assert found.lr_max < RATES[125]


def test_a_plateau_without_a_turn_does_not_draw_the_upper_bound_to_its_end() -> None:
    flat_end = suggestion(curve(middle=1e-4, sharpness=8, noise=0.02))
    assert flat_end.lr_max < 1e-3


@pytest.mark.parametrize(
    ("level", "said"),
    [(0.9, "of the fall, 20% is learning how frequent"), (0.5, "falls no lower than one answer"), (1.0, "")],
)
def test_what_one_answer_for_all_images_reaches_is_told_apart(level: float, said: str) -> None:
    test = curve(fall=0.5)
    found = suggestion(replace(test, constant_answer=level * float(test.untrained.mean())))
    assert said in found.reason
    assert ("frequent" in found.reason) == bool(said)
    assert (found.lr_min, found.lr_max) == (suggestion(test).lr_min, suggestion(test).lr_max)


@pytest.mark.parametrize("noise", [0.0, 0.02, 0.3])
@pytest.mark.parametrize("seed", range(10))
def test_a_flat_curve_is_refused(noise: float, seed: int) -> None:
    assert "flat" in refusal(curve(fall=0.0, noise=noise, seed=seed))


def test_a_curve_that_falls_from_the_first_rate_is_refused() -> None:
    assert "lower lr_min in range_test.rates" in refusal(curve(middle=1e-6))


def test_a_curve_that_still_falls_at_the_last_rate_is_refused() -> None:
    assert "raise lr_max in range_test.rates" in refusal(curve(middle=1.0))


def test_divergence_at_once_is_refused() -> None:
    rising = curve(fall=0.0, rises_from=1e-3)
    assert "diverges at 1 without having fallen" in refusal(replace(rising, diverged=True))


def test_few_losses_are_refused() -> None:
    few = curve(rates=RATES[:30])
    assert "has 30 losses, and 40 are needed" in refusal(few)
    assert "diverged after 30 losses" in refusal(replace(few, diverged=True))


def test_a_fall_within_one_step_is_refused() -> None:
    steep = curve()
    level = np.where(RATES < 1e-3, 1.0, 0.5)
    found = suggest(replace(steep, losses=level * steep.untrained))
    assert isinstance(found, Suggestion), "smoothing makes a slope of it"


def agreement(curves: Sequence[Curve]) -> Agreement:
    found = agree(curves)
    assert isinstance(found, Agreement), found
    return found


def test_seeds_are_put_together_and_their_spread_is_told() -> None:
    middles = (2e-3, 5e-4, 1e-3)
    found = agreement([curve(middle=middle, seed=seed) for seed, middle in enumerate(middles)])
    assert math.log10(middle_of(found.suggestion)) == pytest.approx(-3, abs=0.1)
    assert found.lowest.lr < found.suggestion.lr < found.highest.lr
    # without the first seed, the middle is between those of the others
    assert 5e-4 < middle_of(found.lowest) < 1e-3 < middle_of(found.highest) < 2e-3
    assert found.refused == ()


def test_seeds_together_show_a_weak_fall_more_often_and_more_exactly_than_single_ones() -> None:
    groups = [[curve(fall=0.06, noise=0.1, seed=12 * group + seed) for seed in range(12)] for group in range(10)]
    alone = [found for group in groups for one in group if isinstance(found := suggest(one), Suggestion)]
    together = [found.suggestion for group in groups if isinstance(found := agree(group), Agreement)]
    assert len(together) / 10 > len(alone) / 120
    off = [np.median([abs(math.log10(middle_of(found)) + 3) for found in those]) for those in (alone, together)]
    assert off[1] < off[0]


@pytest.mark.parametrize("first_seed", range(0, 30, 3))
def test_several_flat_seeds_are_refused(first_seed: int) -> None:
    found = agree([curve(fall=0.0, noise=0.2, seed=first_seed + seed) for seed in range(3)])
    assert isinstance(found, Refusal)


def test_seeds_that_disagree_are_refused() -> None:
    found = agree([curve(middle=middle, seed=seed) for seed, middle in enumerate((1e-4, 1e-2))])
    assert isinstance(found, Refusal)
    assert "more than a factor of 10 apart" in found.reason


def test_seeds_count_up_to_where_the_first_ends() -> None:
    whole, short = curve(seed=1), curve(seed=2)
    short = Curve(short.rates[:150], short.losses[:150], short.untrained[:150], diverged=True)
    found = agreement([whole, short])
    assert found.suggestion.lr_max < RATES[150]
    assert found.suggestion.reason.endswith("then it diverges")


def test_one_seed_has_no_spread() -> None:
    found = agreement([curve()])
    assert found.lowest == found.suggestion == found.highest


QUADRATICS: list[tuple[float, ...]] = [(4.0,), (400.0,), (40000.0,), tuple(np.geomspace(0.04, 400, 40))]


def share_of_limit(curvatures: Sequence[float], steps: int, **settings: float) -> float:
    """Return the upper bound that three seeds suggest as a share of the highest stable rate."""
    found = agreement([quadratics.range_test(curvatures, steps, seed=seed, **settings) for seed in range(3)])
    return found.suggestion.lr_max / quadratics.limit(curvatures, settings.get("momentum", 0.0))


@pytest.mark.parametrize("curvatures", QUADRATICS, ids=["low", "middle", "high", "four decades"])
@pytest.mark.parametrize("settings", [{}, {"floor": 1.0}, {"noise": 0.01}, {"noise": 0.1, "floor": 1.0}])
def test_the_upper_bound_is_below_the_limit_whatever_the_number_of_steps(
    curvatures: tuple[float, ...], settings: dict[str, float]
) -> None:
    shares = [share_of_limit(curvatures, steps, **settings) for steps in (200, 400, 1000)]
    assert min(shares) > 0.4
    assert max(shares) < 0.9
    assert max(shares) / min(shares) < 1.6


@pytest.mark.parametrize("settings", [{}, {"noise": 0.01, "floor": 1.0}])
def test_with_momentum_it_is_at_least_a_third_of_the_limit(settings: dict[str, float]) -> None:
    shares = [share_of_limit((400.0,), steps, momentum=0.9, **settings) for steps in (200, 400, 1000)]
    assert min(shares) > 1 / 3
    assert max(shares) < 0.9


@pytest.mark.parametrize("steps_per_record", [2, 4])
def test_several_steps_of_a_record_are_told_from_fast_growth(steps_per_record: int) -> None:
    each = quadratics.range_test((400.0,), 300 * steps_per_record, noise=0.01, floor=1.0)
    count = len(each.rates) // steps_per_record * steps_per_record
    rates, losses, untrained = (
        values[:count].reshape(-1, steps_per_record).mean(axis=1)
        for values in (each.rates, each.losses, each.untrained)
    )
    found = suggestion(Curve(rates, losses, untrained, diverged=True, steps_per_record=steps_per_record))
    assert 0.4 < found.lr_max / quadratics.limit((400.0,)) < 0.9


def test_a_loss_that_is_infinite_at_once_leaves_the_bound_well_below() -> None:
    whole = curve(middle=1e-4, noise=0.02)
    found = suggestion(Curve(whole.rates[:150], whole.losses[:150], whole.untrained[:150], diverged=True))
    assert found.then == "diverges"
    assert RATES[149] / 5 < found.lr_max < RATES[149] / 2
    assert f"steps are stable up to {found.lr_max:.2g}; then it diverges" in found.reason
