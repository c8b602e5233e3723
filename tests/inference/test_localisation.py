from dataclasses import asdict

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from clr_hpc.inference.localisation import chance, localise, mask_of, rank_correlation

BOX = mask_of([(2, 4, 4, 2)], 10)


def heat(*places: tuple[int, int, float]) -> np.ndarray:
    found = np.zeros((10, 10), np.float32)
    for row, column, value in places:
        found[row, column] = value
    return found


def test_a_box_covers_the_pixels_whose_centres_it_holds() -> None:
    assert BOX.sum() == 8
    assert BOX[4:6, 2:6].all()
    assert mask_of([(0.6, 0, 1, 1)], 10)[0].nonzero()[0].tolist() == [1]
    assert mask_of([(0, 0, 5, 10), (4, 0, 2, 10)], 10).sum() == 60, "boxes that overlap count once"


def test_figures_of_a_map() -> None:
    found = localise(heat((4, 2, 1.0), (0, 0, 0.6), (9, 9, 0.4)), BOX)
    assert found.pointing == 1
    assert found.inside == pytest.approx(0.5)
    assert found.overlap == pytest.approx(1 / 9)  # two hot pixels, one of them among the box's eight
    assert localise(heat((0, 0, 1.0)), BOX) == localise(heat((9, 9, 0.1)), BOX)
    assert localise(heat((0, 0, 1.0), (4, 3, 1.0)), BOX).pointing == 0.5


def test_a_perfect_map_has_all() -> None:
    found = localise(BOX.astype(np.float32), BOX)
    assert (found.pointing, found.inside, found.overlap) == (1, 1, 1)


@given(st.integers(0, 10**6), st.floats(0, 1), st.floats(0, 1), st.floats(0, 1), st.floats(0, 1))
def test_every_figure_is_a_share(seed: int, left: float, top: float, width: float, height: float) -> None:
    found = np.random.default_rng(seed).random((17, 17), dtype=np.float32)
    mask = mask_of([(left * 17, top * 17, width * 17, height * 17)], 17)
    figures = {**asdict(localise(found, mask)), **asdict(chance(found, mask))}
    assert {name for name, value in figures.items() if not 0 <= value <= 1} == set()


@pytest.mark.parametrize("value", [0.0, 0.3])
def test_a_map_without_places_comes_to_chance(value: float) -> None:
    flat = np.full((10, 10), value, np.float32)
    found, expected = localise(flat, BOX), chance(flat, BOX)
    assert found.pointing == found.inside == pytest.approx(expected.area) == pytest.approx(0.08)
    assert found.overlap == pytest.approx(expected.overlap)


def test_chance_is_what_random_maps_come_to() -> None:
    generator = np.random.default_rng(0)
    mask = mask_of([(10, 20, 30, 25)], 64)
    maps = [generator.random((64, 64), dtype=np.float32) ** 4 for _ in range(2000)]
    found, expected = [localise(each, mask) for each in maps], [chance(each, mask) for each in maps]
    area = 30 * 25 / 64**2
    assert {each.area for each in expected} == {area}
    assert np.mean([each.pointing for each in found]) == pytest.approx(area, abs=0.03)
    assert np.mean([each.inside for each in found]) == pytest.approx(area, abs=0.001)
    overlap = np.mean([each.overlap for each in expected])
    assert np.mean([each.overlap for each in found]) == pytest.approx(overlap, abs=0.001)


def test_chance_of_a_region_is_its_mean_over_all_places() -> None:
    found = heat((4, 2, 1.0), (4, 3, 0.8), (5, 3, 0.7), (0, 9, 0.1))
    shifted = [np.roll(found, (rows, columns), (0, 1)) for rows in range(10) for columns in range(10)]
    assert chance(found, BOX).overlap == pytest.approx(np.mean([localise(each, BOX).overlap for each in shifted]))


def test_the_middle_of_the_image() -> None:
    assert chance(heat((0, 0, 1)), mask_of([(4, 4, 2, 2)], 10)).centre == 1
    assert chance(heat((0, 0, 1)), mask_of([(5, 0, 5, 10)], 10)).centre == 0.5
    assert chance(np.ones((9, 9), np.float32), mask_of([(4, 4, 1, 1)], 9)).centre == 1


def test_rank_correlation() -> None:
    one = np.arange(16, dtype=np.float32).reshape(4, 4)
    assert rank_correlation(one, one**2) == pytest.approx(1)
    assert rank_correlation(one, -one) == pytest.approx(-1)
    assert rank_correlation(one, np.zeros((4, 4), np.float32)) is None
