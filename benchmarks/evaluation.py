"""How many images at once are evaluated fastest.

    python benchmarks/evaluation.py [--sizes 64] [--threads 1]

Three minutes on 2 cores. Networks in evaluation mode and channels_last, as runs are evaluated, on images in
memory. Batch sizes take turns; each is compared with the largest in the same round. The last column is the share
of a run's evaluation that reads pixels from the pack and converts them: all that runs of a cohort could share.
"""

import argparse
import statistics
import tempfile
import time
from pathlib import Path

import torch
from rich.console import Console
from rich.table import Table

from clr_hpc.training.distributed import ProcessGroup
from clr_hpc.training.trainer import Trainer
from parts.loops import Setting, our_spec
from parts.noise import noise_pack

ARCHITECTURES = ("mobilenet_v1", "alexnet", "densenet121")
BATCHES = (16, 64, 256)
ROUNDS = 5


def seconds_an_image(setting: Setting, images: torch.Tensor, batch: int, network: torch.nn.Module) -> float:
    """Evaluate all images, so many at once."""
    start = time.perf_counter()
    with torch.inference_mode(), setting.autocast():
        for some in images.split(batch):
            network(some)
    setting.wait()
    return (time.perf_counter() - start) / len(images)


def reading_share(setting: Setting, images: int, rounds: int) -> float:
    """Return the share of an evaluation's time that goes into the pixels."""
    with tempfile.TemporaryDirectory() as folder:
        pack = noise_pack(Path(folder) / "pack", images * 5 // 4, setting.size)
        run = Trainer(our_spec(setting, pack), pack, ProcessGroup.alone(setting.device))
        shares = []
        for _round in range(rounds + 1):
            start = time.perf_counter()
            with torch.inference_mode():
                for _ in run.training_images:
                    continue
            setting.wait()
            read = time.perf_counter()
            run.evaluate("train")
            shares.append((read - start) / (time.perf_counter() - read))
        return statistics.median(shares[1:])


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", type=int, nargs="+", default=[64], help="pixels a side")
    parser.add_argument("--images", type=int, default=max(BATCHES))
    parser.add_argument("--threads", type=int, default=1, help="CPU threads; runs of --on here have one each")
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    table = Table(title=f"Evaluating {options.images} images, {device.type}, {options.threads} threads")
    table.add_column("network")
    for batch in BATCHES:
        table.add_column(f"{batch} at once", justify="right")
    table.add_column("reading pixels", justify="right")
    for architecture in ARCHITECTURES:
        for size in options.sizes:
            setting = Setting(architecture, size, max(BATCHES), "float32", device)
            network = setting.network().eval().to(memory_format=torch.channels_last)
            images = torch.randn(options.images, 1, size, size, device=device)
            images = images.contiguous(memory_format=torch.channels_last)
            rounds = [
                {batch: seconds_an_image(setting, images, batch, network) for batch in BATCHES}
                for _ in range(options.rounds + 1)
            ][1:]  # the first warms up
            largest = max(BATCHES)
            ratios = [statistics.median(one[largest] / one[batch] for one in rounds) for batch in BATCHES]
            reading = reading_share(setting, options.images, options.rounds)
            table.add_row(f"{architecture}, {size}²", *(f"{ratio:.2f} ×" for ratio in ratios), f"{reading:.1%}")
    Console().print(table)


if __name__ == "__main__":
    main()
