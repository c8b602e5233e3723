"""How fast a pack is made, against the best that the cores could do, and how much memory that takes.

    python benchmarks/pack.py --originals ../shared/data/nih-mini/originals

A minute on 2 cores with 60 originals of 1024 × 1024. The bound is cores × what one core decodes and shrinks with
the fastest decoder that is installed; packing must reach 0.9 of it, reading, checking, hashing and writing
included. The ratio by CPU time is the one to read on a machine that others use too. OpenCV and torchvision are
measured where they are installed.
"""

import resource
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import imagecodecs
import numpy as np
from PIL import Image
from rich.console import Console
from rich.table import Table

from clr_hpc.config.resources import usable_cores
from clr_hpc.data.build import build_pack
from clr_hpc.data.images.files import read_image_file
from clr_hpc.data.sources.table import TableSource
from parts.command import parser
from parts.processes import apart

SIZE = 256
Shrunk = np.ndarray
Cost = tuple[float, float]
"""Seconds per image: wall clock and CPU time."""


def pillow(path: Path) -> Shrunk:
    """Decode and shrink with Pillow alone."""
    with Image.open(path) as image:
        return np.asarray(image.convert("L").reduce(image.width // SIZE))


def imagecodecs_and_pillow(path: Path) -> Shrunk:
    """Decode with imagecodecs, shrink with Pillow: the bare calls of what a pack does."""
    samples = imagecodecs.png_decode(path.read_bytes())
    gray = samples if samples.ndim == 2 else np.ascontiguousarray(samples[..., 0])
    return np.asarray(Image.fromarray(gray).reduce(len(gray) // SIZE))


def opencv(path: Path) -> Shrunk:
    """Decode and shrink with OpenCV."""
    import cv2

    cv2.setNumThreads(1)
    gray = cv2.imdecode(np.fromfile(path, np.uint8), cv2.IMREAD_GRAYSCALE)
    return cv2.resize(gray, (SIZE, SIZE), interpolation=cv2.INTER_AREA)


def torchvision_and_pillow(path: Path) -> Shrunk:
    """Decode with torchvision, shrink with Pillow."""
    from torchvision.io import ImageReadMode, decode_image, read_file

    gray = decode_image(read_file(str(path)), ImageReadMode.GRAY)[0].numpy()
    return np.asarray(Image.fromarray(gray).reduce(len(gray) // SIZE))


def clr_hpc(path: Path) -> Shrunk:
    """Read as a pack does, with all its checks and the checksum."""
    return read_image_file(path, SIZE)[0]


def measure(read: Callable[[Path], Shrunk], paths: list[Path], passes: int = 5) -> Cost:
    """Read the files on one core; return the best of several passes."""
    costs = []
    for _ in range(passes):
        start, cpu_start = time.perf_counter(), time.process_time()
        for path in paths:
            read(path)
        costs.append((time.perf_counter() - start, time.process_time() - cpu_start))
    seconds, cpu_seconds = (min(column) / len(paths) for column in zip(*costs, strict=True))
    return seconds, cpu_seconds


def measure_decoders(paths: list[Path]) -> dict[str, Cost]:
    """Measure the readers that are installed."""
    costs = {}
    for read in (pillow, imagecodecs_and_pillow, opencv, torchvision_and_pillow, clr_hpc):
        try:
            read(paths[0])
        except ImportError:
            continue
        costs[read.__name__] = measure(read, paths)
    return costs


def write_copies(paths: list[Path], count: int, folder: Path) -> None:
    """Write ``count`` files that decode alike but are no duplicates: bytes behind a PNG's end are allowed."""
    (folder / "images").mkdir(parents=True)
    rows = ["image,effusion"]
    for number in range(count):
        data = paths[number % len(paths)].read_bytes() + number.to_bytes(8, "big")
        (folder / "images" / f"{number:06d}.png").write_bytes(data)
        rows.append(f"{number:06d}.png,{number % 2}")
    (folder / "table.csv").write_text("\n".join(rows) + "\n")


def pack_once(folder: Path, workers: int) -> dict[str, float]:
    """Pack in this process and return what it cost, with its workers."""
    source = TableSource(folder / "images", folder / "table.csv", image_column="image", image_is_patient=True)
    with tempfile.TemporaryDirectory(dir=folder) as output:
        start = time.perf_counter()
        manifest = build_pack(source, Path(output) / "pack", SIZE, workers=workers)
        seconds = time.perf_counter() - start
    assert manifest.counts.rejected == 0
    parent, worker = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return {
        "images": manifest.counts.images,
        "seconds": seconds,
        "cpu_seconds": sum(usage.ru_utime + usage.ru_stime for usage in (parent, worker)),
        "parent_mb": parent.ru_maxrss / 1000,
        "worker_mb": worker.ru_maxrss / 1000,
    }


def main() -> None:
    """Measure and print."""
    command = parser(__doc__)
    command.add_argument("--originals", type=Path, default=Path("../shared/data/nih-mini/originals"))
    command.add_argument("--images", type=int, default=2400, help="copies to pack; a tenth of it for the memory")
    command.add_argument("--workers", type=int, default=usable_cores())
    options = command.parse_args()
    paths = sorted(options.originals.glob("*.png"))
    if not paths:
        command.error(f"no PNG files in {options.originals}; give a folder of originals with --originals")

    # Packing goes first: on Linux a child's peak memory is at least what its parent had when it started.
    with tempfile.TemporaryDirectory() as temporary:
        few, many = Path(temporary, "few"), Path(temporary, "many")
        write_copies(paths, options.images // 10, few)
        write_copies(paths, options.images, many)
        of_few = apart(pack_once, few, options.workers)
        packed = [apart(pack_once, many, options.workers) for _ in range(2)]
    show(measure_decoders(paths), of_few, min(packed, key=lambda run: run["seconds"]), options.workers)


def show(costs: dict[str, Cost], of_few: dict[str, float], of_many: dict[str, float], workers: int) -> None:
    """Print the tables."""
    fastest, least_cpu = (
        min(cost[kind] for name, cost in costs.items() if name != clr_hpc.__name__) for kind in (0, 1)
    )
    table = Table("decode and shrink", "images/s", "of the fastest", "CPU ms per image", title="one core")
    for name, (seconds, cpu_seconds) in sorted(costs.items(), key=lambda item: item[1][1]):
        table.add_row(name, f"{1 / seconds:.1f}", f"{fastest / seconds:.2f}", f"{1000 * cpu_seconds:.2f}")
    Console().print(table)

    # The difference of the two runs is free of the start of processes, which NIH's 112,120 images hide.
    more = of_many["images"] - of_few["images"]
    seconds, cpu_seconds = ((of_many[key] - of_few[key]) / more for key in ("seconds", "cpu_seconds"))
    table = Table("packing", "value", title=f"{of_many['images']:,} images, {workers} workers")
    table.add_row("images/s", f"{1 / seconds:.1f}")
    table.add_row("of workers × the fastest on one core", f"{fastest / seconds / workers:.2f}")
    table.add_row("CPU ms per image, all processes", f"{cpu_seconds * 1000:.2f}")
    table.add_row("the ratio by CPU time", f"{least_cpu / cpu_seconds:.2f}")
    table.add_row("seconds to start, not counted above", f"{of_few['seconds'] - of_few['images'] * seconds:.1f}")
    for run in (of_few, of_many):
        table.add_row(f"peak MB, {run['images']:,} images: parent", f"{run['parent_mb']:.0f}")
        table.add_row(f"peak MB, {run['images']:,} images: largest worker", f"{run['worker_mb']:.0f}")
    Console().print(table)


if __name__ == "__main__":
    main()
