"""Measuring process of the probe: a few steps, an evaluation and a checkpoint of a real run."""

import resource
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection
from pathlib import Path
from typing import TYPE_CHECKING

from clr_hpc.config.run import RunSpec
from clr_hpc.places.processes.forkserver import begin

if TYPE_CHECKING:
    import numpy as np
    import torch
    from numpy.typing import NDArray

    from clr_hpc.data.pack import Pack

WARM_STEPS = 2
"""Steps after the first; the last of them captures a GPU's graphs."""
MEASURED_SECONDS = 2.0
"""At least one step is measured, however long it takes."""
EVALUATED_AT_MOST = 512
"""Images."""


@dataclass(frozen=True)
class Measured:
    """Measurement by one process."""

    images_per_second: float
    evaluated_per_second: float
    start_seconds: float
    epoch_seconds: float
    memory_bytes: int


def measure_on_request(connection: Connection, pack_folder: Path, disk: Path) -> None:
    """Prepare and measure the runs that come through a connection, until its other end is closed.

    Args:
        connection: yields ``(step, spec, threads)``, and takes None, a measurement or the reason for none.
        pack_folder: pack of the runs.
        disk: folder on the disk that runs save to; it is left empty.
    """
    begin()
    import torch

    from clr_hpc.data.pack import Pack
    from clr_hpc.training import loop  # noqa: F401  what a lane imports once belongs to its start
    from clr_hpc.training.distributed import is_out_of_memory

    pack = Pack.open(pack_folder)
    device = torch.device("cuda", 0) if torch.cuda.is_available() else torch.device("cpu")
    probe: _Probe | None = None
    connection.send(None)
    while True:
        try:
            step, spec, threads = connection.recv()
        except EOFError:
            return
        answer: object = None
        try:
            if step == "prepare":
                torch.set_num_threads(threads)
                probe = None
                _Probe(spec, pack, device, disk)  # the first of a kind in a process takes seconds longer
                probe = _Probe(spec, pack, device, disk)
            elif probe is not None:
                answer = probe.measure()
        except Exception as error:
            answer = "out of memory" if is_out_of_memory(error) else f"{type(error).__name__}: {error}"
        connection.send(answer)


class _Probe:
    """A real run, prepared and warm, of which a few steps are measured. It leaves nothing on disk."""

    def __init__(self, spec: RunSpec, pack: "Pack", device: "torch.device", disk: Path) -> None:
        import torch

        from clr_hpc.training.distributed import ProcessGroup
        from clr_hpc.training.trainer import Trainer

        self._torch, self._device, self._disk = torch, device, disk
        if device.type == "cuda":
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats(device)
        with self._timed() as building:
            # a fitted run is measured by its passes over the images
            self._run = Trainer(spec, pack, ProcessGroup.alone(device))
            self._run.wrap_model()
            self._samples = 0
            self._takes_steps = self._run.optimizer is not None
        self._start_seconds = building[0]
        if self._takes_steps:
            self._run.set_lr(0)
            with self._timed() as first_step:
                self._step()
            self._start_seconds += first_step[0]
            for _ in range(WARM_STEPS):
                self._step()

    def measure(self) -> Measured:
        """Train, evaluate and save for some seconds."""
        training = self._training_rate() if self._takes_steps else None
        evaluated = self._evaluation_rate(training)
        saving = self._saving_seconds()
        return Measured(
            images_per_second=training or evaluated,
            evaluated_per_second=evaluated,
            start_seconds=self._start_seconds + saving,
            epoch_seconds=saving if self._takes_steps else 0.0,
            memory_bytes=self._memory_bytes(),
        )

    def _training_rate(self) -> float:
        before = self._samples
        with self._timed() as taken:
            deadline = time.perf_counter() + MEASURED_SECONDS
            while True:
                self._step()
                self._wait()
                if time.perf_counter() >= deadline:
                    break
        return (self._samples - before) / taken[0]

    def _evaluation_rate(self, training: float | None) -> float:
        """Return images per second; evaluate as many images as take about as long as the training did."""
        affordable = EVALUATED_AT_MOST if training is None else int(2 * training * MEASURED_SECONDS)
        rows = self._run.data.splits["train"]
        count = min(len(rows), max(16, min(EVALUATED_AT_MOST, affordable)))
        few = replace(rows, rows=rows.rows[:count], labels=rows.labels[:count])
        self._run.data = replace(self._run.data, splits={**self._run.data.splits, "validation": few})
        if not self._takes_steps:
            return self._passes_over(few.rows)
        self._run.evaluate("validation")  # the first one imports what computes metrics
        with self._timed() as taken:
            self._run.evaluate("validation")
        return count / taken[0]

    def _passes_over(self, rows: "NDArray[np.int64]") -> float:
        """Return images per second through a network that nothing is fitted to yet."""
        with self._torch.inference_mode(), self._timed() as taken:
            self._run.model(self._run.step.load(rows))
        return len(rows) / taken[0]

    def _saving_seconds(self) -> float:
        from clr_hpc.store import layout
        from clr_hpc.store.checkpoints import Progress
        from clr_hpc.training.checkpoint import Checkpoints

        with tempfile.TemporaryDirectory(dir=self._disk) as folder, self._timed() as taken:
            Checkpoints(Path(folder) / layout.CHECKPOINTS).save(self._run.state(), Progress())
        return taken[0]

    def _memory_bytes(self) -> int:
        if self._device.type == "cuda":
            return int(self._torch.cuda.max_memory_reserved(self._device))
        kibibytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return kibibytes * 1024

    def _step(self) -> None:
        self._run.step(self._samples)
        self._samples += self._run.batch_size

    def _wait(self) -> None:
        if self._device.type == "cuda":
            self._torch.cuda.synchronize(self._device)

    @contextmanager
    def _timed(self) -> Iterator[list[float]]:
        seconds: list[float] = []
        start = time.perf_counter()
        yield seconds
        self._wait()
        seconds.append(time.perf_counter() - start)
