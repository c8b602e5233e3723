"""How fast trained models score image files, against a loop as one writes it, and against the decoder's bound.

    python benchmarks/predict.py --originals ../shared/data/nih-mini/originals

Two minutes on 2 cores. A small study is trained on the phantom; then its classifiers score the same files, of
1024 × 1024 pixels, in turns:

- ours: ``clr_hpc.load(study).predict(files)``
- plain loop: file by file, Pillow, one image through each network
- torchxrayvision's reading (skimage, normalize, crop, resize), then the same networks; where it is installed

The bound is cores × what one core decodes and shrinks, as in pack.py. Ratios are of wall-clock times: it is about
threads.
"""

import logging
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from statistics import median

import numpy as np
import torch
from PIL import Image
from rich.console import Console
from rich.table import Table

import clr_hpc
from clr_hpc.config.resources import usable_cores
from clr_hpc.inference.model import TrainedModel
from clr_hpc.places.prepare import on_its_pack
from pack import imagecodecs_and_pillow, measure, write_copies
from parts.command import parser

SIZE = 64
Score = Callable[[list[Path]], object]


def train(folder: Path, findings: int) -> clr_hpc.TrainedStudy:
    """Train classifiers for a moment: how well does not matter here."""
    pack = folder / "pack"
    clr_hpc.build_pack(clr_hpc.PhantomSource(images=600), pack, SIZE)
    study = clr_hpc.Study(
        name="predict",
        pack=str(pack),
        pathologies="all",
        architectures=["mobilenet_v1"],
        optimizers=["adam"],
        rates={"adam": {"lr_min": 1e-4, "lr_max": 1e-3}},
        stages={"scratch": {"policies": ["constant"]}},
        training={"epochs": 1, "batch_size": 32, "image_size": SIZE},
    )
    small = study.model_copy(update={"pathologies": on_its_pack(study)[0].pathologies[:findings]})
    return clr_hpc.load(clr_hpc.run(small, results=folder / "results", with_plan=False))


def plain_loop(models: Sequence[TrainedModel]) -> Score:
    """Return a loop over files and networks."""
    networks = [model.members[0] for model in models]

    @torch.inference_mode()
    def score(paths: list[Path]) -> list[list[float]]:
        rows = []
        for path in paths:
            with Image.open(path) as image:
                gray = np.asarray(image.convert("L").resize((SIZE, SIZE), Image.Resampling.BOX), np.float32)
            pixels = torch.from_numpy(gray / 255)[None, None]
            rows.append([float(torch.sigmoid(network(pixels))) for network in networks])
        return rows

    return score


def torchxrayvision_loop(models: Sequence[TrainedModel]) -> Score:
    """Return the loop of torchxrayvision's documentation, with the same networks in place of its own."""
    import skimage.io
    import torchxrayvision as xrv
    from torchvision.transforms import Compose

    transform = Compose([xrv.datasets.XRayCenterCrop(), xrv.datasets.XRayResizer(SIZE)])
    networks = [model.members[0] for model in models]

    @torch.inference_mode()
    def score(paths: list[Path]) -> list[list[float]]:
        rows = []
        for path in paths:
            image = xrv.datasets.normalize(skimage.io.imread(path), 255)
            gray = image[..., 0] if image.ndim == 3 else image
            pixels = torch.from_numpy(transform(gray[None]))[None].float()
            rows.append([float(torch.sigmoid(network(pixels))) for network in networks])
        return rows

    return score


def rate(score: Score, paths: list[Path]) -> float:
    """Return images per second by the wall clock."""
    start = time.perf_counter()
    score(paths)
    return len(paths) / (time.perf_counter() - start)


def main() -> None:
    """Measure and print."""
    command = parser(__doc__)
    command.add_argument("--originals", type=Path, default=Path("../shared/data/nih-mini/originals"))
    command.add_argument("--findings", type=int, nargs="+", default=[1, 14], help="classifiers per image")
    command.add_argument("--turns", type=int, default=3)
    options = command.parse_args()
    logging.getLogger("clr_hpc").setLevel(logging.WARNING)
    originals = sorted(options.originals.glob("*.png"))
    if not originals:
        command.error(f"no PNG files in {options.originals}; give a folder of originals with --originals")
    cores = usable_cores()
    bound = cores / measure(imagecodecs_and_pillow, originals)[0]
    table = Table("classifiers", "scored by", "images/s", "ours, in multiples", title=f"{cores} cores")
    for findings in options.findings:
        with tempfile.TemporaryDirectory() as folder:
            write_copies(originals, 4 * len(originals), Path(folder))  # a path that is given twice is read once
            paths = sorted(Path(folder, "images").iterdir())
            study = train(Path(folder), findings)
            ways: dict[str, Score] = {"clr-hpc": study.predict, "plain loop": plain_loop(study.models)}
            with suppress(ImportError):
                ways["torchxrayvision's reading"] = torchxrayvision_loop(study.models)
            rates: dict[str, list[float]] = {name: [] for name in ways}
            for _ in range(options.turns + 1):  # the first warms up
                for name, score in ways.items():
                    rates[name].append(rate(score, paths))
            of_turn = {name: measured[1:] for name, measured in rates.items()}
            for name, measured in of_turn.items():
                ratios = [ours / theirs for ours, theirs in zip(of_turn["clr-hpc"], measured, strict=True)]
                shown = ", ".join(f"{ratio:.1f}" for ratio in ratios) if name != "clr-hpc" else ""
                table.add_row(str(len(study.models)), name, f"{median(measured):.0f}", shown)
            ratio = median(of_turn["clr-hpc"]) / bound
            table.add_row(str(len(study.models)), "decoder's bound", f"{bound:.0f}", f"{ratio:.2f}")
    Console().print(table)


if __name__ == "__main__":
    main()
