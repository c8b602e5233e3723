"""The largest batch that fits into memory, found by probing in a process of its own.

Sizes double until one does not fit; then the interval between is halved a few times. A probe builds the run's
network and takes two real steps. A GPU reports when it is full. On a CPU the memory of the probe is compared with
its share of the free memory before a larger one would exceed it, since there the kernel kills without warning.
"""

import logging
import resource
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from clr_hpc.config.base import UserError
from clr_hpc.config.run import RunSpec
from clr_hpc.config.study import Study
from clr_hpc.config.tune import UpToWhatFits
from clr_hpc.config.tuned_study import trial_runs
from clr_hpc.places.machine import Processes
from clr_hpc.places.processes.forkserver import Child, begin
from clr_hpc.tuning.space import dimensions_of

log = logging.getLogger(__name__)
STEPS = 3
"""The optimizer's own memory is there after the first, and that of a GPU's graphs after the third."""
SPARE = 0.8
"""Usable share of the free memory: other things grow too."""


class BatchProbe:
    """Builds runs and takes a few of their steps, each in a process of its own."""

    def __init__(self, pack_folder: Path, sharing: Processes) -> None:
        """Probe on this pack, for as many runs at a time as share the machine."""
        self._pack_folder, self._sharing = pack_folder, sharing
        self._budget_bytes = SPARE * _free_bytes() / sharing.count
        self._on_cpu = True
        self._bytes_at_rest = 0
        self._largest: tuple[int, int] | None = None
        """The largest batch so far, and the bytes that it took."""

    def training_images(self, spec: RunSpec) -> int:
        """Return how many images a run learns from: no batch is larger."""
        return int(self._ask("images", spec))

    def fits(self, spec: RunSpec) -> bool:
        """Say whether a run's batch fits into its share of the memory."""
        batch_size = spec.training.batch_size
        if self._largest is not None and self._on_cpu:
            known, taken = self._largest
            if taken + self._bytes_per_image(known, taken) * (batch_size - known) > self._budget_bytes:
                return False
        answer = self._ask("step", spec)
        if answer == "out of memory":
            return False
        if not self._on_cpu:
            return True
        self._largest = (batch_size, int(answer))
        return int(answer) <= self._budget_bytes

    def _bytes_per_image(self, batch_size: int, taken: int) -> float:
        return max(0, taken - self._bytes_at_rest) / batch_size

    def _ask(self, question: str, spec: RunSpec) -> Any:
        """Ask a new process: in an old one the peak of a larger batch would still count."""
        with Child(_answer, question, self._pack_folder, spec, self._sharing) as child:
            try:
                kind, self._bytes_at_rest, answer = child.receive()
                self._on_cpu = kind == "cpu"
            except EOFError:
                log.info("%s with batch_size %d", child.death, spec.training.batch_size)
                return "out of memory"  # the kernel killed it
        if isinstance(answer, Exception):
            raise answer
        return answer


def _answer(connection: Connection, question: str, pack_folder: Path, spec: RunSpec, sharing: Processes) -> None:
    begin()
    import torch

    from clr_hpc.data.pack import Pack
    from clr_hpc.training.distributed import ProcessGroup, is_out_of_memory
    from clr_hpc.training.trainer import Trainer

    torch.set_num_threads(sharing.threads)
    device = torch.device("cuda", 0) if torch.cuda.is_available() else torch.device("cpu")
    if device.type == "cuda" and sharing.count > torch.cuda.device_count():
        torch.cuda.set_per_process_memory_fraction(torch.cuda.device_count() / sharing.count)
    at_rest = 0
    answer: object
    try:
        run = Trainer(spec, Pack.open(pack_folder), ProcessGroup.alone(device))
        run.wrap_model()
        at_rest = _peak_bytes()
        if question == "images":
            answer = len(run.data.training)
        else:
            run.set_lr(0)
            for step in range(STEPS):
                run.step(step * run.batch_size)
            answer = _peak_bytes()
    except Exception as error:
        answer = "out of memory" if is_out_of_memory(error) else error
    connection.send((device.type, at_rest, answer))


def _peak_bytes() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def _free_bytes() -> int:
    for line in Path("/proc/meminfo").read_text().splitlines():
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) * 1024
    raise OSError("/proc/meminfo has no MemAvailable; free memory is unknown")


HALVINGS = 2
"""Bisections of the last doubling: the largest batch is found to a quarter of it."""


class NothingFitsError(UserError):
    """Not even the smallest batch size fits into memory."""


def batch_sizes_that_fit(
    study: Study, pack_checksum: str, sharing: Processes, log: Callable[[str], None]
) -> tuple[int, ...]:
    """Return ``low``, its doublings and the largest batch size that fits; empty where the space asks for none.

    Raises:
        NothingFitsError: ``low`` doesn't fit.
    """
    assert study.tune is not None
    wanted = study.tune.space.batch_size
    if not isinstance(wanted, UpToWhatFits):
        return ()
    others = dimensions_of(study.tune.space, (wanted.low,))
    values = {name: dimension.grid()[0] for name, dimension in others.items()}

    def spec_of(batch_size: int) -> RunSpec:
        return trial_runs(study, values | {"batch_size": batch_size}, pack_checksum)[0]

    probe = BatchProbe(Path(study.pack), sharing)
    most = probe.training_images(spec_of(wanted.low))
    sizes = search_largest(wanted.low, most, lambda batch_size: probe.fits(spec_of(batch_size)))
    if not sizes:
        raise NothingFitsError(
            f"not even batch_size={wanted.low} fits into memory; lower low, image_size or --processes"
        )
    log(f"batch sizes that fit: {', '.join(map(str, sizes))}")
    return sizes


def search_largest(low: int, most: int, fits: Callable[[int], bool]) -> tuple[int, ...]:
    """Return ``low``, its doublings as far as they fit, and the largest size found above them.

    Args:
        low: the first size.
        most: the largest useful one: a batch of all images.
        fits: tries a size; larger sizes than one that doesn't fit are not tried.
    """
    sizes: list[int] = []
    size = low
    while size <= most and fits(size):
        sizes.append(size)
        size *= 2
    if not sizes:
        return ()
    fitting, too_large = sizes[-1], min(size, most + 1)
    for _ in range(HALVINGS):
        middle = (fitting + too_large) // 2
        if middle <= fitting:
            break
        if fits(middle):
            fitting = middle
        else:
            too_large = middle
    return (*sizes, fitting) if fitting > sizes[-1] else tuple(sizes)
