import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clr_hpc.schedule.divergence import WARM_RECORDS, has_diverged

losses = st.lists(st.floats(0.01, 1e6), min_size=0, max_size=60)


@pytest.mark.parametrize("last", [math.nan, math.inf])
def test_a_loss_that_is_not_finite_has_diverged(last: float) -> None:
    assert has_diverged([last])
    assert has_diverged([1.0] * 20 + [last])


def test_single_bad_batches_have_not() -> None:
    assert not has_diverged([])
    assert not has_diverged([1.0] * 20 + [8.0])
    assert not has_diverged([0.5, 2.0] * 30)
    assert not has_diverged([1e9] * WARM_RECORDS), "nothing to compare with yet"


def test_a_loss_that_stays_high_has() -> None:
    assert has_diverged([1.0] * 20 + [8.0] * 5)


def test_it_is_the_recent_past_that_counts() -> None:
    assert not has_diverged([1.0] * 20 + [100.0] + [1.0] * 40)


@given(losses, st.floats(1e-3, 1e3))
def test_the_scale_of_the_loss_does_not_matter(seen: list[float], factor: float) -> None:
    at_the_limit = has_diverged(seen) != has_diverged([loss * 1.001 if loss > 1 else loss for loss in seen])
    if not at_the_limit:
        assert has_diverged([loss * factor for loss in seen]) == has_diverged(seen)
