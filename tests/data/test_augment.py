import numpy as np
import pytest
import torch

from clr_hpc.config.run import Augmentation, Normalisation
from clr_hpc.data.augment import _sampling_grid, draw_transforms, prepare

NOTHING = {
    "flip_probability": 0.0,
    "rotation_degrees": 0.0,
    "shift_fraction": 0.0,
    "scale_fraction": 0.0,
    "brightness_fraction": 0.0,
}
IDENTITY = Normalisation(mean=0, std=1)


@pytest.fixture
def pixels() -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(0).integers(0, 256, (5, 32, 32), dtype=np.uint8))


def changed(pixels: torch.Tensor, seed: int = 0, **augmentation: float) -> torch.Tensor:
    drawn = draw_transforms(Augmentation(**(NOTHING | augmentation)), len(pixels), np.random.default_rng(seed))
    return prepare(pixels, pixels.shape[-1], IDENTITY, drawn)


def test_model_sees_what_the_spec_says(pixels: torch.Tensor) -> None:
    images = prepare(pixels, 32, Normalisation(mean=0.4, std=0.2))
    assert images.shape == (5, 1, 32, 32)
    assert images.dtype == torch.float32
    torch.testing.assert_close(images[:, 0], (pixels / 255 - 0.4) / 0.2)


def test_shrinking_averages_areas(pixels: torch.Tensor) -> None:
    images = prepare(pixels, 8, IDENTITY)
    expected = pixels.float().reshape(5, 8, 4, 8, 4).mean(dim=(2, 4)) / 255
    torch.testing.assert_close(images[:, 0], expected)


def test_no_augmentation_draws_nothing() -> None:
    assert draw_transforms(Augmentation(**NOTHING), 4, np.random.default_rng(0)) is None


def test_flip_mirrors_left_and_right(pixels: torch.Tensor) -> None:
    torch.testing.assert_close(changed(pixels, flip_probability=1)[:, 0], pixels.flip(-1) / 255, atol=1e-5, rtol=0)


def test_half_are_flipped() -> None:
    drawn = draw_transforms(Augmentation(flip_probability=0.5), 4000, np.random.default_rng(0))
    assert drawn is not None
    flipped = drawn[:, 0] < 0
    assert 0.45 < flipped.float().mean() < 0.55


def test_brightness_is_a_factor_within_its_bound(pixels: torch.Tensor) -> None:
    images = changed(pixels, brightness_fraction=0.3)
    factors = (images[:, 0] / (pixels / 255).clamp(min=1e-9)).reshape(5, -1).median(dim=1).values
    assert ((factors > 0.7) & (factors < 1.3)).all()
    assert len(factors.unique()) == 5
    torch.testing.assert_close(images[:, 0], pixels / 255 * factors[:, None, None], atol=1e-4, rtol=0)


def test_a_shift_moves_the_image_by_at_most_its_fraction() -> None:
    dot = torch.zeros(200, 65, 65, dtype=torch.uint8)
    dot[:, 32, 32] = 255
    images = changed(dot, shift_fraction=0.1)[:, 0]
    rows = (images.sum(dim=2) * torch.arange(65)).sum(dim=1) / images.sum(dim=(1, 2))
    moved = (rows - 32).abs()
    assert moved.max() <= 6.5 + 1e-3
    assert moved.max() > 5


def test_a_rotation_keeps_the_centre_and_lengths() -> None:
    dots = torch.zeros(100, 65, 65, dtype=torch.uint8)
    dots[:, 32, 52] = 255
    images = changed(dots, rotation_degrees=20)[:, 0]
    mass = images.sum(dim=(1, 2))
    x = (images.sum(dim=1) * (torch.arange(65) - 32)).sum(dim=1) / mass
    y = (images.sum(dim=2) * (torch.arange(65) - 32)).sum(dim=1) / mass
    angles = torch.rad2deg(torch.atan2(y, x)).abs()
    torch.testing.assert_close(torch.hypot(x, y), torch.full_like(x, 20.0), atol=0.2, rtol=0)
    assert 15 < angles.max() <= 20.5


def test_a_change_is_of_one_image_alone(pixels: torch.Tensor) -> None:
    drawn = draw_transforms(Augmentation(), 5, np.random.default_rng(3))
    assert drawn is not None
    together = prepare(pixels, 32, IDENTITY, drawn)
    for number in range(5):
        alone = prepare(pixels[number : number + 1], 32, IDENTITY, drawn[number : number + 1])
        torch.testing.assert_close(alone, together[number : number + 1])


def test_sampling_grid_is_torchs() -> None:
    matrices = torch.randn(4, 2, 3, generator=torch.Generator().manual_seed(0))
    expected = torch.nn.functional.affine_grid(matrices, [4, 1, 9, 9], align_corners=False)
    torch.testing.assert_close(_sampling_grid(matrices, 9), expected)
