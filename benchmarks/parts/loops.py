"""Training loops over images that are in memory already: ours, bare torch, and the shape of timm's benchmark.

Each returns a function that takes a number of steps and waits until the device has done them. All train
the same network of ``build_backbone``, with one channel, one output and the same first weights.
"""

import itertools
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits

from clr_hpc.config.optimizer import Sgd
from clr_hpc.config.policy import Triangular
from clr_hpc.config.run import Initialisation, RunSpec, Training
from clr_hpc.config.task import BinaryTask
from clr_hpc.data.pack import Pack
from clr_hpc.models.backbones import build_backbone
from clr_hpc.models.task_model import BinaryClassifier
from clr_hpc.store.provenance import describe_environment
from clr_hpc.store.run_folder import RunFolder
from clr_hpc.training.distributed import ProcessGroup
from clr_hpc.training.recorder import StepRecorder
from clr_hpc.training.trainer import Trainer

LEARNING_RATE, MOMENTUM = 0.01, 0.9
RESIDENT_BATCHES = 16
Steps = Callable[[int], None]


@dataclass(frozen=True)
class Setting:
    """What all loops of a comparison have in common."""

    architecture: str
    size: int
    """Pixels a side."""
    batch: int
    precision: str
    """``float32``, or ``bfloat16`` for autocast."""
    device: torch.device

    def network(self) -> nn.Module:
        """Return the network on its device, in the layout that torch makes it in."""
        return build_backbone(self.architecture, 1, Initialisation(), seed=0).to(self.device)

    def autocast(self) -> torch.autocast:
        """Return the context that the forward pass takes place in."""
        return torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=self.precision == "bfloat16")

    def wait(self) -> None:
        """Return when the device has done all that it was asked for."""
        if self.device.type == "cuda":
            torch.cuda.synchronize()


def in_turns(loops: dict[str, Steps], steps: int, turns: int) -> dict[str, list[float]]:
    """Return the seconds of each loop's turns, which alternate; the first of each warms up and is left out."""
    seconds: dict[str, list[float]] = {name: [] for name in loops}
    for turn in range(turns + 1):
        for name, take in loops.items():
            start = time.perf_counter()
            take(steps)
            if torch.cuda.is_available():
                torch.cuda.synchronize()
            if turn > 0:
                seconds[name].append(time.perf_counter() - start)
    return seconds


def our_spec(setting: Setting, pack: Pack, seed: int = 0, lr_max: float = LEARNING_RATE) -> RunSpec:
    """Return a run that never ends by itself."""
    return RunSpec(
        pack_checksum=pack.manifest.checksum,
        task=BinaryTask(pathology="effusion"),
        stage="scratch",
        architecture=setting.architecture,
        optimizer=Sgd(momentum=MOMENTUM),
        policy=Triangular(lr_min=lr_max / 10, lr_max=lr_max, half_cycle_epochs=1),
        training=Training(
            epochs=10_000, batch_size=setting.batch, image_size=setting.size, precision=setting.precision
        ),
        seed=seed,
    )


def our_run(setting: Setting, pack: Pack, seed: int = 0, lr_max: float = LEARNING_RATE, **how: bool) -> Trainer:
    """Return such a run, ready for its first step."""
    run = Trainer(our_spec(setting, pack, seed, lr_max), pack, ProcessGroup.alone(setting.device), **how)
    run.wrap_model()
    return run


def ours(setting: Setting, pack: Pack, folder: Path) -> Steps:
    """Train as ``clr_hpc.training.loop`` does between two evaluations."""
    run = our_run(setting, pack)
    run_folder = RunFolder(folder).open(our_spec(setting, pack), describe_environment(setting.device), "benchmark")
    log = StepRecorder(run, run_folder, run_folder.resume_at(0))
    samples = 0

    def steps(count: int) -> None:
        nonlocal samples
        for _ in range(count):
            lr, momentum = run.set_lr(samples)
            loss = run.step(samples)
            samples += run.batch_size
            log.step(samples, loss, lr, momentum)
        setting.wait()

    return steps


def bare(setting: Setting, compiled: bool = False) -> Steps:
    """Train on float tensors that are on the device already: no pack, no augmentation, no schedule, no records."""
    # torch then compiles the same as for ours, and does so once
    network = BinaryClassifier(setting.network()).to(setting.device, memory_format=torch.channels_last)
    optimizer = torch.optim.SGD(network.parameters(), lr=LEARNING_RATE, momentum=MOMENTUM, fused=True)
    images = torch.randn(setting.batch * RESIDENT_BATCHES, 1, setting.size, setting.size, device=setting.device)
    images = images.to(memory_format=torch.channels_last)
    labels = torch.randint(0, 2, (len(images),), device=setting.device).float()
    batches = itertools.cycle(zip(images.split(setting.batch), labels.split(setting.batch), strict=True))
    forward = torch.compile(network, dynamic=False) if compiled else network

    def steps(count: int) -> None:
        for _ in range(count):
            batch, wanted = next(batches)
            optimizer.zero_grad(set_to_none=True)
            with setting.autocast():
                outputs = forward(batch)
            binary_cross_entropy_with_logits(outputs, wanted).backward()
            optimizer.step()
        setting.wait()

    return steps


def like_timm(setting: Setting, channels_last: bool) -> Steps:
    """Train as timm's benchmark script does.

    The same as there: one random batch that stays, the optimizer that timm's factory makes of "sgd", gradients
    cleared before each step, targets drawn anew at each, one wait for the device a step, and torch's own layout
    unless ``channels_last`` is asked for. Otherwise than there: one channel and one class, so the binary
    loss, and bfloat16 by autocast where it would convert the weights.
    """
    from timm.optim import create_optimizer_v2

    layout = torch.channels_last if channels_last else torch.contiguous_format
    network = setting.network().to(memory_format=layout).train()
    optimizer = create_optimizer_v2(network, opt="sgd", lr=LEARNING_RATE)
    batch = torch.randn(setting.batch, 1, setting.size, setting.size, device=setting.device)
    batch = batch.contiguous(memory_format=layout)
    draw_targets: Callable[[], Tensor] = partial(torch.randint, 0, 2, (setting.batch,), device=setting.device)

    def steps(count: int) -> None:
        for _ in range(count):
            optimizer.zero_grad()
            with setting.autocast():
                outputs = network(batch).squeeze(1)
            binary_cross_entropy_with_logits(outputs.float(), draw_targets().float()).backward()
            optimizer.step()
            setting.wait()

    return steps
