"""Short measurement of how fast this machine trains a study's runs: a few steps of each kind in real processes.

Processes that train at once slow each other down (they share memory bandwidth, or a GPU), so as many are measured
at once as lanes are planned side by side. Results are kept in a file named after the hardware that they depend on,
and are not measured again.
"""

import hashlib
import json
import platform
import time
from collections.abc import Callable, Sequence
from importlib.metadata import version
from pathlib import Path
from statistics import fmean
from typing import Any

from clr_hpc.config.resources import LaneShape, Resources
from clr_hpc.config.run import RunSpec
from clr_hpc.data.manifest import read_manifest
from clr_hpc.places.processes.forkserver import Child
from clr_hpc.places.processes.probed_run import Measured, measure_on_request
from clr_hpc.places.queue import MEMORY_MAY_BE_SHORT
from clr_hpc.planning.throughput import (
    Throughput,
    ThroughputError,
    ThroughputTable,
    read_throughput,
    write_throughput,
)
from clr_hpc.planning.workload import StepKind, work_of


def rates_here(
    runs: Sequence[RunSpec],
    pack_folder: Path,
    resources: Resources,
    shapes: Sequence[LaneShape],
    rates_folder: Path,
    on_measure: Callable[[StepKind, LaneShape], None],
) -> ThroughputTable:
    """Return the rates of all kinds among ``runs`` in one-worker lanes on this machine, measured where needed.

    Args:
        runs: of the study.
        pack_folder: already verified.
        resources: of this machine.
        shapes: of lanes; those of several workers are modelled from one worker's, see ``ThroughputTable.find``.
        rates_folder: where rates are kept, ``results/rates``.
        on_measure: called before each measurement, which takes some seconds.

    Raises:
        ThroughputError: nothing could be measured of a kind; the message has the reason.
    """
    table = known_rates(resources, rates_folder)
    wanted = [
        (kind, spec, shape)
        for kind, spec in _representatives(runs, pack_folder).items()
        for shape in shapes
        if shape.workers == 1 and table.find(kind, shape) is None
    ]
    if not wanted:
        return table
    most = max(_at_once(shape, resources) for _, _, shape in wanted)
    rates_folder.mkdir(parents=True, exist_ok=True)
    with _Processes(most, pack_folder, rates_folder) as processes:
        ready = processes.ready_seconds
        new = []
        for kind, spec, shape in wanted:
            on_measure(kind, shape)
            new.append(_rate(kind, shape, processes.measure(spec, shape, _at_once(shape, resources))))
    table = table.with_rates(tuple(rate for rate in new if rate is not None))
    table = table.model_copy(update={"lane_start_seconds": ready})
    write_throughput(_file_of(_hardware(resources), rates_folder), table)
    return table


def known_rates(resources: Resources, rates_folder: Path) -> ThroughputTable:
    """Return the rates that were measured before on this machine."""
    hardware = _hardware(resources)
    file = _file_of(hardware, rates_folder)
    return read_throughput(file) if file.is_file() else ThroughputTable(measured_on=hardware, rates=())


def _file_of(hardware: dict[str, Any], rates_folder: Path) -> Path:
    digest = hashlib.sha256(json.dumps(hardware, sort_keys=True).encode()).hexdigest()[:10]
    return rates_folder / f"{digest}.json"


def _representatives(runs: Sequence[RunSpec], pack_folder: Path) -> dict[StepKind, RunSpec]:
    """Return a run of each kind that takes steps, else any."""
    chosen: dict[StepKind, RunSpec] = {}
    for item, spec in zip(work_of(runs, read_manifest(pack_folder).counts), runs, strict=True):
        kind = item.load.kind
        if kind not in chosen or (chosen[kind].is_fitted and not spec.is_fitted):
            chosen[kind] = spec
    return chosen


def _at_once(shape: LaneShape, resources: Resources) -> int:
    """Return how many lanes share one GPU, or all CPUs, and so slow each other down."""
    return shape.runs_per_gpu if resources.gpus else max(1, resources.cpus // shape.cpus_per_worker)


def _hardware(resources: Resources) -> dict[str, Any]:
    """Return what rates depend on besides the kind of run."""
    cpu = platform.processor()
    for line in _lines(Path("/proc/cpuinfo")):
        if line.startswith("model name"):
            cpu = line.partition(":")[2].strip()
            break
    gpus = sorted({line for file in Path("/proc/driver/nvidia/gpus").glob("*/information") for line in _lines(file)
                   if line.startswith("Model")})  # fmt: skip
    return {
        "cpu": cpu,
        "cpus": resources.cpus,
        "gpu": [line.partition(":")[2].strip() for line in gpus],
        "gpus": bool(resources.gpus),
        "torch": version("torch"),
    }


def _lines(file: Path) -> list[str]:
    try:
        return file.read_text().splitlines()
    except OSError:
        return []


def _rate(kind: StepKind, shape: LaneShape, measured: list[Measured]) -> Throughput | None:
    """Return the mean over the processes measured at once; None where one of them failed."""
    if not measured:
        return None

    def mean(name: str) -> float:
        return fmean(getattr(each, name) for each in measured)

    return Throughput(
        network=kind.network,
        image_size=kind.image_size,
        batch_size=kind.batch_size,
        precision=kind.precision,
        **shape.model_dump(),
        images_per_second=mean("images_per_second"),
        evaluated_per_second=mean("evaluated_per_second"),
        start_seconds=mean("start_seconds"),
        epoch_seconds=mean("epoch_seconds"),
        memory_bytes=max(each.memory_bytes for each in measured),
    )


class _Processes:
    """Warm processes that measure the runs they receive, the first few of them at once."""

    def __init__(self, count: int, pack_folder: Path, disk: Path) -> None:
        self._count, self._arguments = count, (pack_folder, disk)
        self._all: list[Child] = []
        self.ready_seconds = 0.0
        """From the start of the processes to their readiness."""

    def __enter__(self) -> "_Processes":
        started = time.monotonic()
        try:
            for _ in range(self._count):
                self._all.append(Child(measure_on_request, *self._arguments))
            for child in self._all:
                _answer(child)
        except BaseException:
            self._kill()
            raise
        self.ready_seconds = time.monotonic() - started
        return self

    def measure(self, spec: RunSpec, shape: LaneShape, at_once: int) -> list[Measured]:
        """Return the measurements of ``at_once`` processes side by side; none where one runs out of GPU memory.

        Raises:
            ThroughputError: a process failed in another way.
        """
        chosen = self._all[:at_once]
        for step in ("prepare", "measure"):  # all begin to measure when the last one is prepared
            for child in chosen:
                child.send((step, spec, shape.cpus_per_worker))
            answers = [_answer(child) for child in chosen]
            reasons = [answer for answer in answers if isinstance(answer, str)]
            if any(reason == "out of memory" for reason in reasons) and at_once > 1:
                return []
            if reasons:
                raise ThroughputError(
                    f"{spec.name} can't be measured: {reasons[0]}; fix that, or give rates as a file"
                )
        return [answer for answer in answers if isinstance(answer, Measured)]

    def _kill(self) -> None:
        for child in self._all:
            child.kill()

    def __exit__(self, *_: object) -> None:
        self._kill()  # they have nothing to save


def _answer(child: Child) -> Any:
    try:
        return child.receive()
    except EOFError:
        raise ThroughputError(
            f"{child.death} while it measured; {MEMORY_MAY_BE_SHORT}, or give --no-plan"
        ) from None
