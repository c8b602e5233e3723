"""What a whole study costs: 14 classifiers, from command to last result, against plain scripts.

    python benchmarks/study.py --originals FOLDER_WITH_NIH_PNGS [--films 960] [--epochs 2] [--cohort N]

Half an hour on 2 cores; Lightning needs the extra: pip install -e '.[benchmarks]'. All train MobileNetV1 at 64 ×
64 in batches of 32 with SGD and momentum, in float32, for as many epochs, and evaluate the validation films each
epoch. The films are PNG files of 1024 × 1024 pixels: the originals, over and over, each shifted by another number
of pixels, since a pack takes no film twice. Labels are drawn at random: only time is measured.

- ours: `clr-hpc run` on the pack, without and with `clr-hpc pack` before it; it measures the training and test
  films too, once, at the end; on a GPU all classifiers side by side
- plain: one classifier after the other, torch and a DataLoader over the files, one loader process per core
- plain, shared: as many classifiers at a time as there are cores, each with one thread
- Lightning: one after the other; its Trainer with the same loader

To bound the time, the peers train `--of-14` classifiers, those that share the machine at least one per core, and
their time is multiplied. All files are in the page cache, which flatters those that read them again and again.
"""

import json
import multiprocessing
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from PIL import Image
from rich.console import Console
from rich.table import Table
from torch.utils.data import DataLoader

from clr_hpc.config.pathologies import PATHOLOGIES
from clr_hpc.data.build import usable_cores
from parts.command import parser, write_study
from parts.loops import LEARNING_RATE, Setting
from parts.png_loops import Loader, PngFiles, sgd, train_plainly, train_with_lightning
from parts.processes import CLR_HPC, seconds_of

CUDA = torch.cuda.is_available()
DEVICE, WANTED = (torch.device("cuda"), 10.0) if CUDA else (torch.device("cpu"), 4.0)
SETTING = Setting("mobilenet_v1", 64, 32, "float32", DEVICE)
CORES = usable_cores()


def make_film(original: Path, shift: int, film: Path) -> None:
    """Write a film as a PNG file: an original, moved to the right."""
    pixels = np.asarray(Image.open(original).convert("L"))
    Image.fromarray(np.roll(pixels, shift, axis=1)).save(film)


def make_films(originals: list[Path], folder: Path, count: int) -> pd.DataFrame:
    """Write ``count`` PNG files and return their table: image, patient, split, one 0/1 column per pathology."""
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
    training = {"epochs": epochs, "batch_size": SETTING.batch, "image_size": SETTING.size}
    training["measure_training_split_every"] = epochs
    write_study(folder / "study.yaml", folder / "pack", training, LEARNING_RATE, pathologies="all")
    columns = ["--image-column", "image", "--patient-column", "patient", "--split-column", "split"]
    files = ["--images", f"{folder}/films", "--labels", f"{folder}/films.csv", "--output", f"{folder}/pack"]
    packing = seconds_of([*CLR_HPC, "pack", "table", *files, *columns, "--size", str(SETTING.size)])
    options = ["--results", f"{folder}/results", "--no-plan", "--cohort", str(cohort)]
    training = seconds_of([*CLR_HPC, "run", f"{folder}/study.yaml", *options])
    results = list((folder / "results" / "study" / "runs").glob("*/result.json"))
    done = sum(json.loads(path.read_text())["status"] == "done" for path in results)
    assert done == len(PATHOLOGIES), f"{done} of {len(PATHOLOGIES)} runs are done"
    return packing, training


def loaders(folder: Path, pathology: str, workers: int) -> tuple[Loader, Loader]:
    """Return a loader of the training films and one of the validation films."""
    table = pd.read_csv(folder / "films.csv")

    def loader(split: str) -> Loader:
        some, training = table[table["split"] == split], split == "train"
        files = [folder / "films" / name for name in some["image"]]
        films = PngFiles(files, some[pathology], SETTING.size, Image.Resampling.BOX)
        return DataLoader(
            films, SETTING.batch, shuffle=training, drop_last=training, num_workers=workers,
            persistent_workers=workers > 0, pin_memory=CUDA,
        )  # fmt: skip

    return loader("train"), loader("validation")


def plain_classifier(folder: Path, pathology: str, epochs: int, workers: int, threads: int) -> None:
    """Train one classifier as a plain script does."""
    torch.set_num_threads(threads)
    network = SETTING.network()
    optimizer = sgd(network)
    training, validation = loaders(folder, pathology, workers)
    for _ in range(epochs):
        network.train()
        train_plainly(SETTING, training, network, optimizer)
        network.eval()
        with torch.inference_mode():
            for films, _ in validation:
                network(films.to(DEVICE, non_blocking=True))


def plain(folder: Path, pathologies: tuple[str, ...], epochs: int) -> None:
    """Train classifiers one after the other."""
    for pathology in pathologies:
        plain_classifier(folder, pathology, epochs, CORES, CORES)


def plain_shared(folder: Path, pathologies: tuple[str, ...], epochs: int) -> None:
    """Train one classifier per core at a time."""
    with multiprocessing.get_context("spawn").Pool(CORES, maxtasksperchild=1) as pool:
        pool.starmap(plain_classifier, [(folder, name, epochs, 0, 1) for name in pathologies], chunksize=1)


def with_lightning(folder: Path, pathologies: tuple[str, ...], epochs: int) -> None:
    """Train classifiers one after the other by Lightning."""
    for pathology in pathologies:
        train_with_lightning(SETTING, epochs, *loaders(folder, pathology, CORES))


Peer = Callable[[Path, tuple[str, ...], int], None]
PEERS: dict[str, tuple[str, Peer]] = {
    "plain": ("plain, one after the other", plain),
    "shared": (f"plain, {CORES} sharing the machine", plain_shared),
    "lightning": ("Lightning, one after the other", with_lightning),
}


def main() -> None:
    """Measure and print."""
    command = parser(__doc__)
    default = Path(__file__).parents[2] / "shared" / "data" / "nih-mini" / "originals"
    command.add_argument("--originals", type=Path, default=default, help="folder of 1024 × 1024 PNG files")
    command.add_argument("--films", type=int, default=960)
    command.add_argument("--epochs", type=int, default=2)
    command.add_argument("--of-14", type=int, default=2, help="classifiers that the peers train")
    command.add_argument("--peers", nargs="*", choices=PEERS, default=PEERS, help="all")
    command.add_argument("--cohort", type=int, default=len(PATHOLOGIES) if CUDA else 1, help="of clr-hpc run")
    options = command.parse_args()
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
    title = f"14 classifiers, {options.films} films, {options.epochs} epochs, {hardware}"
    table = Table("study", "in multiples of ours", "wanted", title=title)
    table.add_row("ours", "1", "")
    for what, taken in seconds.items():
        table.add_row(what, f"{taken / study:.1f}", f"{WANTED:g}" if what == PEERS["plain"][0] else "")
    Console().print(table)


if __name__ == "__main__":
    main()
