import pytest
import torch
from torch import Tensor

from clr_hpc.models.one_class.autoencoder import AutoencoderModel


def reconstruct(model: AutoencoderModel, images: Tensor) -> Tensor:
    with torch.no_grad():
        return model.scores(model(images), images)


@pytest.mark.parametrize("side", [32, 50, 64, 224])
def test_any_side_is_reconstructed(side: int) -> None:
    model = AutoencoderModel(16, seed=0).eval()
    assert model(torch.randn(2, 1, side, side)).shape == (2, 1, side, side)


def test_it_is_small() -> None:
    assert sum(parameter.numel() for parameter in AutoencoderModel(16, seed=0).parameters()) < 1_000_000


def test_exposure_does_not_matter() -> None:
    model = AutoencoderModel(16, seed=0).eval()
    images = torch.randn(3, 1, 32, 32, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(
        reconstruct(model, 3 * images + 2), reconstruct(model, images), rtol=1e-4, atol=1e-4
    )


def test_a_blank_image_has_a_score() -> None:
    assert reconstruct(AutoencoderModel(16, seed=0).eval(), torch.full((1, 1, 32, 32), 0.7)).isfinite().all()


def test_it_learns_what_it_sees_and_not_what_it_never_saw(batches: list[Tensor]) -> None:
    model = AutoencoderModel(4, seed=0)
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    for _ in range(20):
        for images in batches:
            loss = model.losses(model(images), images, torch.zeros(len(images))).mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    model.eval()
    seen = reconstruct(model, torch.cat(batches))
    odd = torch.cat(batches).clone()
    odd[:, :, 8:14, 8:14] *= -1
    assert seen.mean() < 0.5
    assert (reconstruct(model, odd) > seen).float().mean() > 0.75


def test_weights_are_a_function_of_the_seed_alone() -> None:
    one, two, other = (AutoencoderModel(4, seed=seed).state_dict() for seed in (0, 0, 1))
    assert all(torch.equal(one[name], two[name]) for name in one)
    assert any(not torch.equal(one[name], other[name]) for name in one)
