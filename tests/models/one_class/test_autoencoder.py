import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from clr_hpc.config.task import Autoencoder
from clr_hpc.models.one_class.autoencoder import AutoencoderModel
from clr_hpc.models.one_class.structural_similarity import C1, C2, SIGMA, structural_similarity

OPTIONS = [{}, {"normalised": True}, {"residual": "ssim"}, {"residual": "ssim", "normalised": True}]


def built(seed: int = 0, code_channels: int = 16, **options: object) -> AutoencoderModel:
    return AutoencoderModel(Autoencoder(code_channels=code_channels, **options), seed)


def reconstruct(model: AutoencoderModel, images: Tensor) -> Tensor:
    with torch.no_grad():
        return model.scores(model(images), images)


@pytest.mark.parametrize("side", [32, 50, 64, 224])
def test_any_side_is_reconstructed(side: int) -> None:
    model = built().eval()
    assert model(torch.randn(2, 1, side, side)).shape == (2, 1, side, side)


def test_it_is_small() -> None:
    assert sum(parameter.numel() for parameter in built().parameters()) < 1_000_000


@pytest.mark.parametrize("options", OPTIONS)
def test_exposure_does_not_matter(options: dict[str, object]) -> None:
    model = built(**options).eval()
    images = torch.randn(3, 1, 32, 32, generator=torch.Generator().manual_seed(0))
    if model.fits_scores:
        model.fit_scores([images])
    torch.testing.assert_close(
        reconstruct(model, 3 * images + 2), reconstruct(model, images), rtol=1e-4, atol=1e-4
    )


@pytest.mark.parametrize("options", OPTIONS)
def test_a_blank_image_has_a_score(options: dict[str, object]) -> None:
    assert reconstruct(built(**options).eval(), torch.full((1, 1, 32, 32), 0.7)).isfinite().all()


@pytest.mark.parametrize("options", OPTIONS)
def test_it_learns_what_it_sees_and_not_what_it_never_saw(
    batches: list[Tensor], options: dict[str, object]
) -> None:
    model = built(code_channels=4, **options)
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    for _ in range(20):
        for images in batches:
            loss = model.losses(model(images), images, torch.zeros(len(images))).mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    model.eval()
    if model.fits_scores:
        model.fit_scores(batches)
    seen = reconstruct(model, torch.cat(batches))
    odd = torch.cat(batches).clone()
    odd[:, :, 8:14, 8:14] *= -1
    loss = model.losses(model(odd), odd, torch.zeros(60))
    assert seen.mean() < (1.0 if model.fits_scores else 0.5)
    assert (reconstruct(model, odd) > seen).float().mean() > 0.75
    assert (
        loss > model.losses(model(torch.cat(batches)), torch.cat(batches), torch.zeros(60))
    ).float().mean() > 0.75
    with torch.no_grad():
        heat = model.heat(odd)
    assert heat.shape == (60, 32, 32)
    inside = torch.zeros(32, 32, dtype=torch.bool)
    inside[8:14, 8:14] = True
    assert heat[:, inside].mean() > 2 * heat[:, ~inside].mean()


def test_weights_are_a_function_of_the_seed_alone() -> None:
    one, two, other = (built(seed, 4).state_dict() for seed in (0, 0, 1))
    assert all(torch.equal(one[name], two[name]) for name in one)
    assert any(not torch.equal(one[name], other[name]) for name in one)


def noisy(rim: float, count: int = 40, seed: int = 0) -> Tensor:
    """Images whose rim, which no network can foresee, is ``rim`` times as noisy as their middle."""
    noise = torch.randn(count, 1, 32, 32, generator=torch.Generator().manual_seed(seed))
    noise[:, :, :8] *= rim
    return noise


@pytest.mark.parametrize("residual", ["squared", "ssim"])
def test_a_place_that_varies_in_training_images_counts_less(residual: str) -> None:
    images = noisy(rim=3)
    model = built(residual=residual, normalised=True).eval()
    model.fit_scores(images.split(7))
    with torch.no_grad():
        scores = model.scores(model(images), images)
    assert model.usual.shape == (32, 32)
    assert float(scores.mean()) == pytest.approx(1, abs=0.05), "training images are as usual"
    if residual == "squared":
        assert model.usual[:6].mean() > 4 * model.usual[10:].mean()


def test_the_parts_of_training_images_do_not_matter() -> None:
    images = noisy(rim=2)
    one, other = built(normalised=True).eval(), built(normalised=True).eval()
    one.fit_scores([images])
    other.fit_scores(images.split(9))
    torch.testing.assert_close(one.usual, other.usual)


@pytest.mark.parametrize("options", OPTIONS)
def test_a_loaded_state_gives_the_same_scores(options: dict[str, object]) -> None:
    images = noisy(rim=2)
    model, loaded = built(**options).eval(), built(1, **options).eval()
    if model.fits_scores:
        model.fit_scores([images])
    loaded.load_state_dict(model.state_dict())
    assert torch.equal(reconstruct(loaded, images), reconstruct(model, images))
    assert ("usual" in model.state_dict()) == model.fits_scores


def naive_similarity(one: NDArray[np.float64], other: NDArray[np.float64]) -> NDArray[np.float64]:
    """Place by place, from weighted means and covariances in float64."""
    offsets = np.arange(-5, 6)
    weights = np.exp(-(offsets[:, None] ** 2 + offsets**2) / (2 * SIGMA**2))
    weights /= weights.sum()
    padded = [np.pad(image, 5, mode="reflect") for image in (one, other)]
    found = np.empty_like(one)
    for row, column in np.ndindex(*one.shape):
        x, y = (image[row : row + 11, column : column + 11] for image in padded)
        (mean_x, mean_y) = ((weights * each).sum() for each in (x, y))
        covariance = (weights * (x - mean_x) * (y - mean_y)).sum()
        spread = (weights * (x - mean_x) ** 2).sum() + (weights * (y - mean_y) ** 2).sum()
        found[row, column] = (
            (2 * mean_x * mean_y + C1) * (2 * covariance + C2) / ((mean_x**2 + mean_y**2 + C1) * (spread + C2))
        )
    return found


def test_similarity_is_that_of_its_authors(batches: list[Tensor]) -> None:
    images = torch.cat(batches)[:2, :, :, :20] / 6 + 0.5
    noise = torch.randn(images.shape, generator=torch.Generator().manual_seed(0))
    others = [images + 0.1 * noise, 1 - images, images.clone()]
    for other in others:
        found = structural_similarity(images, other)
        assert found.shape == images.shape
        for number in range(2):
            expected = naive_similarity(images[number, 0].double().numpy(), other[number, 0].double().numpy())
            np.testing.assert_allclose(found[number, 0], expected, atol=1e-4)
    torch.testing.assert_close(structural_similarity(images, images), torch.ones_like(images))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        in_autocast = structural_similarity(images, others[0])
    assert torch.equal(in_autocast, structural_similarity(images, others[0]))
