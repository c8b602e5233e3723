import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from tiny_run import NETWORK
from torch import Tensor, nn

from clr_hpc.config.base import UserError
from clr_hpc.config.network import ARCHITECTURES, network
from clr_hpc.config.run import Initialisation
from clr_hpc.config.task import DeepSvdd
from clr_hpc.models.backbones import build_backbone
from clr_hpc.models.one_class import autoencoder, deep_svdd
from clr_hpc.models.one_class.deep_svdd import SMALLEST_COORDINATE, DeepSvddModel


def model(boundary: str = "hard", architecture: str = NETWORK, **options: object) -> DeepSvddModel:
    backbone = build_backbone(architecture, 8, Initialisation(), seed=0)
    return DeepSvddModel(backbone, DeepSvdd(boundary=boundary, outputs=8, **options), seed=0)


def train(svdd: DeepSvddModel, batches: list[Tensor], epochs: int) -> list[float]:
    optimizer = torch.optim.Adam(svdd.parameters(), lr=3e-4)
    means = []
    for _ in range(epochs):
        svdd.train()
        for images in batches:
            loss = svdd.losses(svdd(images), images, torch.zeros(len(images))).mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        scores = score(svdd, batches)
        if svdd.learns_from_epochs:
            svdd.end_epoch(scores)
        means.append(float(scores.mean()))
    return means


@torch.no_grad()
def score(svdd: DeepSvddModel, batches: list[Tensor]) -> Tensor:
    svdd.eval()
    return torch.cat([svdd.scores(svdd(images), images) for images in batches])


def test_the_centre_is_the_mean_output_away_from_zero(batches: list[Tensor], patients: NDArray[np.int64]) -> None:
    svdd = model()
    svdd.prepare(batches, patients)
    svdd.eval()
    with torch.no_grad():
        mean = svdd(torch.cat(batches)).mean(dim=0)
    far = mean.abs() >= SMALLEST_COORDINATE
    assert 0 < far.sum() < 8, "the case should hold both kinds of coordinates"
    torch.testing.assert_close(svdd.center[far], mean[far], rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(svdd.center[~far].abs(), torch.full((int((~far).sum()),), SMALLEST_COORDINATE))
    assert (svdd.center.sign() == mean.sign()).all()


def test_a_trained_model_keeps_its_centre(batches: list[Tensor], patients: NDArray[np.int64]) -> None:
    trained = model()
    trained.prepare(batches, patients)
    again = model()
    again.start_from(trained.state_dict())
    again.prepare([images + 1 for images in batches], patients)
    assert torch.equal(again.center, trained.center)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_a_network_without_weights_gives_the_origin(architecture: str) -> None:
    """Zero weights are the only constant function left, and the centre is not there (proposition 1)."""
    svdd = model(architecture=architecture).eval()
    for parameter in svdd.parameters():
        if parameter.requires_grad:
            nn.init.zeros_(parameter)
    side = network(architecture).smallest_image_size
    assert not svdd(torch.randn(2, 1, side, side)).any()
    assert not any(isinstance(module, nn.ReLU6) for module in svdd.modules())


def test_training_draws_images_in_without_making_them_one(
    batches: list[Tensor], patients: NDArray[np.int64]
) -> None:
    svdd = model()
    svdd.prepare(batches, patients)
    before = score(svdd, batches)
    means = train(svdd, batches, epochs=12)
    after = score(svdd, batches)
    assert means[-1] < float(before.mean())
    assert after.std() / after.mean() > 0.05
    assert after.unique().numel() == len(after)
    biases = [value for name, value in svdd.named_parameters() if name.endswith("bias")]
    assert biases
    assert not any(bias.any() for bias in biases), "an optimizer step moved a bias"


def test_the_radius_is_the_best_one_for_the_objective() -> None:
    svdd = model("soft", nu=0.15)
    distances = torch.rand(1000, generator=torch.Generator().manual_seed(1))
    svdd.end_epoch(distances)
    assert float((distances > svdd.squared_radius).float().mean()) == pytest.approx(0.15, abs=0.0015)

    def objective(squared_radius: Tensor) -> float:
        return float(squared_radius + (distances - squared_radius).relu().mean() / 0.15)

    best = min(objective(candidate) for candidate in distances)
    assert objective(svdd.squared_radius) == pytest.approx(best, abs=1e-5)


def test_the_soft_loss_is_the_papers() -> None:
    svdd = model("soft", nu=0.5)
    svdd.squared_radius.fill_(2.0)
    outputs = svdd.center + torch.eye(8)[:3] * torch.tensor([[1.0], [2.0], [3.0]])
    losses = svdd.losses(outputs, torch.empty(3), torch.zeros(3))
    torch.testing.assert_close(losses, torch.tensor([2.0, 2 + 2 / 0.5, 2 + 7 / 0.5]))
    torch.testing.assert_close(svdd.scores(outputs, torch.empty(3)), torch.tensor([1.0, 4.0, 9.0]))


def test_a_hard_boundary_has_no_radius() -> None:
    svdd = model("hard")
    assert not svdd.learns_from_epochs
    assert svdd.squared_radius == 0


def test_only_images_of_the_class_have_a_loss() -> None:
    assert model().has_loss(torch.tensor([0.0, 1.0])).tolist() == [True, False]


def relative_spread(network: nn.Module, images: Tensor, epochs: int = 50) -> float:
    """How far codes of images lie from their mean after training, in units of its length."""
    svdd = DeepSvddModel(network, DeepSvdd(outputs=8), seed=0)
    svdd.prepare([images], np.arange(len(images)))
    optimizer = torch.optim.Adam(svdd.parameters(), lr=1e-2)
    for _ in range(epochs):
        for batch in images.split(30):
            loss = svdd.losses(svdd(batch), batch, torch.zeros(len(batch))).mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    with torch.no_grad():
        codes = svdd(images)
    return float((codes - codes.mean(dim=0)).norm(dim=1).mean() / codes.mean(dim=0).norm())


def test_codes_stay_apart_where_shifts_make_them_one(
    batches: list[Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The trivial solution of proposition 2: a network with biases finds it, the same one without does not.

    There is no batch norm, whose means are a shift too.
    """

    def small() -> nn.Module:
        torch.manual_seed(0)
        pairs = ((1, 8), (8, 4))
        blocks = [(nn.Conv2d(*pair, 5, padding=2), nn.LeakyReLU(), nn.MaxPool2d(4)) for pair in pairs]
        return nn.Sequential(*(layer for block in blocks for layer in block), nn.Flatten(), nn.Linear(16, 8))

    contrast = 2 * torch.rand(60, 1, 1, 1, generator=torch.Generator().manual_seed(0))
    images = contrast * torch.cat(batches)
    apart = relative_spread(small(), images)
    monkeypatch.setattr(deep_svdd, "_unable_to_be_constant", lambda backbone: backbone)
    monkeypatch.setattr(DeepSvddModel, "_check_origin", lambda *_: None)
    assert relative_spread(small(), images) < 0.1 < 0.3 < apart


@pytest.mark.parametrize("architecture", [*ARCHITECTURES, "timm/efficientnet_lite0", "timm/resnet18"])
def test_nothing_that_is_trained_shifts(architecture: str) -> None:
    """Besides weights of convolutions and linear layers scales are trained, and with ``fixed`` not even they."""
    scales = {
        each: [value for value in model(architecture=architecture, batch_norm_scale=each).parameters()
               if value.requires_grad and value.dim() < 2]
        for each in ("trained", "fixed")
    }  # fmt: skip
    assert not scales["fixed"]
    svdd = model(architecture=architecture)
    of_batch_norm = [one for one in svdd.modules() if isinstance(one, nn.modules.batchnorm._BatchNorm)]
    assert len(scales["trained"]) == len(of_batch_norm)
    assert all(not one.bias.any() and not one.bias.requires_grad for one in of_batch_norm)


def test_a_network_with_a_learned_constant_is_rejected(patients: NDArray[np.int64]) -> None:
    svdd = model(architecture="timm/vit_tiny_patch16_224")
    with pytest.raises(UserError, match=r"does not map a blank image to the origin.*position embedding"):
        svdd.prepare([torch.randn(2, 1, 224, 224)], patients[:2])


@pytest.mark.parametrize(("boundary", "scale"), [("hard", "fixed"), ("hard", "trained"), ("soft", "trained")])
def test_a_loaded_state_goes_on_exactly(
    boundary: str, scale: str, batches: list[Tensor], patients: NDArray[np.int64]
) -> None:
    whole = model(boundary, batch_norm_scale=scale)
    whole.prepare(batches, patients)
    train(whole, batches, epochs=2)
    resumed = model(boundary, batch_norm_scale=scale)
    resumed.load_state_dict({name: value.clone() for name, value in whole.state_dict().items()})
    train(whole, batches, epochs=2)
    train(resumed, batches, epochs=2)
    for name, value in whole.state_dict().items():
        assert torch.equal(resumed.state_dict()[name], value), name
    assert (whole.squared_radius > 0) == (boundary == "soft")


def test_pretraining_is_a_function_of_the_seed(batches: list[Tensor], patients: NDArray[np.int64]) -> None:
    torch.manual_seed(1)
    one, untouched = model(pretraining_epochs=2), model()
    one.prepare(batches, patients)
    torch.manual_seed(2)
    position = torch.random.get_rng_state()
    two = model(pretraining_epochs=2)
    two.prepare(batches, patients)
    assert torch.equal(torch.random.get_rng_state(), position), "the global generator must stay where it was"
    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), two.parameters(), strict=True))
    assert any(not torch.equal(a, b) for a, b in zip(one.parameters(), untouched.parameters(), strict=True))


def test_a_code_from_pretraining_says_more_of_an_image(
    batches: list[Tensor], patients: NDArray[np.int64], monkeypatch: pytest.MonkeyPatch
) -> None:
    """How much of the images a linear map finds again in the outputs."""
    monkeypatch.setattr(autoencoder, "LEARNING_RATE", 1e-3)  # for the few steps that a test has time for
    images = torch.cat(batches).flatten(1)

    def unexplained(svdd: DeepSvddModel) -> float:
        svdd.prepare(batches, patients)
        svdd.eval()
        with torch.no_grad():
            code = torch.cat([svdd(torch.cat(batches)), torch.ones(60, 1)], dim=1)
        rest = images - code @ torch.linalg.lstsq(code, images).solution
        return float(rest.square().mean() / images.var())

    assert unexplained(model(pretraining_epochs=8)) < 0.9 * unexplained(model())


def test_a_last_batch_of_one_image_is_no_obstacle(batches: list[Tensor], patients: NDArray[np.int64]) -> None:
    svdd = model(pretraining_epochs=1)
    svdd.prepare([*batches, batches[0][:1]], patients)
    assert svdd.is_prepared
