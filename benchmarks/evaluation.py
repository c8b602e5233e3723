"""How many images at once are evaluated fastest.

    python benchmarks/evaluation.py

Three minutes on 2 cores. Networks in evaluation mode and channels_last, as runs are evaluated, at 64 × 64 on one
thread, on images in memory. Batch sizes take turns; each is compared with the largest in the same round. The last
column is the share of a run's evaluation that reads pixels from the pack and converts them.
"""

import statistics
import tempfile
import time
from pathlib import Path

import torch
from rich.console import Console
from rich.table import Table

from parts.command import OF_THE_ARTICLE, parser
from parts.loops import Setting, our_run
from parts.noise import noise_pack

SIZE, BATCHES, ROUNDS = 64, (16, 64, 256), 5
IMAGES = max(BATCHES)


def seconds_an_image(setting: Setting, images: torch.Tensor, batch: int, network: torch.nn.Module) -> float:
    """Evaluate all images, so many at once."""
    start = time.perf_counter()
    with torch.inference_mode(), setting.autocast():
        for some in images.split(batch):
            network(some)
    setting.wait()
    return (time.perf_counter() - start) / len(images)


def reading_share(setting: Setting) -> float:
    """Return the share of an evaluation's time that goes into the pixels."""
    with tempfile.TemporaryDirectory() as folder:
        run = our_run(setting, noise_pack(Path(folder) / "pack", IMAGES * 5 // 4, SIZE))
        shares = []
        for _ in range(ROUNDS + 1):
            start = time.perf_counter()
            with torch.inference_mode():
                for _images in run.training_images:
                    continue
            setting.wait()
            read = time.perf_counter()
            run.evaluate("train")
            shares.append((read - start) / (time.perf_counter() - read))
        return statistics.median(shares[1:])


def main() -> None:
    """Measure and print."""
    parser(__doc__).parse_args()
    torch.set_num_threads(1)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    heads = [f"{batch} at once" for batch in BATCHES]
    table = Table("network", *heads, "reading pixels", title=f"Evaluating {IMAGES} images, {device.type}")
    for architecture in OF_THE_ARTICLE:
        setting = Setting(architecture, SIZE, IMAGES, "float32", device)
        network = setting.network().eval().to(memory_format=torch.channels_last)
        images = torch.randn(IMAGES, 1, SIZE, SIZE, device=device).contiguous(memory_format=torch.channels_last)
        rounds = [
            {batch: seconds_an_image(setting, images, batch, network) for batch in BATCHES}
            for _ in range(ROUNDS + 1)
        ][1:]  # the first warms up
        ratios = [statistics.median(one[IMAGES] / one[batch] for one in rounds) for batch in BATCHES]
        table.add_row(f"{architecture}, {SIZE}²", *(f"{x:.2f} ×" for x in ratios), f"{reading_share(setting):.1%}")
    Console().print(table)


if __name__ == "__main__":
    main()
