"""Several real processes train one run: they equal one, agree on everything, and end together."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import tiny_run

from clr_hpc.config.optimizer import Adam, Sgd
from clr_hpc.config.policy import Triangular
from clr_hpc.config.run import RunSpec
from clr_hpc.data.pack import Pack
from clr_hpc.schedule.policies import learning_rate
from clr_hpc.store.run_folder import read_metrics
from clr_hpc.training.checkpoint import load_tensors

POLICY = Triangular(lr_min=0.001, lr_max=0.01, half_cycle_epochs=0.5, momentum_min=0.8, momentum_max=0.95)
TRAINING = {"epochs": 1, "image_size": 32, "batch_size": 17}
"""Three steps; neither two nor three processes can share a batch evenly."""


def make_spec(pack: Pack, training: dict[str, Any] | None = None, **changes: object) -> RunSpec:
    return tiny_run.make_spec(pack, TRAINING | (training or {}), **{"policy": POLICY} | changes)


def outcomes(replies: list[dict[str, Any]]) -> list[str]:
    return [reply["outcome"] for reply in replies]


def result(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "result.json").read_text())
    return found


def losses(folder: Path) -> np.ndarray:
    return np.array([entry["loss"] for entry in read_metrics(folder) if entry["kind"] == "step"])


def weights(folder: Path) -> dict[str, np.ndarray]:
    tensors, _ = load_tensors(max((folder / "checkpoints").glob("*.safetensors")))
    return {name: tensor.double().numpy() for name, tensor in tensors.items() if tensor.is_floating_point()}


def difference(one: Path, other: Path) -> float:
    """Return the largest difference of a weight or an optimizer's value."""
    ours, theirs = weights(one), weights(other)
    assert ours.keys() == theirs.keys()
    return max(float(np.abs(value - theirs[name]).max()) for name, value in ours.items())


@pytest.fixture(scope="module")
def alone(ranks: Any, tiny_pack: Pack, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Train a spec in one process, once."""
    folders: dict[tuple[str, bool], Path] = {}

    def train(spec: RunSpec, double: bool = False) -> Path:
        key = (spec.run_id, double)
        if key not in folders:
            folders[key] = tmp_path_factory.mktemp("alone") / "run"
            assert outcomes(ranks.train(spec, tiny_pack, folders[key], size=1, double=double)) == ["done"]
        return folders[key]

    return train


@pytest.mark.commands
@pytest.mark.parametrize(
    ("architecture", "size", "of_loss", "of_weights"),
    [
        ("mobilenet_v1", 2, 1e-4, None),
        ("densenet121", 3, 1e-7, 1e-6),
    ],
)
def test_processes_equal_one_in_double_precision(
    architecture: str,
    size: int,
    of_loss: float,
    of_weights: float | None,
    ranks: Any,
    alone: Callable[..., Path],
    tiny_pack: Pack,
    tmp_path: Path,
) -> None:
    """The law itself, without the rounding that training multiplies.

    Measured: the first losses differ by 1e-14, and each step multiplies that, by about 5 in DenseNet-121 and about
    50 in MobileNetV1, whose last batch norms see 1 × 1 maps here.
    """
    spec = make_spec(tiny_pack, architecture=architecture)
    one = alone(spec, double=True)
    assert outcomes(ranks.train(spec, tiny_pack, tmp_path / "run", size, double=True)) == ["done"] * size
    found = np.abs(losses(tmp_path / "run") - losses(one))
    assert found[0] < 1e-12
    assert found[1] < 1e-9
    assert found.max() < of_loss
    if of_weights is not None:
        assert difference(one, tmp_path / "run") < of_weights
        measured = [result(folder)["validation"]["loss"] for folder in (one, tmp_path / "run")]
        assert measured[0] == pytest.approx(measured[1], abs=1e-6)


@pytest.mark.commands
def test_processes_measure_on_the_grid_as_one_does(
    ranks: Any, alone: Callable[..., Path], tiny_pack: Pack, tmp_path: Path
) -> None:
    """Three processes share each point's sample; in double precision, see above."""
    spec = make_spec(tiny_pack, architecture="densenet121", stage="baseline")
    one = alone(spec, double=True)
    assert outcomes(ranks.train(spec, tiny_pack, tmp_path / "run", 3, double=True)) == ["done"] * 3
    found, expected = (
        {line["samples"]: line["loss"] for line in read_metrics(folder) if line["kind"] == "grid"}
        for folder in (tmp_path / "run", one)
    )
    assert found == pytest.approx(expected, abs=1e-6)
    assert list(found) == [17, 34, 51], "every step of so short an epoch"
    assert result(tmp_path / "run")["on_grid"]["best_loss"] == min(found.values())


@pytest.mark.parametrize(
    ("architecture", "optimizer", "image_size", "tolerance"),
    [("mobilenet_v1", Sgd(), 32, 2e-3), ("alexnet", Adam(), 64, 1e-4)],
)
def test_processes_equal_one_in_single_precision_up_to_rounding(
    architecture: str,
    optimizer: Sgd | Adam,
    image_size: int,
    tolerance: float,
    ranks: Any,
    alone: Callable[..., Path],
    tiny_pack: Pack,
    tmp_path: Path,
) -> None:
    """AlexNet has dropout, whose masks must be parts of one mask; clipping sees the whole gradient.

    What is tolerated is rounding of one process alone: with the weights that training starts from, its gradient of
    MobileNetV1 lies 3 % from that in double precision, and that of the processes' own batch norm 0.001 %.
    """
    calm = Triangular(lr_min=1e-5, lr_max=1e-4, half_cycle_epochs=0.5)
    training = {"image_size": image_size, "gradient_clip_norm": 1.0}
    spec = make_spec(tiny_pack, training, architecture=architecture, optimizer=optimizer, policy=calm)
    one = alone(spec)
    assert outcomes(ranks.train(spec, tiny_pack, tmp_path / "run")) == ["done"] * 2
    assert np.abs(losses(tmp_path / "run") - losses(one)).max() < tolerance
    for name in ("loss", "auroc"):
        assert result(tmp_path / "run")["validation"][name] == pytest.approx(
            result(one)["validation"][name], abs=10 * tolerance
        )
    norms = [
        [entry["gradient_norm"] for entry in read_metrics(folder) if entry["kind"] == "step"]
        for folder in (one, tmp_path / "run")
    ]
    assert norms[1] == pytest.approx(norms[0], rel=0.1)


def test_every_rank_has_the_same_rate_at_every_step(ranks: Any, tiny_pack: Pack, tmp_path: Path) -> None:
    replies = ranks.train(make_spec(tiny_pack), tiny_pack, tmp_path / "run")
    assert replies[0]["rates"] == replies[1]["rates"]
    assert replies[0]["rates"] == [[step / 3, learning_rate(POLICY, step / 3)] for step in range(3)]
    (environment,) = json.loads((tmp_path / "run" / "environment.json").read_text())
    assert environment["processes"] == 2


@pytest.mark.commands
@pytest.mark.parametrize(("first", "then"), [(2, 1), (1, 3)])
def test_a_run_resumes_with_another_number_of_processes(
    first: int, then: int, ranks: Any, alone: Callable[..., Path], tiny_pack: Pack, tmp_path: Path
) -> None:
    spec = make_spec(tiny_pack, architecture="densenet121")
    stop = {0: {"step": 2, "does": "stops"}}
    before = ranks.train(spec, tiny_pack, tmp_path / "run", first, double=True, ranks=stop)
    after = ranks.train(spec, tiny_pack, tmp_path / "run", then, double=True)
    assert (outcomes(before), outcomes(after)) == (["stopped"] * first, ["done"] * then)
    rates = before[0]["rates"] + after[0]["rates"]
    assert rates == [[step / 3, learning_rate(POLICY, step / 3)] for step in range(3)]
    undisturbed = alone(spec, double=True)
    assert np.abs(losses(tmp_path / "run") - losses(undisturbed)).max() < 1e-7
    assert difference(undisturbed, tmp_path / "run") < 1e-6


@pytest.mark.parametrize("guilty", [0, 1])
def test_a_rank_that_raises_alone_ends_the_run_for_all(
    guilty: int, ranks: Any, tiny_pack: Pack, tmp_path: Path
) -> None:
    spec = make_spec(tiny_pack)
    error = {guilty: {"step": 2, "does": "raises"}}
    replies = ranks.train(spec, tiny_pack, tmp_path / "run", ranks=error)
    assert outcomes(replies) == ["failed", "failed"]
    found = result(tmp_path / "run")
    assert found["reason"] == f"rank {guilty} of 2: ValueError: this rank alone found something wrong"
    assert "one_rank.py" in found["traceback"], "the traceback is that of the rank that raised"
    # the same processes continue with the next run, which here is the same one, tried again
    assert outcomes(ranks.train(spec, tiny_pack, tmp_path / "run")) == ["done", "done"]


@pytest.mark.commands
@pytest.mark.parametrize("killed", [0, 1])
def test_a_killed_rank_costs_nothing_but_the_steps_since_the_checkpoint(
    killed: int, ranks: Any, tiny_pack: Pack, tmp_path: Path
) -> None:
    spec = make_spec(tiny_pack)
    death = {killed: {"step": 3, "does": "dies"}}
    replies = ranks.train(spec, tiny_pack, tmp_path / "run", checkpoint_seconds=0, ranks=death)
    assert outcomes(replies)[killed] == "died"
    assert outcomes(replies)[1 - killed] == "RankLostError"
    assert not (tmp_path / "run" / "result.json").exists()
    assert outcomes(ranks.train(spec, tiny_pack, tmp_path / "run")) == ["done", "done"]
    assert outcomes(ranks.train(spec, tiny_pack, tmp_path / "undisturbed")) == ["done", "done"]
    checksums = [result(tmp_path / name)["checkpoint_sha256"] for name in ("run", "undisturbed")]
    assert checksums[0] == checksums[1]


def test_memory_that_is_short_in_one_rank_makes_micro_batches_in_all(
    ranks: Any, tiny_pack: Pack, tmp_path: Path
) -> None:
    """The batch of 40 in parts of 10 needs no more than 5 images a rank."""
    training = {"image_size": 64, "batch_size": 40}
    policy = {"name": "constant", "lr_max": 1e-4}
    spec = make_spec(tiny_pack, training, architecture="alexnet", policy=policy)
    short, whole = tmp_path / "short", tmp_path / "whole"
    assert outcomes(ranks.train(spec, tiny_pack, short, ranks={1: {"memory_images": 5}})) == ["done"] * 2
    assert outcomes(ranks.train(spec, tiny_pack, whole, size=1)) == ["done"]
    assert [result(folder)["micro_batches"] for folder in (short, whole)] == [4, 1]
    # AlexNet has no batch norm, so parts, with their part of the dropout masks, are the batch
    assert np.abs(losses(short) - losses(whole)).max() < 1e-5
    assert difference(short, whole) < 1e-5


@pytest.mark.commands
@pytest.mark.parametrize(
    "method",
    [
        {"name": "deep_svdd", "boundary": "soft", "pretraining_epochs": 1},
        {"name": "autoencoder"},
        {"name": "autoencoder", "residual": "ssim", "normalised": True},
    ],
)
def test_one_class_models_start_and_step_as_in_one_process(
    method: dict[str, Any], ranks: Any, alone: Callable[..., Path], tiny_pack: Pack, tmp_path: Path
) -> None:
    """What is learned before the first step, such as a centre, is the same to the bit."""
    task = {"kind": "one_class", "normal": "no_finding", "method": method}
    calm = Triangular(lr_min=1e-6, lr_max=1e-5, half_cycle_epochs=0.5)
    spec = make_spec(tiny_pack, {"batch_size": 9}, task=task, policy=calm)
    one = alone(spec)
    assert outcomes(ranks.train(spec, tiny_pack, tmp_path / "run")) == ["done", "done"]
    assert losses(tmp_path / "run")[0] == pytest.approx(losses(one)[0], rel=1e-4)
    for name, value in weights(one).items():
        if "center" in name:
            assert np.array_equal(weights(tmp_path / "run")[name], value)


@pytest.mark.commands
@pytest.mark.parametrize("size", [2, 3])
def test_pretraining_shares_whole_images_among_processes(
    size: int, ranks: Any, alone: Callable[..., Path], tiny_pack: Pack, tmp_path: Path
) -> None:
    """Both views of an image are in one process; batch norm's statistics are over all. In double precision.

    A batch of 17 is one of 8 images, which three processes can't share evenly.
    """
    spec = make_spec(tiny_pack, architecture="densenet121", task={"kind": "pretraining"}, stage="pretrain")
    one = alone(spec, double=True)
    assert outcomes(ranks.train(spec, tiny_pack, tmp_path / "run", size, double=True)) == ["done"] * size
    found = np.abs(losses(tmp_path / "run") - losses(one))
    assert found[0] < 1e-6, "the loss itself is in single precision"
    assert found.max() < 1e-5
    assert result(one)["batch_size"] == 16


def test_a_method_on_features_is_fitted_by_all(ranks: Any, tiny_pack: Pack, tmp_path: Path) -> None:
    """It takes no step; all the same the processes share the images that it scores."""
    baseline = make_spec(tiny_pack, stage="baseline")
    method = {"name": "nearest_neighbours"}
    task = {"kind": "one_class", "normal": "no_finding", "method": method}
    fit = make_spec(tiny_pack, task=task, stage="fit", start={"baseline": baseline})
    ranks.train(baseline, tiny_pack, tmp_path / baseline.name)
    scores = []
    for size in (1, 2):
        replies = ranks.train(fit, tiny_pack, tmp_path / fit.name, size)
        assert outcomes(replies) == ["done"] * size
        scores.append(pd.read_parquet(tmp_path / fit.name / "predictions.parquet")["score"])
        (tmp_path / fit.name).rename(tmp_path / f"of_{size}")
    np.testing.assert_allclose(scores[0], scores[1], rtol=1e-3)


def test_a_batch_smaller_than_the_processes_is_refused(ranks: Any, tiny_pack: Pack, tmp_path: Path) -> None:
    spec = make_spec(tiny_pack, {"batch_size": 1})
    assert outcomes(ranks.train(spec, tiny_pack, tmp_path / "run")) == ["failed"] * 2
    assert "a batch of 1 images can't be shared by 2 processes" in result(tmp_path / "run")["reason"]


def test_a_finished_run_and_one_in_use_are_left_alone_by_all(ranks: Any, tiny_pack: Pack, tmp_path: Path) -> None:
    from clr_hpc.store.run_folder import RunFolder

    spec = make_spec(tiny_pack)
    with RunFolder(tmp_path / "run").open(spec, {}, "test"):
        assert outcomes(ranks.train(spec, tiny_pack, tmp_path / "run")) == ["in use", "in use"]
    ranks.train(spec, tiny_pack, tmp_path / "run")
    before = (tmp_path / "run" / "result.json").read_bytes()
    replies = ranks.train(spec, tiny_pack, tmp_path / "run")
    assert outcomes(replies) == ["done", "done"]
    assert replies[0]["rates"] == []
    assert (tmp_path / "run" / "result.json").read_bytes() == before
