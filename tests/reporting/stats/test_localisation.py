from typing import Any

import numpy as np
import pytest
from made_records import explanations
from scipy.stats import binomtest

from clr_hpc.reporting.stats.bootstrap import Interval
from clr_hpc.reporting.stats.difference import Difference, Variance, mean_difference
from clr_hpc.reporting.stats.localisation import Located, found_boxes
from clr_hpc.store.explanations import ExplanationsRecord


def record(**changes: Any) -> ExplanationsRecord:
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


def test_a_one_class_models_rivals_are_its_maps_of_other_images() -> None:
    given = record()
    given["findings"][0]["rival"] = "other images"
    (found,) = found_boxes(given, np.random.default_rng(0))
    assert found.inside.result == "better than chance and maps of other images"


def test_images_of_one_patient_are_no_two_trials() -> None:
    """Ten patients of two images are worth ten trials at most, twenty of one image nearly twenty."""
    width = {}
    for images_each in (1, 2):
        given = record()
        for number, image in enumerate(given["findings"][0]["images"]):
            image["patient"] = str(number // images_each)
        (found,) = found_boxes(given, np.random.default_rng(0))
        assert found.pointing.interval is not None
        width[images_each] = found.pointing.interval.high - found.pointing.interval.low
    exact = [binomtest(hits, trials).proportion_ci() for hits, trials in ((10, 20), (5, 10))]
    assert width[2] == pytest.approx(exact[1].high - exact[1].low)
    assert exact[0].high - exact[0].low < width[1] < width[2]


def test_no_hit_of_a_few_is_no_sure_thing() -> None:
    """None of 20 where a random place hits one in ten: so it comes out in one of eight such sets of images."""
    given = record()
    for number, image in enumerate(given["findings"][0]["images"]):
        image["patient"] = str(number)
        image["trained"]["pointing"], image["area"] = 0.0, 0.1 + number / 10000
    (found,) = found_boxes(given, np.random.default_rng(0))
    assert found.pointing.result == "no significant difference from chance"
    expected = binomtest(0, 20).proportion_ci()
    assert found.pointing.interval == Interval(0.0, pytest.approx(expected.high))


def test_how_often_maps_that_know_nothing_are_called_better_or_worse() -> None:
    generator = np.random.default_rng(0)
    called = 0
    for _ in range(200):
        given = record(images=30)
        for number, image in enumerate(given["findings"][0]["images"]):
            image["patient"] = str(number)
            image["area"] = float(generator.uniform(0.02, 0.15))
            image["trained"]["pointing"] = float(generator.random() < image["area"])
        (found,) = found_boxes(given, generator)
        called += found.pointing.result != "no significant difference from chance"
    assert called <= 200 * 0.09


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
