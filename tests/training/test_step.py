"""When a network is compiled, and what becomes of it where it can't be."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from tiny_run import compile_at_once, make_spec

from clr_hpc.config.network import ARCHITECTURES
from clr_hpc.data.pack import Pack
from clr_hpc.training.distributed import ProcessGroup
from clr_hpc.training.step import worth_compiling
from clr_hpc.training.trainer import Trainer


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_a_run_is_compiled_if_it_sees_enough_pixels(architecture: str, small_pack: Pack) -> None:
    """NIH's training images at 224 × 224 for 40 epochs are; the same at 64 × 64 for one are not."""
    long, short = (
        make_spec(small_pack, {"epochs": epochs, "image_size": size}, architecture=architecture)
        for epochs, size in ((40, 224), (1, 64))
    )
    assert worth_compiling(long, 78_000)
    assert not worth_compiling(short, 78_000)


def test_one_class_models_are_not_compiled(small_pack: Pack) -> None:
    task = {"kind": "one_class", "method": {"name": "autoencoder"}}
    assert not worth_compiling(make_spec(small_pack, {"epochs": 10_000}, task=task), 10**9)


def test_on_a_cpu_nothing_is_captured_or_compiled(small_pack: Pack, monkeypatch: pytest.MonkeyPatch) -> None:
    """The bytes of a run on a CPU are laws of this project, which compiled code would not keep."""
    spec = make_spec(small_pack, architecture="mobilenet_v1")
    compile_at_once(monkeypatch, spec.architecture)
    run = Trainer(spec, small_pack, ProcessGroup.alone(torch.device("cpu")))
    run.wrap_model()
    run.set_lr(0)
    before = torch._dynamo.utils.counters["stats"]["unique_graphs"]
    for step in range(4):
        run.step(step * run.batch_size)
    assert run.step.passes is None
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] == before


@pytest.mark.commands
def test_without_a_compiler_it_computes_all_the_same(tmp_path: Path) -> None:
    """In a process of its own, which looks for a compiler anew and has a cache of its own."""
    code = """
import torch
from torch import nn
from clr_hpc.training.step import compiled
network = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(144, 1))
images = torch.randn(4, 1, 8, 8)
outputs = compiled(network)(images)
outputs.sum().backward()
assert torch.equal(outputs, network(images))
assert network[0].weight.grad is not None
"""
    environment = {"PATH": "/nowhere", "CXX": "/nowhere/c++", "TORCHINDUCTOR_CACHE_DIR": str(tmp_path)}
    result = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code], env=environment, capture_output=True, text=True
    )
    assert result.returncode == 0, result.stderr
    assert "No working C++ compiler found" in result.stderr
