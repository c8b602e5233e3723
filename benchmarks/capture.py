"""What capturing a step as CUDA graphs and compiling its network save on a GPU, and what they cost.

    python benchmarks/capture.py [--architectures ...] [--settings 64x32xfloat32 224x256xbfloat16]

Some five minutes on a GPU with a dozen cores, most of which go into compiling; without a GPU there is nothing to
measure. A run of this project takes steps by three methods, one after the other, from a pack of noise:

- written: the host launches each operation as it comes
- captured: the passes are replayed as CUDA graphs, as in every run on a GPU after its first steps
- compiled: captured, and also compiled by torch, as in runs that see enough pixels for it

"pays from" is how many pixels of training images a run must see before compiling has saved what it took: the
first steps' time over what a step saves, in pixels. `clr_hpc/config/network.py` holds it. Code that an
earlier process has compiled isn't used.
"""

import os
import statistics
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import torch
from rich.console import Console
from rich.table import Table

from clr_hpc.config.network import ARCHITECTURES, NETWORKS
from clr_hpc.data.build import usable_cores
from clr_hpc.data.pack import Pack
from clr_hpc.training.step import EAGER_STEPS
from parts.command import parser
from parts.loops import Setting, our_run
from parts.noise import noise_pack

TURNS = 5
METHODS = ("written", "captured", "compiled")


class TimedRun:
    """A run that takes steps by one of the methods."""

    def __init__(self, setting: Setting, pack: Pack, method: str) -> None:
        pays_from = 0 if method == "compiled" else float("inf")
        network = NETWORKS[setting.architecture]
        NETWORKS[setting.architecture] = replace(network, compiling_pays_from_pixels=pays_from)
        self._run = our_run(setting, pack, eager=method == "written")
        self._samples = 0
        self.first_seconds = self.seconds(EAGER_STEPS + 1)
        """Of the first steps: what they compile and capture."""

    def seconds(self, steps: int) -> float:
        """Return the seconds of so many steps."""
        torch.cuda.synchronize()
        start = time.perf_counter()
        for _ in range(steps):
            self._run.set_lr(self._samples)
            self._run.step(self._samples)
            self._samples += self._run.batch_size
        torch.cuda.synchronize()
        return time.perf_counter() - start

    def step_seconds(self, steps: int) -> float:
        """Return the seconds of a step."""
        return statistics.median(self.seconds(steps) / steps for _ in range(TURNS))


def measure(setting: Setting, pack: Pack, steps: int, table: Table) -> None:
    """Measure a network, and add its rows."""
    seconds: dict[str, float] = {}
    for method in METHODS:
        run = TimedRun(setting, pack, method)
        seconds[method] = run.step_seconds(steps)
        notes = ["", ""]
        if method == "compiled":
            again = TimedRun(setting, pack, method).first_seconds
            saved = seconds["captured"] - seconds["compiled"]
            pixels = setting.batch * setting.size**2
            pays = f"{run.first_seconds / saved * pixels:.1e}" if saved > 0 else "never"
            notes = [f"{run.first_seconds:.0f} s, {again:.1f} s", pays]
        network = f"{setting.architecture} {setting.size}² × {setting.batch}, {setting.precision}"
        table.add_row(
            network if method == METHODS[0] else "", method, f"{seconds['written'] / seconds[method]:.2f}", *notes
        )
        del run
        torch.cuda.empty_cache()
    table.add_section()


def main() -> None:
    """Measure and print."""
    command = parser(__doc__)
    command.add_argument("--architectures", nargs="+", choices=ARCHITECTURES, default=ARCHITECTURES)
    command.add_argument(
        "--settings", nargs="+", default=["64x32xfloat32", "224x256xbfloat16"], help="size x batch x precision"
    )
    options = command.parse_args()
    if not torch.cuda.is_available():
        print("captured and compiled steps: not measured, since there is no GPU")
        return
    table = Table(title=f"{torch.cuda.get_device_name()}, torch {torch.__version__}")
    for heading in ("network", "method", "× as fast as written", "first steps of a run, of the next", "pays from"):
        table.add_column(heading)
    with tempfile.TemporaryDirectory() as folder:
        os.environ["TORCHINDUCTOR_CACHE_DIR"] = str(Path(folder) / "compiled")
        for text in options.settings:
            size, batch, precision = text.split("x")
            pack = noise_pack(Path(folder) / text, 20 * int(batch), int(size), workers=usable_cores())
            for architecture in options.architectures:
                setting = Setting(architecture, int(size), int(batch), precision, torch.device("cuda"))
                measure(setting, pack, 50 if int(size) <= 64 else 10, table)
    Console(width=130).print(table)


if __name__ == "__main__":
    main()
