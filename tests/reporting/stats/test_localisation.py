import numpy as np
import pytest
from made_records import explanations

from clr_hpc.reporting.stats.bootstrap import Interval
from clr_hpc.reporting.stats.difference import Difference, Variance, mean_difference
from clr_hpc.reporting.stats.localisation import Located, found_boxes
from clr_hpc.store.explanations import ExplanationsRecord


def record(**changes: object) -> ExplanationsRecord:
    found: ExplanationsRecord = explanations("effusion", **changes)  # type: ignore[assignment]
    return found


def test_figures_are_means_over_images() -> None:
    (found,) = found_boxes(record(), np.random.default_rng(0))
    assert (found.finding, found.images, found.patients, found.without_heat) == ("Effusion", 20, 10, 1)
    assert found.pointing.value == 0.5
    assert (found.pointing.chance, found.pointing.random) == (pytest.approx(0.2), pytest.approx(0.2))
    assert found.inside.value == pytest.approx(0.3 + 9.5 / 100)
    assert found.overlap.chance == pytest.approx(0.1)
    assert found.rank_correlation == pytest.approx(0.1)
    assert found.inside.interval is not None
    assert found.inside.interval.low < found.inside.value < found.inside.interval.high
    assert found.inside.result == "better than chance and random weights"


def test_images_of_one_patient_count_as_one() -> None:
    """Half of each patient's maps point inside: another set of such patients would come to the same."""
    (found,) = found_boxes(record(), np.random.default_rng(0))
    assert found.pointing.interval is not None
    assert found.pointing.interval.high - found.pointing.interval.low < 1e-6
    alone = record()
    for number, image in enumerate(alone["findings"][0]["images"]):
        image["patient"] = str(number)
    (found,) = found_boxes(alone, np.random.default_rng(0))
    assert found.pointing.interval is not None
    assert found.pointing.interval.high - found.pointing.interval.low > 0.3


def test_where_every_map_hits_the_interval_is_the_exact_one() -> None:
    every = record()
    for image in every["findings"][0]["images"]:
        image["trained"]["pointing"] = 1.0
    (found,) = found_boxes(every, np.random.default_rng(0))
    assert found.pointing.interval == Interval(pytest.approx(0.025 ** (1 / 10)), 1.0)


def test_one_patient_shows_no_interval() -> None:
    (found,) = found_boxes(record(images=1), np.random.default_rng(0))
    assert found.inside.interval is None
    assert found.inside.result == "no significant difference from chance"
    assert np.isnan(found.rank_correlation)


def test_a_mean_difference_is_that_of_a_t_test_where_patients_have_one_image() -> None:
    from scipy import stats

    values = np.random.default_rng(1).normal(0.1, 0.3, 200)
    found = mean_difference(values, np.arange(200, dtype=np.int32))
    expected = stats.ttest_1samp(values, 0.0).confidence_interval()
    assert found.patient_interval is not None
    assert (found.patient_interval.low, found.patient_interval.high) == pytest.approx(tuple(expected), abs=2e-4)


@pytest.mark.parametrize(
    ("chance", "random", "middle", "result"),
    [
        (0.2, 0.2, None, "better than chance and random weights"),
        (0.2, 0.01, None, "better than chance, not than random weights"),
        (0.2, 0.2, 0.2, "better than chance, random weights and the middle of the image"),
        (0.2, 0.2, -0.2, "better than chance and random weights, not than the middle of the image"),
        (0.2, 0.01, -0.2, "better than chance, not than random weights or the middle of the image"),
        (0.01, 0.2, 0.2, "no significant difference from chance"),
        (-0.2, 0.2, 0.2, "worse than chance"),
    ],
)
def test_results_in_words(chance: float, random: float, middle: float | None, result: str) -> None:
    known = Variance(0.05**2, 1e6)
    over_middle = None if middle is None else Difference(middle, known)
    located = Located(0.3, None, 0.1, 0.1, Difference(chance, known), Difference(random, known), over_middle)
    assert located.result == result
