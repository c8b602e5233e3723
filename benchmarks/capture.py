"""What capturing a step as CUDA graphs and compiling its network save on a GPU, and what they take.

    python benchmarks/capture.py [--architectures ...] [--settings 64x32xfloat32 224x256xbfloat16]

Some five minutes on a GPU with a dozen cores, most of which go into compiling; without a GPU there is nothing to
measure. A run of this project takes steps in three ways, one after the other, from a pack of noise:

- written: the host launches each operation as it comes
- captured: the passes are replayed as CUDA graphs, as every run on a GPU does after its first steps
- compiled: captured, and compiled by torch besides, as runs do that see enough pixels for it

"pays from" is how many pixels of training images a run must see before compiling has saved what it took: the
first steps' time over what a step saves, in pixels. `clr_hpc/config/network.py` holds it. Code that an
earlier process has compiled isn't used.
"""

import argparse
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
from clr_hpc.training.distributed import ProcessGroup
from clr_hpc.training.step import EAGER_STEPS
from clr_hpc.training.trainer import Trainer
from parts.loops import Setting, our_spec
from parts.noise import noise_pack

TURNS = 5
WAYS = ("written", "captured", "compiled")


class TimedRun:
    """A run that takes steps in one of the ways."""

    def __init__(self, setting: Setting, pack: Pack, way: str) -> None:
        pays_from = 0 if way == "compiled" else float("inf")
        network = NETWORKS[setting.architecture]
        NETWORKS[setting.architecture] = replace(network, compiling_pays_from_pixels=pays_from)
        self._run = Trainer(
            our_spec(setting, pack), pack, ProcessGroup.alone(setting.device), eager=way == "written"
        )
        self._run.wrap_model()
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
    for way in WAYS:
        run = TimedRun(setting, pack, way)
        seconds[way] = run.step_seconds(steps)
        notes = ["", ""]
        if way == "compiled":
            again = TimedRun(setting, pack, way).first_seconds
            saved = seconds["captured"] - seconds["compiled"]
            pixels = setting.batch * setting.size**2
            pays = f"{run.first_seconds / saved * pixels:.1e}" if saved > 0 else "never"
            notes = [f"{run.first_seconds:.0f} s, {again:.1f} s", pays]
        network = f"{setting.architecture} {setting.size}² × {setting.batch}, {setting.precision}"
        table.add_row(network if way == WAYS[0] else "", way, f"{seconds['written'] / seconds[way]:.2f}", *notes)
        del run
        torch.cuda.empty_cache()
    table.add_section()


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--architectures", nargs="+", choices=ARCHITECTURES, default=ARCHITECTURES)
    parser.add_argument(
        "--settings", nargs="+", default=["64x32xfloat32", "224x256xbfloat16"], help="size x batch x precision"
    )
    options = parser.parse_args()
    if not torch.cuda.is_available():
        print("captured and compiled steps: not measured, since there is no GPU")
        return
    table = Table(title=f"{torch.cuda.get_device_name()}, torch {torch.__version__}")
    for heading in ("network", "way", "× as fast as written", "first steps of a run, of the next", "pays from"):
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
