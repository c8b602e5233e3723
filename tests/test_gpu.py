"""What only a GPU can show. Tolerances are for its arithmetic: TF32 in convolutions, sums in any order."""

import json
from collections.abc import Callable
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny_run
import torch
from numpy.testing import assert_array_equal

from clr_hpc.config.optimizer import Adagrad, Adam, RmsProp, Sgd
from clr_hpc.config.policy import Triangular
from clr_hpc.config.run import RunSpec
from clr_hpc.data import prefetch as module
from clr_hpc.data.pack import Pack
from clr_hpc.data.prefetch import DevicePixels, FetchedPixels, ResidentPixels, device_pixels
from clr_hpc.places.processes.cohort import CohortRun, train_cohort
from clr_hpc.store.run_folder import read_metrics
from clr_hpc.training.distributed import ProcessGroup
from clr_hpc.training.run import RunSettings
from clr_hpc.training.trainer import Trainer

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
CPU, GPU = torch.device("cpu"), torch.device("cuda")
CALM = Triangular(lr_min=1e-5, lr_max=1e-4, half_cycle_epochs=0.5)
"""Rates at which rounding stays small over the few steps of a run."""


def make_spec(pack: Pack, training: dict[str, object] | None = None, **changes: object) -> RunSpec:
    values = {"architecture": "mobilenet_v1", "policy": CALM} | changes
    return tiny_run.make_spec(pack, {"image_size": 64} | (training or {}), **values)


def train(
    specs: list[RunSpec],
    pack: Pack,
    folder: Path,
    device: torch.device = GPU,
    stop_after: int = 10**9,
    with_profile: bool = False,
) -> list[str]:
    """Train a cohort; the first run is stopped after some steps."""
    asked = count(1)
    stops = [lambda: next(asked) > stop_after, *[lambda: False] * (len(specs) - 1)]
    runs = [CohortRun(spec, folder / spec.name, stop) for spec, stop in zip(specs, stops, strict=True)]
    folder.mkdir(exist_ok=True)
    return list(train_cohort(runs, pack, ProcessGroup.alone(device), RunSettings(1e9, with_profile), "test"))


def steps(spec: RunSpec, folder: Path) -> list[dict[str, float]]:
    return [entry for entry in read_metrics(folder / spec.name) if entry["kind"] == "step"]


def losses(spec: RunSpec, folder: Path) -> list[float]:
    return [step["loss"] for step in steps(spec, folder)]


@pytest.mark.parametrize("make", [ResidentPixels, FetchedPixels])
def test_pixels_arrive_as_they_lie_in_the_pack(
    make: Callable[[Pack, torch.device], DevicePixels], small_pack: Pack
) -> None:
    pixels = make(small_pack, GPU)
    batches = [np.random.default_rng(number).permutation(len(small_pack.index))[:64] for number in range(20)]
    for rows, following in zip(batches, [*batches[1:], batches[0]], strict=True):
        taken = pixels.gather(rows)
        pixels.prefetch(lambda following=following: [following])
        assert taken.device.type == GPU.type
        assert_array_equal(taken.cpu().numpy(), small_pack.gather(rows))


def test_a_pack_stays_on_the_gpu_where_it_fits(small_pack: Pack, monkeypatch: pytest.MonkeyPatch) -> None:
    pack = Pack.open(small_pack.folder)
    monkeypatch.setattr(module, "RESIDENT_SHARE", 0.0)
    assert isinstance(device_pixels(pack, GPU), FetchedPixels)
    monkeypatch.undo()
    assert device_pixels(pack, GPU) is device_pixels(pack, GPU) is pack.resident[GPU]


@pytest.mark.parametrize("architecture", ["mobilenet_v1", "densenet121"])
def test_a_gpu_trains_what_a_cpu_trains(architecture: str, small_pack: Pack, tmp_path: Path) -> None:
    """AlexNet is left out: its dropout masks are drawn on the device."""
    spec = make_spec(small_pack, {"epochs": 1}, architecture=architecture)
    for device in (CPU, GPU):
        assert train([spec], small_pack, tmp_path / device.type, device) == ["done"]
    theirs, ours = (steps(spec, tmp_path / device.type) for device in (CPU, GPU))
    assert [step["lr"] for step in ours] == [step["lr"] for step in theirs]
    assert ours[0]["loss"] == pytest.approx(theirs[0]["loss"], rel=0.01)


def first_losses(run: Trainer, count: int) -> list[float]:
    """Take the first steps of a run."""
    run.begin(None)
    run.wrap_model()
    found = []
    for step in range(count):
        run.set_lr(step * run.batch_size)
        found.append(run.step(step * run.batch_size))
    return [float(loss) for loss in found]


@pytest.mark.parametrize(
    "changes",
    [
        {"architecture": "mobilenet_v1"},
        {"architecture": "alexnet"},  # whose dropout masks are those of the step, whoever else draws
        {"architecture": "densenet121", "training": {"precision": "bfloat16"}},
        {"optimizer": Adam(), "training": {"gradient_clip_norm": 0.1}},
        {"task": {"kind": "one_class", "method": {"name": "deep_svdd", "boundary": "soft"}}},
        {"task": {"kind": "one_class", "method": {"name": "autoencoder"}}},
        {"task": {"kind": "one_class", "method": {"name": "autoencoder", "residual": "ssim"}}},
    ],
    ids=str,
)
def test_captured_passes_compute_what_eager_steps_do(changes: dict[str, Any], small_pack: Pack) -> None:
    spec = make_spec(small_pack, **changes)
    captured, eager = (
        Trainer(spec, small_pack, ProcessGroup.alone(GPU), eager=is_eager) for is_eager in (False, True)
    )
    assert first_losses(captured, 8) == pytest.approx(first_losses(eager, 8), rel=0.02)
    assert captured.step.passes is not None
    assert eager.step.passes is None
    assert float(captured.step.gradient_norm()) == pytest.approx(float(eager.step.gradient_norm()), rel=0.1)


def test_a_compiled_run_learns_the_same(small_pack: Pack, monkeypatch: pytest.MonkeyPatch) -> None:
    from torch._dynamo.utils import counters  # takes as long as importing torch

    spec, alone = make_spec(small_pack), ProcessGroup.alone(GPU)
    as_it_is = first_losses(Trainer(spec, small_pack, alone), 6)
    tiny_run.compile_at_once(monkeypatch, spec.architecture)
    run = Trainer(spec, small_pack, alone)
    compiled_before = counters["stats"]["unique_graphs"]
    # compiled code rounds otherwise, and each step multiplies the difference
    assert first_losses(run, 6)[:2] == pytest.approx(as_it_is[:2], rel=0.02)
    assert counters["stats"]["unique_graphs"] > compiled_before


@pytest.mark.parametrize("architecture", ["mobilenet_v1", "alexnet", "densenet121"])
def test_a_stopped_run_resumes(architecture: str, small_pack: Pack, tmp_path: Path) -> None:
    spec = make_spec(small_pack, architecture=architecture)
    assert train([spec], small_pack, tmp_path / "undisturbed") == ["done"]
    assert train([spec], small_pack, tmp_path / "run", stop_after=5) == ["stopped"]
    assert train([spec], small_pack, tmp_path / "run") == ["done"]
    assert losses(spec, tmp_path / "run") == pytest.approx(losses(spec, tmp_path / "undisturbed"), rel=0.02)


@pytest.mark.parametrize("architecture", ["mobilenet_v1", "alexnet", "densenet121"])
def test_a_run_in_a_cohort_is_the_run_alone(architecture: str, small_pack: Pack, tmp_path: Path) -> None:
    """Each has a stream of its own; the first is stopped, which the others don't notice."""
    optimizers = (Sgd(), Adam(), RmsProp(), Adagrad())
    specs = [
        make_spec(small_pack, architecture=architecture, seed=seed, optimizer=optimizer)
        for seed, optimizer in enumerate(optimizers)
    ]
    beside, alone = tmp_path / "cohort", tmp_path / "alone"
    assert train(specs, small_pack, beside, stop_after=5) == ["stopped", "done", "done", "done"]
    assert train(specs[:1], small_pack, beside) == ["done"]
    for spec in specs:
        assert train([spec], small_pack, alone) == ["done"]
        assert losses(spec, beside) == pytest.approx(losses(spec, alone), rel=0.02)


@pytest.mark.parametrize("architecture", ["mobilenet_v1", "alexnet", "densenet121"])
def test_bfloat16_starts_where_float32_does(architecture: str, small_pack: Pack, tmp_path: Path) -> None:
    first = []
    for precision in ("float32", "bfloat16"):
        spec = make_spec(small_pack, {"epochs": 1, "precision": precision}, architecture=architecture)
        assert train([spec], small_pack, tmp_path) == ["done"]
        first.append(losses(spec, tmp_path)[0])
    assert first[1] == pytest.approx(first[0], rel=0.05)


def test_a_profile_has_all_parts_and_both_limits(small_pack: Pack, tmp_path: Path) -> None:
    spec = make_spec(small_pack)
    assert train([spec], small_pack, tmp_path, with_profile=True) == ["done"]
    profile = json.loads((tmp_path / spec.name / "profile.json").read_text())
    assert sum(part["share"] for part in profile["parts"].values()) == pytest.approx(1, abs=0.01)
    assert profile["device"] == torch.cuda.get_device_name()
    assert min(profile["limits"][limit] for limit in ("of_bare", "of_roofline")) > 0
    assert profile["missing"] is None
    assert (tmp_path / spec.name / profile["trace"]).stat().st_size > 0
