"""How well 1 to N processes train one run together by DDP, against as many that know nothing of each other.

    python benchmarks/ddp.py [--processes 1 2]

Some three minutes on 2 cores. On CPUs gradients go over gloo, and each process has one core and one thread, so two
have twice what one has; on GPUs they go over NCCL, one GPU a process. Steps are those of the training loop with
its one message a step, without records and evaluations. One process is measured anew beside each number.

- same global batch: a run that N processes share; images/s of N over N × those of one
- same batch a process: the global batch grows with N
- apart: N processes at once, each with a run of its own of that batch a process; what the machine itself
  loses, since cores share caches, memory and clock; no DDP can be expected to do better
"""

import os
import statistics
import tempfile
import time
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path

import torch
from rich.console import Console
from rich.table import Table
from torch.distributed import PrefixStore, TCPStore

from clr_hpc.config.network import ARCHITECTURES
from clr_hpc.data.build import usable_cores
from clr_hpc.data.pack import Pack
from clr_hpc.training.distributed import ProcessGroup
from clr_hpc.training.trainer import Trainer
from parts.command import OF_THE_ARTICLE, parser
from parts.loops import Setting, our_spec
from parts.noise import noise_pack
from parts.processes import Workers

IMAGES = 2000


@dataclass(frozen=True)
class Order:
    """What a process is to train."""

    name: str
    """Of the store that its processes meet in; each order has its own."""
    rank: int
    size: int
    """Processes that train together."""
    architecture: str
    image_size: int
    batch: int
    """Global."""
    precision: str
    steps: int
    turns: int


def obey(number: int, cuda: bool, port: int, pack_folder: Path, orders: Connection) -> None:
    """Train what is ordered, on a core or GPU of this process's own, and send back the seconds a step."""
    device = torch.device("cuda", number) if cuda else torch.device("cpu")
    if not cuda:
        torch.set_num_threads(1)
        cores = sorted(os.sched_getaffinity(0))
        os.sched_setaffinity(0, {cores[number % len(cores)]})
    store = TCPStore("127.0.0.1", port, is_master=False)
    pack = Pack.open(pack_folder)
    while (order := orders.recv()) is not None:
        group = ProcessGroup(order.rank, order.size, device, PrefixStore(order.name, store))
        orders.send(seconds_a_step(order, pack, group))


def seconds_a_step(order: Order, pack: Pack, group: ProcessGroup) -> float:
    """Train, and return the median over the turns, the first of which warms up."""
    setting = Setting(order.architecture, order.image_size, order.batch, order.precision, group.device)
    turns = []
    with group.joined(0):
        run = Trainer(our_spec(setting, pack), pack, group)
        run.begin(None)
        run.wrap_model()
        samples = 0
        for _ in range(order.turns + 1):
            start = time.perf_counter()
            for _ in range(order.steps):
                run.set_lr(samples)
                run.step(samples)
                samples += run.batch_size
                group.any(False, False, False)
            setting.wait()
            turns.append((time.perf_counter() - start) / order.steps)
    return statistics.median(turns[1:])


class Processes(Workers):
    """Warm processes that obey."""

    def __init__(self, count: int, pack_folder: Path) -> None:
        """Start them."""
        self._store = TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
        self._given = 0
        common = (torch.cuda.is_available(), self._store.port, pack_folder)
        super().__init__(obey, [(number, *common) for number in range(count)])

    def images_per_second(self, count: int, together: bool, batch: int, **common: object) -> float:
        """Return the images per second of ``count`` processes; ``batch`` is global where they train together."""
        self._given += 1
        orders = [
            Order(f"{self._given}", number, count, batch=batch, **common)
            if together
            else Order(f"{self._given}.{number}", 0, 1, batch=batch, **common)
            for number in range(count)
        ]
        seconds = self.answers(orders)
        return batch / max(seconds) if together else sum(batch / taken for taken in seconds)


def main() -> None:
    """Measure and print."""
    gpus = torch.cuda.device_count()
    most = gpus or usable_cores()
    counts = [count for count in (1, 2, 4, 8, 16, 32) if count <= most]
    command = parser(__doc__)
    command.add_argument("--architectures", nargs="+", choices=ARCHITECTURES, default=OF_THE_ARTICLE)
    command.add_argument("--processes", nargs="+", type=int, default=counts, help="cores or GPUs that there are")
    command.add_argument("--size", type=int, default=224 if gpus else 64, help="pixels a side")
    command.add_argument("--batch", type=int, default=256 if gpus else 32, help="of one process")
    command.add_argument("--steps", type=int, default=50 if gpus else 4, help="of a turn")
    command.add_argument("--turns", type=int, default=5)
    command.add_argument("--precision", choices=["float32", "bfloat16"], default="bfloat16" if gpus else "float32")
    options = command.parse_args()
    if max(options.processes) > most:
        command.error(f"{max(options.processes)} processes for {most} cores or GPUs; each needs one of its own")
    backend = "NCCL" if gpus else "gloo, one thread a process"
    title = f"DDP over {backend}, {options.size}², batch {options.batch} a process, {options.precision}"
    table = Table("network", "processes", "same global batch", "same batch a process", "apart", title=title)
    with tempfile.TemporaryDirectory() as folder:
        images = max(IMAGES, 2 * options.batch * max(options.processes))
        pack = noise_pack(Path(folder) / "pack", images, options.size)
        processes = Processes(max(options.processes), pack.folder)
        for architecture in options.architectures:
            names = ("precision", "steps", "turns")
            common = {name: getattr(options, name) for name in names} | {"image_size": options.size}
            common["architecture"] = architecture
            for count in sorted(set(options.processes) - {1}):
                efficiencies = []
                for together, batch in (
                    (True, options.batch), (True, options.batch * count), (False, options.batch)
                ):  # fmt: skip
                    # one process is measured anew beside each, since a machine's speed changes
                    one = processes.images_per_second(1, True, options.batch, **common)
                    rate = processes.images_per_second(count, together, batch, **common)
                    efficiencies.append(f"{rate / (count * one):.2f}")
                table.add_row(architecture, f"{count}", *efficiencies)
        processes.close()
    Console(width=110).print(table)


if __name__ == "__main__":
    main()
