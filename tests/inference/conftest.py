"""What the tests of this folder share: a trained study, and a pack of other patients."""

import shutil
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
from made_once import made_once
from numpy.typing import NDArray
from tiny_run import NETWORK
from trial_study import TrialStudy

import clr_hpc
from clr_hpc.data.build import build_pack
from clr_hpc.data.pack import Pack
from clr_hpc.data.source import ImageRecord, ImageSource, SourceTable
from clr_hpc.data.sources.phantom import PhantomSource
from clr_hpc.data.splits import SeededSplit
from clr_hpc.inference.study import TrainedStudy

TRAINED = {
    "architectures": [NETWORK],
    "pathologies": ["cardiomegaly"],
    "one_class": [{"normal": "no_finding", "methods": ["nearest_neighbours"], "features_of": "cardiomegaly"}],
    "seeds": [0, 1],
    "stages": {
        "baseline": {"policies": ["exponential"]},
        "retrain": {"policies": [{"name": "triangular", "half_cycle_epochs": 0.5}], "epochs": 2},
    },
    "training": {"epochs": 1, "image_size": 32, "batch_size": 16},
    "keep": {"snapshots": True},
}


@pytest.fixture(scope="session")
def study(small_pack: Pack, tmp_path_factory: pytest.TempPathFactory) -> TrialStudy:
    """Classifiers and a one-class model of two seeds, the retrained ones with snapshots and averaged weights."""

    def train(folder: Path) -> None:
        TrialStudy.write(folder, pack=str(small_pack.folder), **TRAINED).train()

    folder = tmp_path_factory.mktemp("trained") / "copy"
    shutil.copytree(made_once(tmp_path_factory, "trained", train), folder)
    return TrialStudy(folder / "study.yaml")


@pytest.fixture
def trained(study: TrialStudy) -> TrainedStudy:
    return clr_hpc.load(study.file.parent / "results" / "trial")


@dataclass(frozen=True, slots=True)
class OtherHospital(ImageSource):
    """Other patients of the phantom, and films of those that the study's pack has, under other names."""

    images: int
    smuggled: tuple[tuple[str, str], ...] = ()
    """Film of the study's pack, and whose it is here."""
    findings: tuple[str, ...] = ()
    """What is labelled; empty: all."""

    def table(self) -> SourceTable:
        others = PhantomSource(self.images, seed=7).table()
        own = {record.image: record for record in PhantomSource(200).table().records}
        records = [replace(each, image=f"other_{each.image}") for each in others.records]
        records += [
            replace(own[film], image=f"smuggled_{film}", patient=patient) for film, patient in self.smuggled
        ]
        kept = [others.findings.index(name) for name in self.findings or others.findings]
        labelled = [replace(each, labels=tuple(each.labels[place] for place in kept)) for each in records]
        findings = tuple(others.findings[place] for place in kept)
        return SourceTable(
            tuple(sorted(labelled, key=lambda each: each.image)), findings, provenance={"kind": "other"}
        )

    def read(self, record: ImageRecord, size: int) -> tuple[NDArray[np.uint8], str]:
        kind, _, film = record.image.partition("_")
        return PhantomSource(200, seed=0 if kind == "smuggled" else 7).read(replace(record, image=film), size)


@pytest.fixture(scope="session")
def pack_elsewhere(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Pack]:
    """Return what packs other patients, at the size of the study's pack or another."""
    folder: Path = tmp_path_factory.mktemp("elsewhere")

    def make(name: str, size: int = 64, **source: object) -> Pack:
        split = SeededSplit(validation_fraction=0.1, test_fraction=0.1)
        build_pack(OtherHospital(**source), folder / name, size, split, workers=1)
        return Pack.open(folder / name)

    return make
