"""How far a run's steps are from what the device could do: from the bare step, and from the roofline.

Measured after a run on a second one of the same spec, so that nothing of the first can change.
"""

import time
from collections.abc import Callable
from dataclasses import asdict
from statistics import median
from typing import Any

import torch
from torch import Tensor
from torch.nn.utils import clip_grad_norm_

from clr_hpc.training.device_peaks import DevicePeaks, measure_peaks, wait_for
from clr_hpc.training.prepared_run import PreparedRun
from clr_hpc.training.sampling import make_sampler
from clr_hpc.training.step_work import StepWork, step_work

WARM_STEPS = 3
MEASURED_SECONDS = 6.0
FEWEST_TURNS, MOST_TURNS = 7, 200


class RehearsedRun:
    """A run that takes steps and is then forgotten: nothing of it reaches the disk."""

    def __init__(self, run: PreparedRun) -> None:
        """Take a run that takes steps, before its first one."""
        self.run = run
        run.make_ready(rate_factor=1.0)
        self._samples = 0
        self._whole_samples = run.spec.training.epochs * run.samples_per_epoch

    def step(self) -> None:
        """Take the step that the loop would take."""
        self.run.set_rate(self.run.epochs(self._samples))
        self.run.step(self._samples)
        # policies end with the run, but these steps may be more than it has
        self._samples = (self._samples + self.run.batch_size) % self._whole_samples


class BareStep:
    """The step of the same network, optimizer, batch and precision, on tensors that lie on the device ready.

    Where the run's passes are captured, and perhaps compiled, so are these.
    """

    def __init__(self, run: PreparedRun) -> None:
        """Load the first batch of a run, without augmentation."""
        rows, labels = make_sampler(run.spec, run.data.training).batch(0)
        on_device = torch.from_numpy(labels).to(run.device)
        parts = run.micro_batches
        self._batches = list(zip(run.load(rows).chunk(parts), on_device.chunk(parts), strict=True))
        self._run = run

    def step(self) -> None:
        """Take a step at the rate that is set."""
        run = self._run
        assert run.optimizer is not None
        if run.passes is not None:
            run.passes.forward(lambda: None)
            run.passes.backward()
        else:
            run.optimizer.zero_grad(set_to_none=True)
            for images, labels in self._batches:
                self._loss(images, labels).backward()  # type: ignore[no-untyped-call]
        if run.spec.training.gradient_clip_norm:
            clip_grad_norm_(run.model.parameters(), run.spec.training.gradient_clip_norm)
        run.optimizer.step()

    def loss(self) -> Tensor:
        """Run the forward pass over the whole batch."""
        return torch.stack([self._loss(images, labels) for images, labels in self._batches]).sum()

    def _loss(self, images: Tensor, labels: Tensor) -> Tensor:
        run = self._run
        low = run.spec.training.precision == "bfloat16"
        with torch.autocast(run.device.type, dtype=torch.bfloat16, enabled=low):
            outputs = run.model(images)
        return run.model.losses(outputs, images, labels).sum() / run.batch_size


def measure_limits(rehearsed: RehearsedRun) -> dict[str, Any]:
    """Measure the loop's step, the bare step and the roofline of a run.

    Returns:
        What ``profile.json`` says under ``limits``: see docs/profile.md.
    """
    run = rehearsed.run
    assert run.optimizer is not None
    bare = BareStep(run)
    turns = _take_turns((rehearsed.step, bare.step), run.device)
    loop_seconds, bare_seconds = (median(taken) for taken in turns)
    work = step_work(run.model, run.optimizer, bare.loss)
    precision = torch.bfloat16 if run.spec.training.precision == "bfloat16" else torch.float32
    peaks = measure_peaks(run.device, precision)
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
    """Return the seconds that no step can beat, and by what it is bound: ``arithmetic`` or ``memory``.

    The larger of FLOPs over their peak and bytes over the bandwidth (Williams et al. 2009,
    doi:10.1145/1498765.1498785).
    """
    arithmetic, memory = work.flops / peaks.flops_per_second, work.bytes_moved / peaks.bytes_per_second
    return max(arithmetic, memory), "arithmetic" if arithmetic >= memory else "memory"


def _take_turns(steps: tuple[Callable[[], None], ...], device: torch.device) -> tuple[list[float], ...]:
    """Time kinds of steps turn by turn, so that what else the machine does meets all alike; return seconds a step.

    A turn on a GPU is several steps, as the host runs ahead of it within a turn.
    """
    steps_a_turn = 10 if device.type == "cuda" else 1
    for step in steps:
        for _ in range(WARM_STEPS):
            step()
    taken: tuple[list[float], ...] = tuple([] for _ in steps)
    deadline = time.perf_counter() + MEASURED_SECONDS
    while len(taken[0]) < FEWEST_TURNS or (time.perf_counter() < deadline and len(taken[0]) < MOST_TURNS):
        for step, of_step in zip(steps, taken, strict=True):
            wait_for(device)
            start = time.perf_counter()
            for _ in range(steps_a_turn):
                step()
            wait_for(device)
            of_step.append((time.perf_counter() - start) / steps_a_turn)
    return taken
