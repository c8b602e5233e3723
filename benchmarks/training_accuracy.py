"""What it costs to measure the training accuracy after each epoch: on the whole split, and on a sample.

    python benchmarks/training_accuracy.py [--images 500] [--epochs 4] [--rounds 3]

Some six minutes. MobileNetV1 at 64 × 64 in batches of 32, on one thread; four seeds, each trained with both, one
after the other. Seconds are the process's own on a CPU, so that other work of the machine counts little. The
sample's share of the training images is that of the default, 4,096, in NIH ChestX-ray14. The stage is `scratch`:
on a grid of steps, so small a pack would be measured far more than that one. Weights must be the same.
"""

import json
import statistics
import tempfile
import time
from pathlib import Path

import torch
from rich.console import Console
from rich.table import Table

from clr_hpc.config.optimizer import Sgd
from clr_hpc.config.policy import Constant
from clr_hpc.config.run import RunSpec, Training
from clr_hpc.config.task import BinaryTask
from clr_hpc.data.pack import Pack
from clr_hpc.training.distributed import ProcessGroup
from clr_hpc.training.run import RunSettings, train_run
from parts.command import parser
from parts.noise import noise_pack

SIZE, BATCH, SEEDS = 64, 32, 4
SHARE = 4096 / 78_000
"""The default sample over the training images of NIH's official split, with a tenth of patients for validation."""
DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")


def train(pack: Pack, folder: Path, training: Training, seed: int) -> tuple[float, str]:
    """Return the seconds of a run, and the hash of its weights."""
    spec = RunSpec(
        pack_checksum=pack.manifest.checksum,
        task=BinaryTask(pathology="effusion"),
        stage="scratch",
        architecture="mobilenet_v1",
        optimizer=Sgd(),
        policy=Constant(lr_max=0.001),
        training=training,
        seed=seed,
    )
    clock = time.process_time if DEVICE.type == "cpu" else time.perf_counter
    began = clock()
    ending = train_run(
        spec, pack, folder / spec.name, ProcessGroup.alone(DEVICE), bool, RunSettings(), "benchmark"
    )
    seconds = clock() - began
    assert ending == "done"
    return seconds, json.loads((folder / spec.name / "result.json").read_text())["checkpoint_sha256"]


def ratio(pack: Pack, folder: Path, both: tuple[Training, Training]) -> float:
    """Return how many times as long the first takes, over all seeds."""
    totals = [0.0, 0.0]
    for seed in range(SEEDS):
        runs = [train(pack, folder, training, seed) for training in both]
        assert runs[0][1] == runs[1][1], "measuring changed weights"
        totals = [total + seconds for total, (seconds, _) in zip(totals, runs, strict=True)]
    return totals[0] / totals[1]


def main() -> None:
    """Measure and print."""
    options = parser(__doc__)
    options.add_argument("--images", type=int, default=500, help="of the pack; four fifths are for training")
    options.add_argument("--epochs", type=int, default=4)
    options.add_argument("--rounds", type=int, default=3)
    given = options.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        pack = noise_pack(folder / "pack", given.images, SIZE)
        images = len(pack.rows_of("train"))
        sample = max(2, round(SHARE * images))
        whole = Training(epochs=given.epochs, batch_size=BATCH, image_size=SIZE, training_accuracy_images="all")
        both = whole, whole.model_copy(update={"training_accuracy_images": sample})
        train(pack, folder / "warm", both[0], seed=SEEDS)
        ratios = [ratio(pack, folder / str(number), both) for number in range(given.rounds)]
    title = f"{SEEDS} runs of {given.epochs} epochs that measure all {images} training images, over {sample}"
    table = Table(*(f"round {number + 1}" for number in range(given.rounds)), "median", title=title)
    table.add_row(*(f"{each:.3f}" for each in (*ratios, statistics.median(ratios))))
    Console().print(table)


if __name__ == "__main__":
    main()
