from pathlib import Path

import pytest
import torch
from torch import nn

from clr_hpc.config.policy import Constant, OneCycle, Policy, Triangular, Triangular2Modified
from clr_hpc.training.checkpoint import DamagedCheckpointError, model_tensors
from clr_hpc.training.cycle_ends import KEPT, Snapshots, average_weights, is_cycle_end, load_average


def ends(policy: Policy, steps_per_epoch: int, epochs: int) -> list[int]:
    """Return the steps after which a cycle has ended."""
    return [
        step
        for step in range(1, steps_per_epoch * epochs + 1)
        if is_cycle_end(policy, (step - 1) / steps_per_epoch, step / steps_per_epoch)
    ]


@pytest.mark.parametrize("steps_per_epoch", [3, 7, 10, 49])
@pytest.mark.parametrize("half_cycle", [0.5, 1.0, 1.5])
def test_a_cycle_ends_once_each_two_half_cycles(steps_per_epoch: int, half_cycle: float) -> None:
    policy = Triangular(lr_min=0.1, lr_max=1, half_cycle_epochs=half_cycle)
    found = ends(policy, steps_per_epoch, epochs=6)
    assert len(found) == int(6 / (2 * half_cycle))
    for number, step in enumerate(found, start=1):
        exact = number * 2 * half_cycle * steps_per_epoch
        assert exact - 1e-6 <= step < exact + 1


def test_a_cycle_whose_length_is_no_binary_fraction_ends_with_its_step() -> None:
    assert ends(Triangular2Modified(lr_min=0.1, lr_max=1, half_cycle_epochs=0.15), 10, 3) == list(range(3, 31, 3))


@pytest.mark.parametrize("policy", [Constant(lr_max=1), OneCycle(lr_min=0.1, lr_max=1, total_epochs=4)])
def test_other_policies_have_no_cycles(policy: Policy) -> None:
    assert ends(policy, 10, 4) == []


def network(value: float) -> nn.Module:
    model = nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3))
    for parameter in model.parameters():
        nn.init.constant_(parameter, value)
    return model


def test_the_last_snapshots_are_kept(tmp_path: Path) -> None:
    snapshots = Snapshots(tmp_path / "snapshots")
    assert snapshots.weights() == {}
    for number in range(KEPT + 2):
        snapshots.save(model_tensors(network(float(number))), samples=number * 100)
    values = [weights["0.weight"][0, 0].item() for weights in snapshots.weights().values()]
    assert values == list(range(2, KEPT + 2))
    assert list(snapshots.weights()) == [number * 100 for number in range(2, KEPT + 2)]
    assert len(list((tmp_path / "snapshots").iterdir())) == 2 * KEPT


def test_a_damaged_snapshot_is_an_error(tmp_path: Path) -> None:
    snapshots = Snapshots(tmp_path)
    snapshots.save(model_tensors(network(1.0)), samples=100)
    (file,) = tmp_path.glob("*.safetensors")
    file.write_bytes(file.read_bytes()[:-1])
    with pytest.raises(DamagedCheckpointError, match=file.name):
        snapshots.weights()


def test_weights_are_averaged_and_counters_are_not() -> None:
    one, two = network(1.0), network(4.0)
    two(torch.randn(5, 2))
    mean = average_weights([one.state_dict(), two.state_dict()])
    assert (mean["0.weight"] == 2.5).all()
    assert mean["1.num_batches_tracked"] == 1


def test_batch_norm_statistics_are_those_of_the_averaged_network() -> None:
    torch.manual_seed(0)
    snapshots = [nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3)).state_dict() for _ in range(2)]
    model = network(0.0)
    images = torch.randn(40, 2)
    load_average(model, snapshots, images.split(20))
    inside = model[0](images)
    torch.testing.assert_close(model[1].running_mean, inside.mean(dim=0))
