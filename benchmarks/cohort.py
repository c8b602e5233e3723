"""How to train several runs of one network side by side: each way against taking turns, in one table of ratios.

    python benchmarks/cohort.py [--architecture mobilenet_v1] [--image-size 64] [--batch 32] [--runs 4] [--dry-run]

All options but --runs may be repeated; half an hour on 2 cores for what is the default, a minute with --dry-run.
Every way trains as many runs of the same network, each with its own weights, batches and rate, by SGD with
momentum, in float32, and all ways take turns, so that a noisy machine hits all. All but the processes are one
process with as many threads as `clr-hpc run` gives one: a single one, unless --threads says otherwise.

- turn by turn: a step of each run in turn, from a pack, operation by operation; on CPUs what a cohort does
- on a GPU, cohort: the same as a cohort does it there, by captured passes on a stream a run
- bare: the same network and optimizer on tensors that are there already, run by run
- compiled: the same through torch.compile; compilation is measured apart
- vmap: one step for all, over stacked parameters and batch norm's statistics (`torch.func`), by an update rule
  that takes a rate a run; on tensors that are there already
- processes: one a core, of one thread, each with its share of the runs, as `clr-hpc run` does
- on a GPU instead of the last: a stream a run, and a CUDA graph a run, on tensors that are there already

A way is kept beside "turn by turn" if it is at least 1.3 times as fast. Memory follows: the peak of a process that
trains 14 runs, in that of a process with one run.
"""

import argparse
import copy
import faulthandler
import itertools
import multiprocessing
import os
import statistics
import tempfile
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection
from pathlib import Path

import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn
from torch.func import functional_call, grad_and_value, stack_module_state, vmap
from torch.nn.functional import binary_cross_entropy_with_logits

from clr_hpc.config.network import ARCHITECTURES
from clr_hpc.config.optimizer import Sgd
from clr_hpc.config.policy import Triangular
from clr_hpc.config.run import Initialisation, RunSpec, Training
from clr_hpc.config.task import BinaryTask
from clr_hpc.data.build import build_pack
from clr_hpc.data.pack import Pack
from clr_hpc.data.sources.phantom import PhantomSource
from clr_hpc.models.backbones import build_backbone
from clr_hpc.training.distributed import ProcessGroup
from clr_hpc.training.trainer import Trainer
from parts.loops import Steps, in_turns

WANTED = 1.3
COHORT = 14
"""Runs whose memory is measured: a classifier for each finding."""
CORES = len(os.sched_getaffinity(0))
CUDA = torch.cuda.is_available()
DEVICE = torch.device("cuda" if CUDA else "cpu")
BATCHES = 4
"""That each run goes through again and again where tensors are there already."""
"""Takes so many steps of every run."""


def rate(number: int) -> float:
    """Return the learning rate of a run."""
    return 0.001 * (number + 1)


def spec(architecture: str, size: int, batch: int, number: int, checksum: str) -> RunSpec:
    """Return one of the runs."""
    return RunSpec(
        pack_checksum=checksum,
        task=BinaryTask(pathology="effusion"),
        stage="scratch",
        architecture=architecture,
        optimizer=Sgd(),
        policy=Triangular(lr_min=rate(number) / 10, lr_max=rate(number), half_cycle_epochs=1),
        training=Training(epochs=1000, batch_size=batch, image_size=size),
        seed=number,
    )


def turn_by_turn(specs: list[RunSpec], pack: Pack, eager: bool = True) -> Steps:
    """Train as ``clr_hpc.training.loop`` does between two evaluations, a step of each run in turn.

    On a GPU with passes captured, on a stream a run, unless they are to be launched as they are written.
    """
    runs = [Trainer(spec, pack, ProcessGroup.alone(DEVICE), eager=eager) for spec in specs]
    for run in runs:
        run.wrap_model()
    streams = [torch.cuda.Stream() if CUDA and not eager else None for _ in runs]
    samples = itertools.count(0, runs[0].batch_size)

    def steps(count: int) -> None:
        for seen in itertools.islice(samples, count):
            for stream, run in zip(streams, runs, strict=True):
                with torch.cuda.stream(stream):  # None: where it is
                    run.set_lr(seen)
                    run.step(seen)

    return steps


class Bare:
    """Networks, their optimizers and batches on the device, without anything around them."""

    def __init__(self, architecture: str, size: int, batch: int, runs: int) -> None:
        self.networks = [
            build_backbone(architecture, 1, Initialisation(), seed).to(DEVICE, memory_format=torch.channels_last)
            for seed in range(runs)
        ]
        self.optimizers = [
            torch.optim.SGD(network.parameters(), lr=rate(number), momentum=0.9, fused=True)
            for number, network in enumerate(self.networks)
        ]
        self.images = torch.randn(BATCHES, runs, batch, 1, size, size, device=DEVICE)
        self.labels = torch.randint(0, 2, (BATCHES, runs, batch), device=DEVICE).float()

    def step(self, number: int, network: nn.Module, which: int) -> Tensor:
        """Train one run on one of its batches; return its loss."""
        images = self.images[which, number].contiguous(memory_format=torch.channels_last)
        loss = loss_of(network(images), self.labels[which, number])
        self.optimizers[number].zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        self.optimizers[number].step()
        return loss.detach()

    def by(self, networks: list[nn.Module]) -> Steps:
        """Return what trains through these, which share the networks' parameters, run by run."""

        def steps(count: int) -> None:
            for which in range(count):
                for number, network in enumerate(networks):
                    self.step(number, network, which % BATCHES)

        return steps


def loss_of(outputs: Tensor, labels: Tensor) -> Tensor:
    """Return the mean loss of a batch."""
    return binary_cross_entropy_with_logits(outputs.squeeze(1), labels)


def by_vmap(architecture: str, bare: Bare) -> Steps:
    """Train all runs by one step over stacked parameters.

    Batch norm changes its running statistics in place, which vmap allows where these are stacked as well: each run
    then has its own. Dropout draws other masks than the run alone would, so AlexNet's results differ.
    """
    with torch.device("meta"):
        template = build_backbone(architecture, 1, Initialisation(), 0)
    # a GPU's batch norm copies to the layout of its input, and under vmap it refuses to for channels last
    networks = [copy.deepcopy(network).to(memory_format=torch.contiguous_format) for network in bare.networks]
    parameters, buffers = stack_module_state(networks)
    momenta = {name: torch.zeros_like(value) for name, value in parameters.items()}
    rates = torch.tensor([rate(number) for number in range(len(bare.networks))], device=DEVICE)

    def loss(one: dict[str, Tensor], statistics: dict[str, Tensor], images: Tensor, labels: Tensor) -> Tensor:
        return loss_of(functional_call(template, (one, statistics), (images,)), labels)

    of_all = vmap(grad_and_value(loss), randomness="different")

    def steps(count: int) -> None:
        for which in range(count):
            gradients, _ = of_all(parameters, buffers, bare.images[which % BATCHES], bare.labels[which % BATCHES])
            with torch.no_grad():
                for name, value in parameters.items():
                    momenta[name].mul_(0.9).add_(gradients[name])
                    value.sub_(momenta[name] * rates.reshape(-1, *[1] * (value.dim() - 1)))

    return steps


def by_streams(bare: Bare) -> Steps:
    """Launch each run's step on a stream of its own. Needs CUDA."""
    streams = [torch.cuda.Stream() for _ in bare.networks]

    def steps(count: int) -> None:
        for which in range(count):
            for number, (stream, network) in enumerate(zip(streams, bare.networks, strict=True)):
                with torch.cuda.stream(stream):
                    bare.step(number, network, which % BATCHES)

    return steps


def by_graphs(architecture: str, size: int, batch: int, runs: int) -> Steps:
    """Replay each run's step as one CUDA graph, on a stream of its own. Needs CUDA."""
    own = Bare(architecture, size, batch, runs)  # what a graph was captured with must stay where it is
    streams, graphs = [torch.cuda.Stream() for _ in range(runs)], []
    for number, (stream, network) in enumerate(zip(streams, own.networks, strict=True)):
        # a tensor, which a replay reads anew, so that each step can have another rate
        own.optimizers[number] = torch.optim.SGD(
            network.parameters(), lr=torch.tensor(rate(number), device=DEVICE), momentum=0.9, fused=True
        )
        with torch.cuda.stream(stream):
            for _ in range(3):  # libraries choose and allocate in the first steps, which a capture doesn't allow
                own.step(number, network, 0)
        torch.cuda.synchronize()
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, stream=stream):
            own.step(number, network, 0)
        graphs.append(graph)

    def steps(count: int) -> None:
        for _ in range(count):
            for stream, graph in zip(streams, graphs, strict=True):
                with torch.cuda.stream(stream):
                    graph.replay()

    return steps


def _share(connection: Connection, specs: list[RunSpec], pack_folder: Path) -> None:
    """Be one of several processes: take steps when told so."""
    torch.set_num_threads(1)
    steps = turn_by_turn(specs, Pack.open(pack_folder))
    connection.send(None)
    while (count := connection.recv()) is not None:
        steps(count)
        connection.send(None)


@contextmanager
def by_processes(specs: list[RunSpec], pack_folder: Path) -> Iterator[Steps]:
    """Share the runs out among one process a core."""
    context = multiprocessing.get_context("spawn")
    started = []
    for share in filter(None, (specs[core::CORES] for core in range(CORES))):
        ours, theirs = context.Pipe()
        process = context.Process(target=_share, args=(theirs, share, pack_folder))
        process.start()
        theirs.close()
        started.append((ours, process))
    connections = [connection for connection, _ in started]

    def wait() -> None:
        for connection in connections:
            connection.recv()

    def steps(count: int) -> None:
        for connection in connections:
            connection.send(count)
        wait()

    wait()
    try:
        yield steps
    finally:
        for connection, process in started:
            connection.send(None)
            process.join()


def compiled(bare: Bare) -> tuple[list[nn.Module], list[float], float]:
    """Compile every network; return them, the seconds of each one's first step, and how far results differ.

    The difference is the largest of the first run's gradients, as a share of the largest eager gradient.
    """
    torch._dynamo.reset()
    eager = bare.networks[0]
    before = {name: value.clone() for name, value in eager.state_dict().items()}
    gradients, networks, seconds = [], [], []
    for network in (eager, *[torch.compile(network) for network in bare.networks]):
        start = time.perf_counter()
        images = bare.images[0, 0].contiguous(memory_format=torch.channels_last)
        torch.manual_seed(0)
        loss_of(network(images), bare.labels[0, 0]).backward()  # type: ignore[no-untyped-call]
        seconds.append(time.perf_counter() - start)
        if len(gradients) < 2:
            gradients.append([value.grad.clone() for value in eager.parameters() if value.grad is not None])
            eager.zero_grad(set_to_none=True)
            eager.load_state_dict(before)
        networks.append(network)
    largest = max(float(value.abs().max()) for value in gradients[0])
    apart = max(float((one - other).abs().max()) for one, other in zip(*gradients, strict=True))
    return networks[1:], seconds[1:], apart / largest


def _possible(ways: dict[str, Steps], notes: dict[str, str]) -> dict[str, Steps]:
    """Return the ways that torch can go on this device, and note why it can't go the others."""
    possible = {}
    for name, steps in ways.items():
        try:
            steps(1)
        except RuntimeError as error:
            notes[name] = str(error).splitlines()[0]
        else:
            possible[name] = steps
    return possible


def compare(architecture: str, size: int, batch: int, pack: Pack, options: argparse.Namespace) -> list[list[str]]:
    """Measure all ways of one network, image size and batch; return rows of the table."""
    runs, notes = options.runs, dict[str, str]()
    specs = [spec(architecture, size, batch, number, pack.manifest.checksum) for number in range(runs)]
    bare = Bare(architecture, size, batch, runs)
    ways = {"turn by turn": turn_by_turn(specs, pack), "bare": bare.by(bare.networks)}
    if not options.no_compile:
        networks, first, apart = compiled(bare)
        ways["compiled"] = bare.by(networks)
    if not options.no_vmap:
        ways["vmap"] = by_vmap(architecture, bare)
    if CUDA:
        ways["cohort"] = turn_by_turn(specs, pack, eager=False)
        ways["streams"] = by_streams(bare)
        ways["graphs"] = by_graphs(architecture, size, batch, runs)
        seconds = in_turns(_possible(ways, notes), options.steps, options.turns)
    else:
        with by_processes(specs, pack.folder) as ways["processes"]:
            seconds = in_turns(ways, options.steps, options.turns)
    if "compiled" in ways:
        gain = (statistics.median(seconds["bare"]) - statistics.median(seconds["compiled"])) / (
            options.steps * runs
        )
        cost = first[0] - statistics.median(seconds["compiled"]) / (options.steps * runs)
        pays = f"pays after {cost / gain:.0f} steps" if gain > 0 else "never pays"
        notes["compiled"] = (
            f"{cost:.0f} s to compile, {pays}; the second run's first step {first[1]:.1f} s; "
            f"gradients differ by {apart:.0e}"
        )
    rows = [["", name, "", "", note] for name, note in notes.items() if name not in seconds]
    for name, taken in seconds.items():
        against = [base / own for base, own in zip(seconds["turn by turn"], taken, strict=True)]
        speed = options.steps * runs * batch / statistics.median(taken)
        what = f"{architecture}, {size}², {batch}"
        rows.append([what, name, f"{speed:.0f}", f"{statistics.median(against):.2f}", notes.get(name, "")])
    return rows


def _peak(connection: Connection, runs: int, pack_folder: Path) -> None:
    """Train so many runs for some steps and send the peak of memory in bytes."""
    torch.set_num_threads(1)
    pack = Pack.open(pack_folder)
    specs = [spec("mobilenet_v1", pack.manifest.size, 32, n, pack.manifest.checksum) for n in range(runs)]
    turn_by_turn(specs, pack, eager=False)(4)
    if CUDA:
        connection.send(torch.cuda.max_memory_allocated())
    else:
        status = Path("/proc/self/status").read_text()
        connection.send(1024 * int(status.split("VmHWM:")[1].split()[0]))


def peak(runs: int, pack_folder: Path) -> int:
    """Return the peak memory of a fresh process that trains so many runs, in bytes."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_peak, args=(theirs, runs, pack_folder))
    process.start()
    value: int = ours.recv()
    process.join()
    return value


def show_memory(pack: Pack) -> None:
    """Measure and print what a cohort needs."""
    one, cohort = peak(1, pack.folder), peak(COHORT, pack.folder)
    kind = "of the GPU's memory" if CUDA else "resident"
    print(
        f"Memory, MobileNetV1, {pack.manifest.size}², batch 32: a process with {COHORT} runs peaks at "
        f"{cohort / one:.2f} × that of one run ({one / 2**20:.0f} MiB {kind}), "
        f"{cohort / (COHORT * one):.2f} of {COHORT} such processes"
    )


def arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--architecture", action="append", choices=ARCHITECTURES, help="all")
    parser.add_argument("--image-size", type=int, action="append", help="64")
    parser.add_argument("--batch", type=int, action="append", help="16 and 32")
    parser.add_argument("--runs", type=int, default=4)
    parser.add_argument("--turns", type=int, default=6)
    parser.add_argument("--steps", type=int, default=20 if CUDA else 2, help="of every run, in a turn")
    parser.add_argument("--threads", type=int, default=1, help="of all ways but the processes, on CPUs")
    parser.add_argument("--no-compile", action="store_true", help="leave torch.compile out")
    parser.add_argument("--no-vmap", action="store_true", help="leave vmap out")
    parser.add_argument("--dry-run", action="store_true", help="two runs of MobileNetV1 at 32 × 32, once: a check")
    options = parser.parse_args()
    if options.dry_run:
        options.architecture, options.image_size, options.batch = ["mobilenet_v1"], [32], [8]
        options.runs, options.turns, options.steps = 2, 1, 1
    options.architecture = options.architecture or list(ARCHITECTURES)
    options.image_size, options.batch = options.image_size or [64], options.batch or [16, 32]
    return options


def main() -> None:
    """Measure and print."""
    options = arguments()
    faulthandler.enable()
    warnings.filterwarnings("ignore", category=UserWarning, module=r"torch\.")
    torch.set_num_threads(options.threads)
    hardware = torch.cuda.get_device_name() if CUDA else f"{options.threads} of {CORES} cores, no GPU"
    table = Table(title=f"{options.runs} runs side by side, {hardware}")
    for heading in ("network, size, batch", "way", "images/s", "of turn by turn", ""):
        table.add_column(heading)
    with tempfile.TemporaryDirectory() as name:
        # without what an earlier process has compiled
        os.environ["TORCHINDUCTOR_CACHE_DIR"] = str(Path(name) / "compiled")
        for size in options.image_size:
            build_pack(PhantomSource(images=300), Path(name) / f"pack{size}", size)
            pack = Pack.open(Path(name) / f"pack{size}")
            for architecture, batch in itertools.product(options.architecture, options.batch):
                for row in compare(architecture, size, batch, pack, options):
                    table.add_row(*row)
                    print(*row, sep=" | ", flush=True)
            show_memory(pack)
    Console(width=160).print(table)
    print(f"a way is kept beside turn by turn from {WANTED} on")
    if not CUDA:
        print("streams and CUDA graphs: not measured, since there is no GPU")


if __name__ == "__main__":
    main()
