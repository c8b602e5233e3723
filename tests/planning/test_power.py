import numpy as np
import pytest
from scipy import stats

from clr_hpc.planning.power import CORRELATION, SHARED, TRAINING_NOISE, Design, auroc_variance


def test_the_variance_of_an_auroc_is_that_of_drawn_ones() -> None:
    """Exponential scores, for which Hanley and McNeil's formula is exact, with an AUROC of 0.75."""
    generator = np.random.default_rng(0)
    positives, negatives = 3 * generator.exponential(size=(4000, 20)), generator.exponential(size=(4000, 80))
    drawn = (positives[:, :, None] > negatives[:, None, :]).mean(axis=(1, 2))
    assert drawn.mean() == pytest.approx(0.75, abs=0.005)
    assert drawn.var() == pytest.approx(auroc_variance(20, 80), rel=0.06)


@pytest.mark.parametrize(("seeds", "policies"), [(3, 1), (5, 1), (5, 4)])
def test_power_is_that_of_drawn_studies(seeds: int, policies: int) -> None:
    """Each seed's mean difference is drawn as the module's constants say; the test is Student's."""
    design = Design(positives=(50,) * 14, negatives=(950,) * 14, seeds=seeds, policies=policies)
    generator = np.random.default_rng(1)
    noise = (
        auroc_variance(50, 950) * (1 - CORRELATION) / 14,
        TRAINING_NOISE**2 * SHARED,
        TRAINING_NOISE**2 * (1 - SHARED) / 14,
    )
    drawn = 0.02 + np.sum([generator.normal(0, np.sqrt(2 * each), (20_000, seeds)) for each in noise], axis=0)
    found = stats.ttest_1samp(drawn, 0.0, axis=1)
    is_found = (found.pvalue < 0.05 / policies) & (found.statistic > 0)
    assert design.power(0.02) == pytest.approx(is_found.mean(), abs=0.012)


def test_one_seed_finds_nothing_and_more_find_smaller_differences() -> None:
    one, *several = [Design((100,) * 14, (900,) * 14, seeds, 1) for seeds in (1, 3, 5, 10)]
    assert one.power(0.2) == 0.0
    assert one.smallest_difference() is None
    smallest = [design.smallest_difference() or 0.0 for design in several]
    assert 0 < smallest[2] < smallest[1] < smallest[0]


def test_the_seeds_for_a_difference_are_the_fewest() -> None:
    design = Design((200,) * 14, (1800,) * 14, 1, 2)
    enough = design.seeds_for(0.01)
    assert enough is not None
    assert Design(design.positives, design.negatives, enough, 2).power(0.01) >= 0.8
    assert Design(design.positives, design.negatives, enough - 1, 2).power(0.01) < 0.8
    assert Design((5,), (20,), 1, 5).seeds_for(0.001) is None
