"""How to train several runs of one network side by side: each method against taking turns, in one table of ratios.

    python benchmarks/cohort.py [--architecture mobilenet_v1] [--batch 32] [--runs 4] [--dry-run]

Half an hour on 2 cores, a minute with --dry-run. Every method trains as many runs of one network, each with
its own weights, batches and rate, by SGD with momentum, in float32, in one process with one thread.

- turn by turn: a step of each run in turn, from a pack, operation by operation; a cohort on a CPU
- cohort (GPU): captured passes on one stream per run
- bare: the same network and optimizer on resident tensors, run by run
- compiled: the same through torch.compile; its first step includes compilation
- vmap: one step for all, over stacked parameters and batch norm's statistics (`torch.func`), on resident tensors
- processes (CPU): one per core, each with its share of the runs, as `clr-hpc run` does
- streams, graphs (GPU): one stream per run, and one CUDA graph per run, on resident tensors

Memory follows: the peak of a process with 14 runs, in multiples of a process with one run.
"""

import argparse
import copy
import faulthandler
import itertools
import os
import statistics
import tempfile
import time
import warnings
from multiprocessing.connection import Connection
from pathlib import Path

import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn
from torch.func import functional_call, grad_and_value, stack_module_state, vmap
from torch.nn.functional import binary_cross_entropy_with_logits

from clr_hpc.config.network import ARCHITECTURES
from clr_hpc.config.run import Initialisation
from clr_hpc.data.build import usable_cores
from clr_hpc.data.pack import Pack
from clr_hpc.models.backbones import build_backbone
from parts.command import parser
from parts.loops import Setting, Steps, in_turns, our_run
from parts.processes import Memory, Workers, apart
from parts.studies import phantom_pack

COHORT = 14
"""Runs whose memory is measured: a classifier for each finding."""
CUDA = torch.cuda.is_available()
DEVICE = torch.device("cuda" if CUDA else "cpu")
BATCHES = 4
"""Of each run on resident tensors, again and again."""


def rate(number: int) -> float:
    """Return the learning rate of a run."""
    return 0.001 * (number + 1)


def turn_by_turn(setting: Setting, numbers: list[int], pack: Pack, eager: bool = True) -> Steps:
    """Train as ``clr_hpc.training.loop`` does between two evaluations, a step of each run in turn.

    On a GPU with passes captured, on one stream per run, unless they are launched ``eager``.
    """
    runs = [our_run(setting, pack, number, rate(number), eager=eager) for number in numbers]
    streams = [torch.cuda.Stream() if CUDA and not eager else None for _ in runs]
    samples = itertools.count(0, setting.batch)

    def steps(count: int) -> None:
        for seen in itertools.islice(samples, count):
            for stream, run in zip(streams, runs, strict=True):
                with torch.cuda.stream(stream):  # None: the current one
                    run.set_lr(seen)
                    run.step(seen)

    return steps


class Bare:
    """Networks, their optimizers and batches on the device, without anything around them."""

    def __init__(self, setting: Setting, runs: int) -> None:
        self.networks = [
            build_backbone(setting.architecture, 1, Initialisation(), seed).to(
                DEVICE, memory_format=torch.channels_last
            )
            for seed in range(runs)
        ]
        self.optimizers = [self.optimizer(number, rate(number)) for number in range(runs)]
        shape = (BATCHES, runs, setting.batch)
        self.images = torch.randn(*shape, 1, setting.size, setting.size, device=DEVICE)
        self.labels = torch.randint(0, 2, shape, device=DEVICE).float()

    def optimizer(self, number: int, lr: float | Tensor) -> torch.optim.SGD:
        """Return a run's optimizer."""
        return torch.optim.SGD(self.networks[number].parameters(), lr=lr, momentum=0.9, fused=True)

    def backward(self, number: int, network: nn.Module, which: int) -> None:
        """Compute the gradients of one run on one of its batches."""
        images = self.images[which, number].contiguous(memory_format=torch.channels_last)
        loss_of(network(images), self.labels[which, number]).backward()  # type: ignore[no-untyped-call]

    def step(self, number: int, network: nn.Module, which: int) -> None:
        """Train one run on one of its batches."""
        self.optimizers[number].zero_grad(set_to_none=True)
        self.backward(number, network, which)
        self.optimizers[number].step()

    def by(self, networks: list[nn.Module], streamed: bool = False) -> Steps:
        """Return what trains run by run through these, which share the networks' parameters."""
        streams = [torch.cuda.Stream() if streamed else None for _ in networks]

        def steps(count: int) -> None:
            for which in range(count):
                for number, (network, stream) in enumerate(zip(networks, streams, strict=True)):
                    with torch.cuda.stream(stream):
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
    # a GPU's batch norm copies to the layout of its input, which fails under vmap for channels last
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


def by_graphs(setting: Setting, runs: int) -> Steps:
    """Replay each run's step as one CUDA graph, on a stream of its own. Needs CUDA."""
    own = Bare(setting, runs)  # what a graph was captured with must stay where it is
    streams, graphs = [torch.cuda.Stream() for _ in range(runs)], []
    for number, (stream, network) in enumerate(zip(streams, own.networks, strict=True)):
        # a tensor, which a replay reads anew, so that each step can have another rate
        own.optimizers[number] = own.optimizer(number, torch.tensor(rate(number), device=DEVICE))
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


def _share(setting: Setting, numbers: list[int], pack_folder: Path, connection: Connection) -> None:
    """Be one of several processes: take as many steps as requested."""
    torch.set_num_threads(1)
    steps = turn_by_turn(setting, numbers, Pack.open(pack_folder))
    while (count := connection.recv()) is not None:
        steps(count)
        connection.send(None)


def _possible(methods: dict[str, Steps], notes: dict[str, str]) -> dict[str, Steps]:
    """Return the methods that torch supports on this device, and note their first step, or why there is none."""
    possible = {}
    for name, steps in methods.items():
        start = time.perf_counter()
        try:
            steps(1)
        except RuntimeError as error:
            notes[name] = str(error).splitlines()[0]
        else:
            possible[name] = steps
            notes[name] = f"first step of all runs: {time.perf_counter() - start:.1f} s"
    return possible


def gradients_differ(bare: Bare) -> float:
    """Return the largest difference of compiled gradients, as a share of the largest eager gradient."""
    network, gradients = copy.deepcopy(bare.networks[0]), []
    for one in (network, torch.compile(network)):
        torch.manual_seed(0)
        network.load_state_dict(bare.networks[0].state_dict())
        network.zero_grad(set_to_none=True)
        bare.backward(0, one, 0)
        gradients.append([value.grad.clone() for value in network.parameters() if value.grad is not None])
    apart = [float((one - other).abs().max()) for one, other in zip(*gradients, strict=True)]
    return max(apart) / max(float(value.abs().max()) for value in gradients[0])


def compare(setting: Setting, pack: Pack, options: argparse.Namespace) -> list[list[str]]:
    """Measure all methods of one network and batch; return rows of the table."""
    runs, notes = options.runs, dict[str, str]()
    numbers, bare, workers = list(range(runs)), Bare(setting, runs), None
    methods = {"turn by turn": turn_by_turn(setting, numbers, pack), "bare": bare.by(bare.networks)}
    if not options.no_compile:
        torch._dynamo.reset()
        methods["compiled"] = bare.by([torch.compile(network) for network in bare.networks])
    if not options.no_vmap:
        methods["vmap"] = by_vmap(setting.architecture, bare)
    if CUDA:
        methods["cohort"] = turn_by_turn(setting, numbers, pack, eager=False)
        methods["streams"] = bare.by(bare.networks, streamed=True)
        methods["graphs"] = by_graphs(setting, runs)
    else:
        shares = [share for core in range(usable_cores()) if (share := numbers[core :: usable_cores()])]
        workers = Workers(_share, [(setting, share, pack.folder) for share in shares])
        methods["processes"] = lambda count: workers.answers([count] * len(shares))
    seconds = in_turns(_possible(methods, notes), options.steps, options.turns)
    if workers:
        workers.close()
    if "compiled" in seconds:
        notes["compiled"] += f"; gradients differ by {gradients_differ(bare):.0e}"
    rows = [["", name, "", "", note] for name, note in notes.items() if name not in seconds]
    what = f"{setting.architecture}, {setting.size}², {setting.batch}"
    for name, taken in seconds.items():
        against = [base / own for base, own in zip(seconds["turn by turn"], taken, strict=True)]
        speed = options.steps * runs * setting.batch / statistics.median(taken)
        rows.append([what, name, f"{speed:.0f}", f"{statistics.median(against):.2f}", notes.get(name, "")])
    return rows


def peak(setting: Setting, runs: int, pack_folder: Path) -> int:
    """Train so many runs for some steps in this process, and return its peak of memory in bytes."""
    torch.set_num_threads(1)
    turn_by_turn(setting, list(range(runs)), Pack.open(pack_folder), eager=False)(4)
    memory = Memory()
    memory.see("self")
    return torch.cuda.max_memory_allocated() if CUDA else memory.resident


def main() -> None:
    """Measure and print."""
    command = parser(__doc__)
    command.add_argument("--architecture", nargs="+", choices=ARCHITECTURES, default=ARCHITECTURES)
    command.add_argument("--batch", type=int, nargs="+", default=[16, 32])
    command.add_argument("--runs", type=int, default=4)
    command.add_argument("--turns", type=int, default=6)
    command.add_argument("--steps", type=int, default=20 if CUDA else 2, help="of every run, in a turn")
    command.add_argument("--no-compile", action="store_true", help="leave torch.compile out")
    command.add_argument("--no-vmap", action="store_true", help="leave vmap out")
    command.add_argument("--dry-run", action="store_true", help="two runs of MobileNetV1 at 32 × 32, once")
    options, size = command.parse_args(), 64
    if options.dry_run:
        options.architecture, options.batch, size = ["mobilenet_v1"], [8], 32
        options.runs, options.turns, options.steps = 2, 1, 1
    faulthandler.enable()
    warnings.filterwarnings("ignore", category=UserWarning, module=r"torch\.")
    torch.set_num_threads(1)
    hardware = torch.cuda.get_device_name() if CUDA else f"{usable_cores()} cores, no GPU"
    title = f"{options.runs} runs side by side, {hardware}"
    table = Table("network, size, batch", "method", "images/s", "of turn by turn", "", title=title)
    with tempfile.TemporaryDirectory() as name:
        # without what an earlier process has compiled
        os.environ["TORCHINDUCTOR_CACHE_DIR"] = str(Path(name) / "compiled")
        pack = phantom_pack(Path(name) / "pack", 300, size)
        for architecture, batch in itertools.product(options.architecture, options.batch):
            for row in compare(Setting(architecture, size, batch, "float32", DEVICE), pack, options):
                table.add_row(*row)
                print(*row, sep=" | ", flush=True)
        measured = Setting("mobilenet_v1", size, 32, "float32", DEVICE)
        one, cohort = (apart(peak, measured, runs, pack.folder) for runs in (1, COHORT))
    Console(width=160).print(table)
    print(
        f"Memory, MobileNetV1, {size}², batch 32: a process with {COHORT} runs peaks at {cohort / one:.2f} × that "
        f"of one run ({one / 2**20:.0f} MiB), {cohort / (COHORT * one):.2f} of {COHORT} such processes"
    )


if __name__ == "__main__":
    main()
