"""Distance of a run's steps from the limits of the device: from the bare step, and from the roofline.

Measured after the run, on a second one of the same spec, so that the run itself stays the same.
"""

import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from statistics import median
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks
from torch.nn.utils import clip_grad_norm_
from torch.utils.flop_counter import FlopCounterMode, conv_flop_count

from clr_hpc.training.data import make_sampler
from clr_hpc.training.trainer import Trainer

PEAK_SECONDS, FEWEST_REPEATS = 1.0, 5
"""The fastest counts: other work on the machine only slows it down."""
WARM_STEPS = 3
TURNS_SECONDS = 6.0
FEWEST_TURNS, MOST_TURNS = 7, 200


@dataclass(frozen=True)
class DevicePeaks:
    """Peak rates of one process on the device, with the threads that it has."""

    flops_per_second: float
    """Measured on a product of two square matrices, in the run's precision."""
    bytes_per_second: float
    """Read and written, measured on a copy larger than any cache."""
    matrix_side: int
    copied_bytes: int


def measure_peaks(device: torch.device, precision: torch.dtype) -> DevicePeaks:
    """Measure for some seconds; takes half a GiB of memory on a CPU, two on a GPU."""
    on_gpu = device.type == "cuda"
    side, size = (8192, 2**30) if on_gpu else (1024, 2**28)
    first, second = (torch.rand(side, side, device=device).to(precision) for _ in range(2))
    product = torch.empty_like(first)
    with _convolutions_precision():
        seconds = _best_seconds(lambda: torch.mm(first, second, out=product), device)
    flops_per_second = 2 * side**3 / seconds
    source = torch.ones(size, dtype=torch.uint8, device=device)
    target = torch.zeros_like(source)
    seconds = _best_seconds(lambda: target.copy_(source), device)
    return DevicePeaks(flops_per_second, 2 * size / seconds, side, size)


def wait_for(device: torch.device) -> None:
    """Wait until a device has done all its work."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def _best_seconds(work: Callable[[], object], device: torch.device) -> float:
    taken: list[float] = []
    deadline = time.perf_counter() + PEAK_SECONDS
    while len(taken) < FEWEST_REPEATS or time.perf_counter() < deadline:
        wait_for(device)
        start = time.perf_counter()
        work()
        wait_for(device)
        taken.append(time.perf_counter() - start)
    return min(taken)


@contextmanager
def _convolutions_precision() -> Iterator[None]:
    """Multiply matrices of float32 as convolutions do: torch lets those use TF32, but not these."""
    matrices = torch.backends.cuda.matmul
    before = matrices.fp32_precision
    matrices.fp32_precision = torch.backends.cudnn.conv.fp32_precision  # type: ignore[attr-defined]
    try:
        yield
    finally:
        matrices.fp32_precision = before


@dataclass(frozen=True)
class StepWork:
    """The minimum work of a step."""

    flops: int
    """In matrix products and convolutions, forward and backward; a multiplication and an addition are two."""
    parameter_bytes: int
    """Size of the weights. Their gradients take as many."""
    optimizer_bytes: int
    activation_bytes: int
    """Kept by the forward pass for the backward pass, inputs included."""

    @property
    def bytes_moved(self) -> int:
        """Estimated bytes to and from memory, if each tensor is moved as seldom as possible.

        Weights are read forward, backward and for the update, and written once; gradients are written and read;
        the optimizer's state is read and written; what is kept for the backward pass is written and read.
        """
        return 6 * self.parameter_bytes + 2 * self.optimizer_bytes + 2 * self.activation_bytes


def step_work(model: nn.Module, optimizer: torch.optim.Optimizer, loss: Callable[[], Tensor]) -> StepWork:
    """Count the work of a step.

    Args:
        model: after a step.
        optimizer: of its parameters, after a step.
        loss: runs the forward pass on a batch; the gradients of ``model`` are lost.
    """
    kept: dict[int, int] = {}

    def keep(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    with FlopCounterMode(
        display=False, custom_mapping={torch.ops.aten.convolution_backward: _backward}
    ) as counter:
        with saved_tensors_hooks(keep, lambda tensor: tensor):
            value = loss()
        value.backward()  # type: ignore[no-untyped-call]
    own = {tensor.untyped_storage().data_ptr() for tensor in (*model.parameters(), *model.buffers())}
    state = (value for each in optimizer.state.values() for value in each.values() if isinstance(value, Tensor))
    return StepWork(
        flops=counter.get_total_flops(),
        parameter_bytes=_bytes(model.parameters()),
        optimizer_bytes=_bytes(state),
        activation_bytes=sum(size for place, size in kept.items() if place not in own),
    )


def _bytes(tensors: Iterable[Tensor]) -> int:
    return sum(tensor.nbytes for tensor in tensors)


def _backward(
    output: list[int],
    images: list[int],
    weights: list[int],
    _bias: Any,
    _stride: Any,
    _padding: Any,
    _dilation: Any,
    transposed: bool,
    _output_padding: Any,
    _groups: int,
    wanted: list[bool],
    **_: Any,
) -> int:
    """Count a convolution's backward pass: each of its two gradients takes what the forward pass takes.

    torch's own formula ignores the groups in the weights' gradient, and counts a depthwise convolution several
    times.
    """
    return sum(wanted[:2]) * int(conv_flop_count(images, weights, output, transposed))


class RehearsedTrainer:
    """A run that takes steps for measurement and writes nothing to disk."""

    def __init__(self, trainer: Trainer) -> None:
        """Wrap the trainer of a run that takes steps, before its first one."""
        self.trainer = trainer
        trainer.wrap_model()
        self._samples = 0
        self._all_samples = trainer.spec.training.epochs * trainer.samples_per_epoch

    def step(self) -> None:
        """Take the step that the loop takes."""
        self.trainer.set_lr(self._samples)
        self.trainer.step(self._samples)
        # policies end with the run, but these steps may be more than it has
        self._samples = (self._samples + self.trainer.batch_size) % self._all_samples


class BareStep:
    """The step of the same network, optimizer, batch and precision, on tensors that are on the device already.

    Where the run's passes are captured, and perhaps compiled, so are these.
    """

    def __init__(self, trainer: Trainer) -> None:
        """Load the first batch of a run, without augmentation."""
        rows, labels = make_sampler(trainer.spec, trainer.data.training).batch(0)
        on_device = torch.from_numpy(labels).to(trainer.device)
        parts = trainer.micro_batches
        self._batches = list(zip(trainer.step.load(rows).chunk(parts), on_device.chunk(parts), strict=True))
        self._trainer = trainer

    def step(self) -> None:
        """Take a step at the rate that is set."""
        trainer = self._trainer
        assert trainer.optimizer is not None
        if trainer.step.passes is not None:
            trainer.step.passes.forward(lambda: None)
            trainer.step.passes.backward()
        else:
            trainer.optimizer.zero_grad(set_to_none=True)
            for images, labels in self._batches:
                self._loss(images, labels).backward()  # type: ignore[no-untyped-call]
        if trainer.spec.training.gradient_clip_norm:
            clip_grad_norm_(trainer.model.parameters(), trainer.spec.training.gradient_clip_norm)
        trainer.optimizer.step()

    def loss(self) -> Tensor:
        """Run the forward pass over all micro-batches."""
        return torch.stack([self._loss(images, labels) for images, labels in self._batches]).sum()

    def _loss(self, images: Tensor, labels: Tensor) -> Tensor:
        trainer = self._trainer
        with trainer.step.autocast():
            outputs = trainer.model(images)
        return trainer.model.losses(outputs, images, labels).sum() / trainer.batch_size


def measure_limits(rehearsed: RehearsedTrainer) -> dict[str, Any]:
    """Measure the loop's step, the bare step and the roofline of a run.

    Returns:
        The section ``limits`` of ``profile.json``: see docs/reference/profile.md.
    """
    trainer = rehearsed.trainer
    assert trainer.optimizer is not None
    bare = BareStep(trainer)
    turns = _take_turns((rehearsed.step, bare.step), trainer.device)
    loop_seconds, bare_seconds = (median(taken) for taken in turns)
    work = step_work(trainer.model, trainer.optimizer, bare.loss)
    precision = torch.bfloat16 if trainer.spec.training.precision == "bfloat16" else torch.float32
    peaks = measure_peaks(trainer.device, precision)
    roofline_seconds, bound = roofline(work, peaks)
    return {
        "turns": len(turns[0]),
        "loop_step_seconds": loop_seconds,
        "bare_step_seconds": bare_seconds,
        "roofline_step_seconds": roofline_seconds,
        "of_bare": bare_seconds / loop_seconds,
        "of_roofline": roofline_seconds / loop_seconds,
        "bound_by": bound,
        "step": asdict(work) | {"bytes_moved": work.bytes_moved},
        "peaks": asdict(peaks) | {"measured": "on this device, by a product of matrices and a copy"},
    }


def roofline(work: StepWork, peaks: DevicePeaks) -> tuple[float, str]:
    """Return the minimum seconds of a step, and what bounds it: ``arithmetic`` or ``memory``.

    The larger of FLOPs over their peak and bytes over the bandwidth (Williams et al. 2009,
    doi:10.1145/1498765.1498785).
    """
    arithmetic, memory = work.flops / peaks.flops_per_second, work.bytes_moved / peaks.bytes_per_second
    return max(arithmetic, memory), "arithmetic" if arithmetic >= memory else "memory"


def _take_turns(steps: tuple[Callable[[], None], ...], device: torch.device) -> tuple[list[float], ...]:
    """Time kinds of steps in alternation, so that other work affects all alike; return seconds per step.

    A turn on a GPU is several steps, as the host runs ahead of it within a turn.
    """
    steps_a_turn = 10 if device.type == "cuda" else 1
    for step in steps:
        for _ in range(WARM_STEPS):
            step()
    taken: tuple[list[float], ...] = tuple([] for _ in steps)
    deadline = time.perf_counter() + TURNS_SECONDS
    while len(taken[0]) < FEWEST_TURNS or (time.perf_counter() < deadline and len(taken[0]) < MOST_TURNS):
        for step, of_step in zip(steps, taken, strict=True):
            wait_for(device)
            start = time.perf_counter()
            for _ in range(steps_a_turn):
                step()
            wait_for(device)
            of_step.append((time.perf_counter() - start) / steps_a_turn)
    return taken
