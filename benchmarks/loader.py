"""How fast batches of 32 uint8 images come from a pack, against bare numpy and against other readers of X-rays.

    python benchmarks/loader.py --nih ../shared/data/nih-mini

Two minutes on 2 cores; needs the extra: pip install -e '.[benchmarks]'. Every reader gives the same images, in
random order, as batches of 32, from files that the page cache holds. The pack, LitData, WebDataset and the bare
gather read uint8 of 256 × 256 that were made once; torchxrayvision and the torchvision folder decode PNG, as they
do. The pack must reach 0.8 of the bare gather and 20 × LitData.
"""

import tempfile
import time
import warnings
from collections.abc import Callable, Iterable, Iterator
from fnmatch import fnmatch
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from clr_hpc.config.resources import usable_cores
from clr_hpc.data.build import build_pack
from clr_hpc.data.pack import Pack
from clr_hpc.data.sources.nih import NihSource
from parts.command import parser

BATCH = 32
Batches = Callable[[], Iterable[object]]


def shuffled_batches(images: int) -> Iterator[np.ndarray]:
    """Give one epoch of row numbers in random order, whole batches only."""
    order = np.random.default_rng(0).permutation(images)
    yield from order[: images // BATCH * BATCH].reshape(-1, BATCH)


def packed(pack: Pack) -> Batches:
    """Batches as the training loop takes them."""
    return lambda: (pack.gather(rows) for rows in shuffled_batches(len(pack.index)))


def bare_gather(pack: Pack) -> Batches:
    """Index one array over the mapped file: the upper bound."""
    pixels = np.load(pack.folder / pack.manifest.shards[0].file, mmap_mode="r").view(np.ndarray)
    return lambda: (pixels[rows] for rows in shuffled_batches(len(pixels)))


def litdata(pack: Pack, folder: Path, workers: int) -> Batches:
    """Batches from LitData's chunks of uint8 arrays."""
    from litdata import StreamingDataLoader, StreamingDataset, optimize

    rows, read = list(range(len(pack.index))), partial(_sample, pack.folder)
    optimize(fn=read, inputs=rows, output_dir=str(folder), chunk_bytes="64MB", num_workers=1)
    dataset = StreamingDataset(str(folder), shuffle=True)
    loader = StreamingDataLoader(
        dataset, batch_size=BATCH, num_workers=workers, drop_last=True, persistent_workers=workers > 0
    )
    return lambda: loader


def _sample(folder: Path, row: int) -> np.ndarray:
    return Pack.open(folder).gather(np.array([row]))[0]


def webdataset(pack: Pack, folder: Path, workers: int) -> Batches:
    """Batches from a tar file of uint8 arrays."""
    import webdataset as wds

    folder.mkdir()
    shards = max(workers, 1)
    for shard in range(shards):
        with wds.TarWriter(str(folder / f"{shard:06d}.tar")) as writer:
            for row in range(shard, len(pack.index), shards):
                pixels = pack.gather(np.array([row]))[0]
                writer.write({"__key__": f"{row:07d}", "bytes": pixels.tobytes()})
    urls = [str(path) for path in sorted(folder.glob("*.tar"))]
    dataset = (
        wds.WebDataset(urls, shardshuffle=len(urls), seed=0)
        .shuffle(1000)
        .to_tuple("bytes")
        .map(partial(_decoded, size=pack.manifest.size))
        .batched(BATCH, collation_fn=_stacked, partial=False)
    )
    loader = wds.WebLoader(dataset, batch_size=None, num_workers=workers, persistent_workers=workers > 0)
    return lambda: loader


def _decoded(sample: tuple[bytes], size: int) -> np.ndarray:
    return np.frombuffer(sample[0], np.uint8).reshape(size, size)


def _stacked(samples: list[tuple[np.ndarray]]) -> np.ndarray:
    return np.stack([np.asarray(sample) for sample in samples])


def torchxrayvision(nih: Path, workers: int) -> Batches:
    """Batches from torchxrayvision's own reader of NIH's files, PNG decoded each time."""
    import torchxrayvision as xrv

    files = {"imgpath": str(nih / "images"), "csvpath": str(nih / "Data_Entry_2017_v2020.csv.gz")}
    dataset = xrv.datasets.NIH_Dataset(**files, views=["PA", "AP"], unique_patients=False)
    there = {path.name for path in (nih / "images").iterdir()}
    dataset.csv = dataset.csv[dataset.csv["Image Index"].isin(there)].reset_index(drop=True)
    dataset.labels = dataset.labels[: len(dataset.csv)]
    return png_batches(dataset, workers)


def torchvision_folder(nih: Path, workers: int) -> Batches:
    """Batches from torchvision's folder of images, Pillow decoding each PNG each time."""
    from torchvision.datasets import ImageFolder
    from torchvision.transforms.v2.functional import pil_to_tensor

    small = partial(fnmatch, pat="*/images/*")
    return png_batches(ImageFolder(str(nih), pil_to_tensor, is_valid_file=small, allow_empty=True), workers)


def png_batches(dataset: Any, workers: int) -> Batches:
    """Batches from a data set that decodes one image at a time."""
    from torch.utils.data import DataLoader

    loader = DataLoader(
        dataset, BATCH, shuffle=True, num_workers=workers, drop_last=True, persistent_workers=workers > 0
    )
    return lambda: loader


def images_per_second(batches: Batches, least_seconds: float) -> float:
    """Return the best rate of whole epochs, of at least three, the first left out: it warms the caches."""
    rates: list[float] = []
    begun = time.perf_counter()
    while len(rates) < 3 or time.perf_counter() - begun < least_seconds:
        start = time.perf_counter()
        images = sum(BATCH for _ in batches())
        rates.append(images / (time.perf_counter() - start))
    return max(rates[1:])


def main() -> None:
    command = parser(__doc__)
    command.add_argument("--nih", type=Path, default=Path("../shared/data/nih-mini"))
    command.add_argument("--workers", type=int, default=usable_cores(), help="of each peer's DataLoader")
    options = command.parse_args()
    if not (options.nih / "images").is_dir():
        command.error(f"no folder {options.nih / 'images'}; give one with images and NIH's tables with --nih")
    warnings.filterwarnings("ignore")

    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        source = NihSource(options.nih / "images", options.nih / "Data_Entry_2017_v2020.csv.gz", subset=True)
        build_pack(source, folder / "pack", 256)
        pack = Pack.open(folder / "pack")
        readers = {
            "bare numpy gather": bare_gather(pack),
            "clr_hpc pack": packed(pack),
            "LitData": litdata(pack, folder / "litdata", options.workers),
            "WebDataset": webdataset(pack, folder / "webdataset", options.workers),
            "torchvision folder + Pillow, PNG": torchvision_folder(options.nih, options.workers),
            "torchxrayvision, PNG": torchxrayvision(options.nih, options.workers),
        }
        rates = {name: images_per_second(batches, least_seconds=3) for name, batches in readers.items()}
    title = f"batches of {BATCH}, {options.workers} workers"
    table = Table("reader", "images/s", "the pack is × as fast", title=title)
    for name, rate in rates.items():
        table.add_row(name, f"{rate:,.0f}", f"{rates['clr_hpc pack'] / rate:.2f}")
    Console().print(table)


if __name__ == "__main__":
    main()
