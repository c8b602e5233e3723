"""What a whole study costs: 14 classifiers, from command to last result, against plain scripts.

    python benchmarks/study.py --originals FOLDER_WITH_NIH_PNGS [--films 960] [--epochs 2] [--cohort N]

Half an hour on 2 cores, some minutes on a GPU with many; Lightning needs the extra: pip install -e
'.[benchmarks]'. All train MobileNetV1 at 64 × 64 in batches of 32 with SGD and momentum, in float32, for as many
epochs, and evaluate the validation films each epoch. The films are PNG files of 1024 × 1024 pixels: the originals,
over and over, each moved by another number of pixels, since a pack takes no film twice. Labels are drawn at
random: only time is measured.

- ours: `clr-hpc run` on the pack; and with `clr-hpc pack` before it, which later studies need no more;
  it measures the training and test films too, once, at the end; on a GPU all classifiers side by side
- plain: one classifier after the other, torch and a DataLoader over the files, a loader process a core
- plain, shared: the same, as many classifiers at a time as there are cores, each with one thread
- Lightning: one after the other; its Trainer with the same loader

To bound the time, the plain ones train `--of-14` classifiers, those who share the machine at least one a core, and
their time is multiplied. All files are in the page cache, which flatters those who read them again and again.
"""

import argparse
import json
import logging
import multiprocessing
import os
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import torch
import yaml
from PIL import Image
from rich.console import Console
from rich.table import Table
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits
from torch.utils.data import DataLoader, Dataset

from clr_hpc.config.pathologies import PATHOLOGIES
from clr_hpc.config.run import Initialisation
from clr_hpc.models.backbones import build_backbone

SIZE, BATCH, LEARNING_RATE = 64, 32, 0.01
CUDA = torch.cuda.is_available()
DEVICE, WANTED = (torch.device("cuda"), 10.0) if CUDA else (torch.device("cpu"), 4.0)
CORES = len(os.sched_getaffinity(0))
COMMAND = [sys.executable, "-m", "clr_hpc"]


def make_film(original: Path, shift: int, film: Path) -> None:
    """Write a film as a PNG file: an original, moved to the right."""
    pixels = np.asarray(Image.open(original).convert("L"))
    Image.fromarray(np.roll(pixels, shift, axis=1)).save(film)


def make_films(originals: list[Path], folder: Path, count: int) -> pd.DataFrame:
    """Write ``count`` PNG files and return their table: image, patient, split, a 0/1 column a pathology."""
    random = np.random.default_rng(0)
    names = [f"film-{number:05}.png" for number in range(count)]
    films = [(originals[number % len(originals)], number, folder / name) for number, name in enumerate(names)]
    with multiprocessing.get_context("spawn").Pool(CORES) as pool:
        pool.starmap(make_film, films)
    split = ["validation" if number % 5 == 0 else "train" for number in range(count - 20)] + ["test"] * 20
    columns = {name: (random.random(count) < 0.3).astype(int) for name in PATHOLOGIES}
    table = {"image": names, "patient": [f"p{number}" for number in range(count)], "split": split}
    return pd.DataFrame({**table, **columns})


def ours(folder: Path, epochs: int, cohort: int) -> tuple[float, float]:
    """Return the seconds of packing and those of the study."""
    columns = ["--image-column", "image", "--patient-column", "patient", "--split-column", "split"]
    pack = ["pack", "table", "--images", str(folder / "films"), "--labels", str(folder / "films.csv")]
    study = {
        "name": "study",
        "pack": str(folder / "pack"),
        "pathologies": "all",
        "optimizers": ["sgd"],
        "rates": {"sgd": {"lr_min": LEARNING_RATE / 10, "lr_max": LEARNING_RATE}},
        "stages": {"baseline": {"policies": ["constant"], "epochs": epochs}},
        "training": {
            "epochs": epochs, "batch_size": BATCH, "image_size": SIZE, "measure_training_split_every": epochs,
        },
    }  # fmt: skip
    (folder / "study.yaml").write_text(yaml.safe_dump(study))
    run = [
        "run",
        str(folder / "study.yaml"),
        "--results",
        str(folder / "results"),
        "--no-plan",
        "--cohort",
        str(cohort),
    ]
    seconds = []
    for command in ([*pack, *columns, "--size", str(SIZE), "--output", str(folder / "pack")], run):
        start = time.perf_counter()
        subprocess.run([*COMMAND, *command], check=True, stdout=subprocess.DEVNULL, cwd=folder)
        seconds.append(time.perf_counter() - start)
    results = list((folder / "results" / "study" / "runs").glob("*/result.json"))
    done = sum(json.loads(path.read_text())["status"] == "done" for path in results)
    assert done == len(PATHOLOGIES), f"{done} of {len(PATHOLOGIES)} runs are done"
    return seconds[0], seconds[1]


class Films(Dataset[tuple[Tensor, Tensor]]):
    """Films of one split, decoded each time they are seen, as scripts usually do."""

    def __init__(self, folder: Path, pathology: str, split: str) -> None:
        table = pd.read_csv(folder / "films.csv")
        table = table[table["split"] == split]
        self.files = [folder / "films" / name for name in table["image"]]
        self.labels = table[pathology].to_numpy(dtype=np.float32)

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        film = Image.open(self.files[index]).convert("L").resize((SIZE, SIZE), Image.Resampling.BOX)
        pixels = torch.from_numpy(np.asarray(film, dtype=np.float32) / 255)
        return pixels.unsqueeze(0), torch.tensor(self.labels[index])


def loaders(folder: Path, pathology: str, workers: int) -> tuple[DataLoader[tuple[Tensor, Tensor]], ...]:
    """Return a loader of the training films and one of the validation films."""
    return tuple(
        DataLoader(
            Films(folder, pathology, split), BATCH, shuffle=split == "train", drop_last=split == "train",
            num_workers=workers, persistent_workers=workers > 0, pin_memory=CUDA,
        )
        for split in ("train", "validation")
    )  # fmt: skip


def plain_classifier(folder: Path, pathology: str, epochs: int, workers: int, threads: int) -> None:
    """Train one classifier as a plain script does."""
    torch.set_num_threads(threads)
    network = build_backbone("mobilenet_v1", 1, Initialisation(), seed=0).to(DEVICE)
    optimizer = torch.optim.SGD(network.parameters(), lr=LEARNING_RATE, momentum=0.9)
    training, validation = loaders(folder, pathology, workers)
    for _ in range(epochs):
        network.train()
        for films, labels in training:
            optimizer.zero_grad()
            logits = network(films.to(DEVICE, non_blocking=True)).squeeze(1)
            binary_cross_entropy_with_logits(logits, labels.to(DEVICE, non_blocking=True)).backward()
            optimizer.step()
        network.eval()
        with torch.inference_mode():
            for films, _ in validation:
                network(films.to(DEVICE, non_blocking=True))


def plain(folder: Path, pathologies: tuple[str, ...], epochs: int) -> None:
    """Train classifiers one after the other."""
    for pathology in pathologies:
        plain_classifier(folder, pathology, epochs, CORES, CORES)


def plain_shared(folder: Path, pathologies: tuple[str, ...], epochs: int) -> None:
    """Train a classifier a core at a time."""
    with multiprocessing.get_context("spawn").Pool(CORES, maxtasksperchild=1) as pool:
        pool.starmap(plain_classifier, [(folder, name, epochs, 0, 1) for name in pathologies], chunksize=1)


def with_lightning(folder: Path, pathologies: tuple[str, ...], epochs: int) -> None:
    """Train classifiers one after the other by Lightning."""
    import lightning

    for name in ("lightning.pytorch.utilities.rank_zero", "lightning.pytorch.accelerators.cuda"):
        logging.getLogger(name).setLevel(logging.ERROR)

    class Classifier(lightning.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.network = build_backbone("mobilenet_v1", 1, Initialisation(), seed=0)

        def training_step(self, batch: tuple[Tensor, Tensor], _: int) -> Tensor:
            return binary_cross_entropy_with_logits(self.network(batch[0]).squeeze(1), batch[1])

        def validation_step(self, batch: tuple[Tensor, Tensor], _: int) -> None:
            self.network(batch[0])

        def configure_optimizers(self) -> torch.optim.Optimizer:
            return torch.optim.SGD(self.parameters(), lr=LEARNING_RATE, momentum=0.9)

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        accelerator = "gpu" if CUDA else "cpu"
        for pathology in pathologies:
            trainer = lightning.Trainer(
                max_epochs=epochs, accelerator=accelerator, devices=1, logger=False, enable_checkpointing=False,
                enable_progress_bar=False, enable_model_summary=False, default_root_dir=folder,
            )  # fmt: skip
            trainer.fit(Classifier(), *loaders(folder, pathology, CORES))


Peer = Callable[[Path, tuple[str, ...], int], None]
PEERS: dict[str, tuple[str, Peer]] = {
    "plain": ("plain, one after the other", plain),
    "shared": (f"plain, {CORES} sharing the machine", plain_shared),
    "lightning": ("Lightning, one after the other", with_lightning),
}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    default = Path(__file__).parents[2] / "shared" / "data" / "nih-mini" / "originals"
    parser.add_argument("--originals", type=Path, default=default, help="folder of 1024 × 1024 PNG files")
    parser.add_argument("--films", type=int, default=960)
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--of-14", type=int, default=2, help="classifiers that the peers train")
    parser.add_argument("--peers", nargs="*", choices=PEERS, default=PEERS, help="all")
    parser.add_argument("--cohort", type=int, default=len(PATHOLOGIES) if CUDA else 1, help="of clr-hpc run")
    options = parser.parse_args()
    originals = sorted(options.originals.glob("*.png"))
    if not originals:
        raise SystemExit(f"{options.originals} holds no .png file; give --originals")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "films").mkdir()
        make_films(originals, folder / "films", options.films).to_csv(folder / "films.csv", index=False)
        packing, study = ours(folder, options.epochs, options.cohort)
        seconds = {"ours, packing included": packing + study}
        for peer in options.peers:
            what, train = PEERS[peer]
            some = PATHOLOGIES[: max(options.of_14, CORES) if peer == "shared" else options.of_14]
            start = time.perf_counter()
            train(folder, some, options.epochs)
            seconds[what] = (time.perf_counter() - start) * len(PATHOLOGIES) / len(some)
    hardware = f"{torch.cuda.get_device_name()}, {CORES} cores" if CUDA else f"{CORES} cores"
    table = Table(title=f"14 classifiers, {options.films} films, {options.epochs} epochs, {hardware}")
    for heading in ("study", "in times of ours", "wanted"):
        table.add_column(heading, justify="right")
    table.add_row("ours", "1", "")
    for what, taken in seconds.items():
        table.add_row(what, f"{taken / study:.1f}", f"{WANTED:g}" if what == PEERS["plain"][0] else "")
    Console().print(table)


if __name__ == "__main__":
    main()
