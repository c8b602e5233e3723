"""Time and memory of one-class fits against the number of training images, without the network's own time."""

import json
import resource
import subprocess
import sys
import time
from collections.abc import Iterator

import numpy as np
import torch
from rich.table import Table
from torch import Tensor

from clr_hpc.config import task
from parts.contestants import STRIDES, Films
from parts.remembered import Remembered, numbers_as_images

POOL = 1000
"""Different images; more are these over again, which costs the same."""
CHANNELS = {4: 24, 8: 40, 16: 112}
"""Of EfficientNet-Lite0."""
METHODS: dict[str, task.OneClassMethod] = {
    "PaDiM": task.Padim(),
    "PatchCore": task.Patchcore(),
    "Mahalanobis": task.Mahalanobis(strides=STRIDES),
    "nearest neighbours": task.NearestNeighbours(strides=STRIDES),
    "isolation forest": task.IsolationForest(strides=STRIDES),
    "one-class SVM": task.OneClassSvm(strides=STRIDES),
}


def table(largest: int, threads: int) -> Table:
    """Return seconds and memory of each method, each fit in a process of its own."""
    sizes = [size for size in (1_000, 10_000, 100_000) if size <= largest] or [largest]
    heads = [f"{size:,} images: s, MB" for size in sizes]
    result = Table(
        "method", *heads, "score 1,000: s", "state MB", title="fits to features of 128² films, one process each"
    )
    for name in METHODS:
        cells, last = [], {}
        for size in sizes:
            command = [sys.executable, "-m", "parts.fit_cost", name, str(size), str(threads)]
            done = subprocess.run(command, check=True, capture_output=True, text=True, cwd=sys.path[0])
            last = json.loads(done.stdout.splitlines()[-1])
            cells.append(f"{last['fit']:.1f}, {last['megabytes']:.0f}")
            print(name, size, last, flush=True)
        result.add_row(name, *cells, f"{last['score']:.2f}", f"{last['state']:.1f}")
    return result


class _Many:
    """Numbers of images, each of the pool over again."""

    def __init__(self, count: int) -> None:
        self.count = count

    def __iter__(self) -> Iterator[Tensor]:
        for first in range(0, self.count, 250):
            yield numbers_as_images(torch.arange(first, min(first + 250, self.count)) % POOL)


def _network() -> Remembered:
    generator = torch.Generator().manual_seed(0)
    maps = {
        stride: torch.randn(POOL, channels, 128 // stride, 128 // stride, generator=generator).half()
        for stride, channels in CHANNELS.items()
    }
    return Remembered(maps, torch.randn(POOL, 1280, generator=generator).half())


def measure(name: str, count: int) -> dict[str, float]:
    """Fit a method to ``count`` images; return seconds, and megabytes above those that were there before."""
    from clr_hpc.models.one_class.embedding import EmbeddingDetector
    from clr_hpc.models.one_class.padim import PadimModel
    from clr_hpc.models.one_class.patchcore import PatchcoreModel

    method, network = METHODS[name], _network()
    kinds = {"padim": PadimModel, "patchcore": PatchcoreModel}
    model = kinds.get(method.name, EmbeddingDetector)(network, method, 0, is_trained=True)  # type: ignore[arg-type]
    films = Films(np.zeros(count, bool), np.arange(count), {})
    list(map(model, [next(iter(_Many(250)))]))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    started = time.perf_counter()
    with torch.no_grad():
        model.prepare(_Many(count), films.patients)
        fit = time.perf_counter() - started
        started = time.perf_counter()
        for images in _Many(1000):
            model.scores(model(images), images)
    scored = time.perf_counter() - started
    after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    state = sum(value.numel() * value.element_size() for value in model.state_dict().values())
    return {"fit": fit, "score": scored, "megabytes": (after - before) / 1024, "state": state / 1e6}


if __name__ == "__main__":
    torch.set_num_threads(int(sys.argv[3]))
    print(json.dumps(measure(sys.argv[1], int(sys.argv[2]))))
