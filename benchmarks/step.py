"""How fast the training loop is: images a second of training, against loops that others use.

    python benchmarks/step.py [--originals FOLDER_WITH_NIH_PNGS] [--with-ray]

Some ten minutes on 2 cores; Lightning needs the extra: pip install -e '.[benchmarks]'. All loops train the same
networks with SGD and momentum, on the same number of threads, in the same precision, with the same batch:

- ours: pack, gather, conversion, augmentation, the policy's rate, records in the run folder
- bare: memory layout and optimizer as ours, float tensors that are there already, no augmentation; on a GPU
  also compiled, as ours is there, since it never ends and so compiling pays
- timm: the loop of its benchmark script, on one batch that stays; timm's package has no such command, so
  parts/loops.py has a loop of the same shape, and says what is the same and what is not
- Lightning, Ray Train: Trainer or TorchTrainer with a DataLoader, as their documentation shows them, decoding PNG
  files of 1024 × 1024 pixels with a loader process a core

Those in memory take turns, so that a noisy machine hits them all alike, and a ratio is the median over the turns.
The files are in the page cache, which flatters those who read them.
"""

import argparse
import gc
import os
import statistics
import tempfile
from pathlib import Path

import torch
from rich.console import Console
from rich.table import Table

from clr_hpc.config.network import ARCHITECTURES
from clr_hpc.config.resources import usable_cores
from clr_hpc.data.pack import Pack
from parts.command import OF_THE_ARTICLE, parser
from parts.loops import Setting, Steps, bare, in_turns, like_timm, ours
from parts.noise import noise_pack
from parts.png_loops import Recipe, lightning_images_per_second, ray_images_per_second

ORIGINALS = Path(__file__).parents[2] / "shared" / "data" / "nih-mini" / "originals"
SMALL = 128
"""Pixels a side; smaller images get larger batches on CPUs."""
WANTED = {
    ("cpu", "bare"): (0.97, None),
    ("cpu", "Lightning, over PNG"): (5.0, ("mobilenet_v1", 64)),
    ("cuda", "bare, compiled"): (0.9, None),
    ("cuda", "timm"): (1.2, ("densenet121", 224)),
}
"""Device and loop: what ours must be times as fast, and for which architecture and size; None: all."""


def loops_in_memory(setting: Setting, pack: Pack, folder: Path, compiled: bool) -> dict[str, Steps]:
    """Make the loops ready."""
    loops = {
        "ours": ours(setting, pack, folder / "run"),
        "bare": bare(setting),
        "timm": like_timm(setting, channels_last=False),
        "timm, channels last": like_timm(setting, channels_last=True),
    }
    return loops | ({"bare, compiled": bare(setting, compiled=True)} if compiled else {})


def wanted(setting: Setting, loop: str) -> str:
    """Return what the ratio to a loop is to reach, where that was laid down."""
    least, only = WANTED.get((setting.device.type, loop), (None, None))
    applies = least is not None and only in (None, (setting.architecture, setting.size))
    return f"{least:g}" if applies else ""


def measure(setting: Setting, pack: Pack, options: argparse.Namespace, files: list[Path], table: Table) -> None:
    """Measure one network at one size, and add its rows."""
    with tempfile.TemporaryDirectory() as folder:
        loops = loops_in_memory(setting, pack, Path(folder), compiled=setting.device.type == "cuda")
        seconds = in_turns(loops, options.steps, options.turns)
        del loops
    gc.collect()
    images = options.steps * setting.batch
    speeds = {name: images / statistics.median(turns) for name, turns in seconds.items()}
    ratios = {
        name: statistics.median(theirs / own for own, theirs in zip(seconds["ours"], turns, strict=True))
        for name, turns in seconds.items()
    }
    if files:
        steps, left_out = (40, 10) if setting.size <= SMALL else (14, 6)
        recipe = Recipe(setting, files, steps, left_out, torch.get_num_threads())
        speeds["Lightning, over PNG"] = lightning_images_per_second(recipe)
        if options.with_ray:
            speeds["Ray Train, over PNG"] = ray_images_per_second(recipe)
    for name, speed in speeds.items():
        ratio = ratios.get(name, speeds["ours"] / speed)
        network = f"{setting.architecture} {setting.size}² × {setting.batch}" if name == "ours" else ""
        table.add_row(network, name, f"{speed:.1f}", f"{ratio:.2f}", wanted(setting, name))
    table.add_section()


def main() -> None:
    """Measure and print."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    cuda = device.type == "cuda"
    command = parser(__doc__)
    command.add_argument("--architectures", nargs="+", choices=ARCHITECTURES, default=OF_THE_ARTICLE)
    command.add_argument("--sizes", nargs="+", type=int, default=[64, 224], help="pixels a side")
    command.add_argument("--batch", type=int, help="256 on a GPU; else 32, and 16 above 128 pixels")
    command.add_argument("--steps", type=int, default=50 if cuda else 4, help="of a turn")
    command.add_argument("--turns", type=int, default=10 if cuda else 5)
    command.add_argument("--originals", type=Path, default=ORIGINALS, help="folder of 1024 × 1024 PNG files")
    command.add_argument("--lightning", action=argparse.BooleanOptionalAction, default=True)
    command.add_argument("--with-ray", action="store_true", help="Ray Train as well; half a minute more a network")
    options = command.parse_args()
    os.environ.setdefault("RAY_TRAIN_V2_ENABLED", "1")
    precision = "bfloat16" if cuda else "float32"
    files = sorted(options.originals.glob("*.png")) if options.lightning else []
    where = torch.cuda.get_device_name() if cuda else f"{torch.get_num_threads()} threads"
    heads = ("network × batch", "loop", "images/s", "ours is × as fast", "at least")
    table = Table(*heads, title=f"Training, {precision}, {where}, torch {torch.__version__}")
    for size in options.sizes:
        batch = options.batch or (256 if cuda else 32 if size <= SMALL else 16)
        with tempfile.TemporaryDirectory() as folder:
            # epochs of 160 steps, of which every eighth is recorded; real ones are longer
            pack = noise_pack(Path(folder) / "pack", 200 * batch, size, workers=usable_cores() if cuda else 1)
            for architecture in options.architectures:
                setting = Setting(architecture, size, batch, precision, device)
                measure(setting, pack, options, files, table)
    Console(width=110).print(table)
    if not files and options.lightning:
        print("Loops over PNG files: not measured, since --originals holds no .png file")


if __name__ == "__main__":
    main()
