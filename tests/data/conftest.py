"""A small data set in NIH's layout, written anew for each test."""

import csv
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from clr_hpc.data.sources.nih import NihSource

FINDINGS = ("No Finding", "Effusion", "Mass|Nodule", "Pneumonia", "Cardiomegaly|Effusion")
HEADER = (
    "Image Index,Finding Labels,Follow-up #,Patient ID,Patient Age,Patient Gender,View Position,"
    "OriginalImage[Width,Height],OriginalImagePixelSpacing[x,y]"
)


@dataclass
class NihFolder:
    """Files as NIH ships them; a test adds what is wrong with them."""

    folder: Path

    @property
    def images(self) -> Path:
        return self.folder / "images"

    @property
    def labels(self) -> Path:
        return self.folder / "Data_Entry_2017_v2020.csv"

    @property
    def source(self) -> NihSource:
        return NihSource(images=self.images, labels=self.labels)

    @property
    def source_with_lists(self) -> NihSource:
        return NihSource(
            images=self.images,
            labels=self.labels,
            train_val_list=self.folder / "train_val_list.txt",
            test_list=self.folder / "test_list.txt",
        )

    def add_row(self, image: str, findings: str = "No Finding", patient: str = "900") -> None:
        with self.labels.open("a") as file:
            file.write(f"{image},{findings},0,{patient},58,M,PA,2500,2048,0.168,0.168\n")

    def write_lists(self, train_val: Sequence[str], test: Sequence[str]) -> None:
        (self.folder / "train_val_list.txt").write_text("\n".join(train_val) + "\n")
        (self.folder / "test_list.txt").write_text("\n".join(test) + "\n")


def picture(seed: int, width: int = 64, height: int = 64) -> np.ndarray:
    """Return gray noise, different for each seed."""
    return np.random.default_rng(seed).integers(0, 256, (height, width), dtype=np.uint8)


def nih_name(number: int) -> str:
    """Return the name of the numbered image: three images a patient."""
    return f"{number // 3 + 1:08d}_{number % 3:03d}.png"


@pytest.fixture
def make_nih_folder(tmp_path: Path) -> Callable[[int], NihFolder]:
    """Write that many images of 64 × 64, three a patient, their labels, and lists that part the patients."""

    def make(images: int) -> NihFolder:
        made = NihFolder(tmp_path / "nih")
        made.images.mkdir(parents=True)
        names = [nih_name(number) for number in range(images)]
        with made.labels.open("w") as file:
            file.write(HEADER + "\n")
            for number, name in enumerate(names):
                Image.fromarray(picture(number)).save(made.images / name, compress_level=1)
                finding, sex, view = FINDINGS[number % 5], "FM"[number // 3 % 2], ("PA", "AP")[number % 2]
                patient = number // 3 + 1
                file.write(f"{name},{finding},{number % 3},{patient},58,{sex},{view},2500,2048,0.1,0.1\n")
        test = [name for number, name in enumerate(names) if number // 3 % 4 == 0]
        made.write_lists([name for name in names if name not in test], test)
        return made

    return make


@pytest.fixture
def rejected() -> Callable[[Path], dict[str, str]]:
    """Read a pack's ``rejected.csv`` as reasons by image."""

    def read(pack: Path) -> dict[str, str]:
        with (pack / "rejected.csv").open(newline="") as file:
            return {row["image"]: row["reason"] for row in csv.DictReader(file)}

    return read


@pytest.fixture
def write_images() -> Callable[[Path, Sequence[str]], None]:
    """Write images of 64 × 64 that differ, by their names."""

    def write(folder: Path, names: Sequence[str]) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        for number, name in enumerate(names):
            Image.fromarray(picture(number)).save(folder / name, compress_level=1)

    return write
