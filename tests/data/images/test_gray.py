import numpy as np
import pytest

from clr_hpc.data.images.gray import check_blank, fit_square
from clr_hpc.data.source import RejectedImageError


def reason(gray: np.ndarray) -> str | None:
    try:
        check_blank(gray.astype(np.uint8))
    except RejectedImageError as error:
        return str(error)
    return None


@pytest.mark.parametrize("shape", [(16, 16), (64, 200), (1000, 700)])
def test_an_image_that_shows_nothing_is_rejected(shape: tuple[int, int]) -> None:
    black = np.zeros(shape)
    marked, half = black.copy(), black.copy()
    marked[:1, :2] = 255
    half[shape[0] // 2 :] = 20
    noisy = 100 + np.random.default_rng(0).integers(0, 4, shape)
    assert reason(black) == "blank: black"
    assert reason(black + 77) == "blank: all pixels are 77 of 255"
    assert reason(marked) == "blank: 98 % of the pixels are between 0 and 0 of 255"
    assert reason(noisy) == "blank: 98 % of the pixels are between 100 and 103 of 255"
    assert reason(half) is None
    assert reason(np.tile(np.linspace(0, 60, shape[1]), (shape[0], 1))) is None


def test_a_picture_of_pixels_that_are_not_square_keeps_its_shape() -> None:
    """A disc in rows twice as far apart as columns fills half the rows."""
    y, x = np.mgrid[-1:1:100j, -1:1:200j]
    gray = np.where(x**2 + y**2 < 0.8, 255, 0).astype(np.uint8)
    square = fit_square(gray, 50, aspect=2.0)
    assert np.abs(square.astype(int) - fit_square(gray.T.copy(), 50, aspect=0.5).T.astype(int)).max() <= 1
    assert (square[25, :] > 128).sum() == (square[:, 25] > 128).sum() == 44


def test_no_direction_is_enlarged() -> None:
    with pytest.raises(RejectedImageError, match="100 × 100 is smaller than the 101 × 101 of the pack"):
        fit_square(np.zeros((100, 200), np.uint8), 101, aspect=2.0)
    assert fit_square(np.zeros((100, 200), np.uint8), 100, aspect=2.0).shape == (100, 100)
