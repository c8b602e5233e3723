import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from mutation import damaged_bytes, damaged_json
from safetensors.torch import save_file
from torch import nn

from clr_hpc.config.optimizer import Adagrad, Adam, AdamW, Optimizer, RmsProp, Sgd
from clr_hpc.config.policy import Constant, OneCycle, Policy, Triangular, Triangular2Modified
from clr_hpc.store.checkpoints import Divergence, Progress, progress_metadata, write_checksum
from clr_hpc.store.layout import checksum_of
from clr_hpc.store.records import sha256_of
from clr_hpc.training.checkpoint import (
    KEPT_SNAPSHOTS,
    Checkpoint,
    Checkpoints,
    DamagedCheckpointError,
    Snapshots,
    average_weights,
    is_cycle_end,
    load_average,
    load_tensors,
    model_tensors,
    model_weights,
    restore_optimizer,
    save_tensors,
    state_tensors,
)
from clr_hpc.training.optimizers import build_optimizer

OPTIMIZERS: list[Optimizer] = [
    Sgd(),
    Sgd(momentum=0),
    Adam(),
    AdamW(),
    RmsProp(),
    RmsProp(momentum=0.9),
    Adagrad(),
]


def trained(optimizer: Optimizer, steps: int) -> tuple[nn.Module, torch.optim.Optimizer]:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(4 * 36, 1))
    model.to(memory_format=torch.channels_last)
    built = build_optimizer(optimizer, model.parameters())
    for step in range(steps):
        train_step(model, built, step)
    return model, built


def train_step(model: nn.Module, optimizer: torch.optim.Optimizer, step: int) -> None:
    images = torch.randn(8, 1, 8, 8, generator=torch.Generator().manual_seed(step))
    for group in optimizer.param_groups:
        group["lr"] = 0.01
    optimizer.zero_grad()
    model(images.to(memory_format=torch.channels_last)).square().mean().backward()
    optimizer.step()


@pytest.mark.parametrize("spec", OPTIMIZERS, ids=repr)
def test_going_on_from_a_checkpoint_equals_never_having_stopped(spec: Optimizer, tmp_path: Path) -> None:
    model, optimizer = trained(spec, steps=3)
    Checkpoints(tmp_path / "c").save(state_tensors(model, optimizer), Progress(samples=24))
    fresh_model, fresh_optimizer = trained(spec, steps=0)
    latest = Checkpoints(tmp_path / "c").latest()
    assert (latest.progress, latest.passed_over) == (Progress(samples=24), ())
    fresh_model.load_state_dict(model_weights(latest.tensors))
    restore_optimizer(fresh_optimizer, latest.tensors)
    for step in range(3, 6):
        train_step(model, optimizer, step)
        train_step(fresh_model, fresh_optimizer, step)
    for name, value in model.state_dict().items():
        assert torch.equal(value, fresh_model.state_dict()[name]), name
    one = Checkpoints(tmp_path / "one").save(state_tensors(model, optimizer), Progress(samples=48))
    other = Checkpoints(tmp_path / "other").save(state_tensors(fresh_model, fresh_optimizer), Progress(samples=48))
    assert one == other, "the same state must give the same bytes"


def test_two_are_kept(tmp_path: Path) -> None:
    model, optimizer = trained(Sgd(), steps=1)
    checkpoints = Checkpoints(tmp_path / "c")
    for samples in (8, 16, 24, 32):
        checkpoints.save(state_tensors(model, optimizer), Progress(samples=samples))
    kept = sorted(path.name for path in (tmp_path / "c").iterdir())
    assert kept == [f"{samples:012d}.safetensors{end}" for samples in (24, 32) for end in ("", ".sha256")]


def flip_a_byte(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


DAMAGES = {
    "flipped byte": flip_a_byte,
    "truncated": lambda path: path.write_bytes(path.read_bytes()[:-100]),
    "empty": lambda path: path.write_bytes(b""),
    "checksum missing": lambda path: path.with_name(path.name + ".sha256").unlink(),
    "checksum empty": lambda path: path.with_name(path.name + ".sha256").write_text(""),
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_a_damaged_checkpoint_falls_back_to_the_one_before(
    damage: Callable[[Path], object], tmp_path: Path
) -> None:
    model, optimizer = trained(Sgd(), steps=1)
    checkpoints = Checkpoints(tmp_path)
    checkpoints.save(state_tensors(model, optimizer), Progress(samples=8))
    weights = {name: value.clone() for name, value in model.state_dict().items()}
    train_step(model, optimizer, 1)
    checkpoints.save(state_tensors(model, optimizer), Progress(samples=16))
    damage(tmp_path / "000000000016.safetensors")
    latest = checkpoints.latest()
    assert latest.progress.samples == 8
    (line,) = latest.passed_over
    assert "000000000016.safetensors" in line
    assert all(torch.equal(value, weights[name]) for name, value in model_weights(latest.tensors).items())


@pytest.mark.parametrize("part", ["tensors", "checksum", "metadata"])
def test_whatever_is_damaged_in_a_checkpoint_costs_that_one_alone(part: str, tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path)
    checkpoints.save({"model.a": torch.zeros(3)}, Progress(samples=8))
    newer = Progress(16, 0.5, 1.0, 2, (Divergence(8, 0.1),))
    checkpoints.save({"model.a": torch.ones(3), "model.n": torch.ones(1).long()}, newer)
    file = checkpoints.path(16)
    metadata = json.dumps(progress_metadata(newer)).encode()
    damaged = checksum_of(file) if part == "checksum" else file
    sound = damaged.read_bytes()

    @settings(max_examples=200, suppress_health_check=[HealthCheck.too_slow])
    @given(damaged_json(metadata) if part == "metadata" else damaged_bytes(sound))
    def check(content: bytes) -> None:
        if part == "metadata":  # of a file that is as it was written
            values = {"json": content.decode(errors="replace")}
            save_file({"model.a": torch.ones(3)}, file, values)
            write_checksum(file, sha256_of(file))
        else:
            damaged.write_bytes(content)
        latest = checkpoints.latest()
        assert (latest.progress.samples, len(latest.passed_over)) in ((8, 1), (16, 0))
        assert all(str(file) in line or str(damaged) in line for line in latest.passed_over)

    check()


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_checkpoint_that_is_not_finite_is_passed_over(value: float, tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path)
    checkpoints.save({"model.a": torch.zeros(3)}, Progress(samples=8))
    broken = {"model.a": torch.tensor([0, value, 0]), "model.n": torch.ones(1).long()}
    checkpoints.save(broken, Progress(samples=16))
    latest = checkpoints.latest()
    assert latest.progress.samples == 8
    assert "not finite" in latest.passed_over[0]


def test_progress_is_read_as_it_was_written(tmp_path: Path) -> None:
    progress = Progress(24, 0.5, 1.0, 2, (Divergence(8, 0.1), Divergence(8, 0.1 / 3)), micro_batches=4)
    Checkpoints(tmp_path).save({}, progress)
    assert Checkpoints(tmp_path).latest().progress == progress
    assert progress.rate_factor == pytest.approx(1 / 9)


def test_nothing_to_load_is_the_beginning(tmp_path: Path) -> None:
    assert Checkpoints(tmp_path / "c").latest() == Checkpoint(Progress(), {}, ())


def test_checksum_file_is_what_sha256sum_reads(tmp_path: Path) -> None:
    save_tensors(tmp_path / "w.safetensors", {"a": torch.ones(3)}, {})
    subprocess.run(["sha256sum", "--check", "w.safetensors.sha256"], cwd=tmp_path, check=True, capture_output=True)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(DamagedCheckpointError, match=r"gone\.safetensors"):
        load_tensors(tmp_path / "gone.safetensors")


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
    for number in range(KEPT_SNAPSHOTS + 2):
        snapshots.save(model_tensors(network(float(number))), samples=number * 100)
    values = [weights["0.weight"][0, 0].item() for weights in snapshots.weights().values()]
    assert values == list(range(2, KEPT_SNAPSHOTS + 2))
    assert list(snapshots.weights()) == [number * 100 for number in range(2, KEPT_SNAPSHOTS + 2)]
    assert len(list((tmp_path / "snapshots").iterdir())) == 2 * KEPT_SNAPSHOTS


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
