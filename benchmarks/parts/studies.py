"""Packs of the phantom and studies on them, and the training of what a study's folder lacks."""

from pathlib import Path

import yaml

from clr_hpc.config.run import RunSpec
from clr_hpc.data.build import build_pack
from clr_hpc.data.pack import Pack
from clr_hpc.data.sources.phantom import PhantomSource
from clr_hpc.data.splits import SeededSplit
from clr_hpc.places.job import WorkerTask
from clr_hpc.places.local.place import drain_here
from clr_hpc.places.machine import Processes
from clr_hpc.places.queue import ListedRuns
from clr_hpc.store.study_folder import StudyFolder
from clr_hpc.training.run import RunSettings

STUDY = yaml.safe_load("""
name: phantom-benchmark
pathologies: [cardiomegaly]
architectures: [densenet121]
optimizers: [adam]
rates: {adam: auto}
range_test: {epochs: 4}
stages: {scratch: {policies: [{name: triangular, half_cycle_epochs: 1}], epochs: 6}}
training:
  epochs: 6
  batch_size: 32
  image_size: 32
  augmentation: {flip_probability: 0, rotation_degrees: 5, shift_fraction: 0.03, scale_fraction: 0.05}
""")
"""A small network learns from 2,000 phantom films of 32 × 32 in minutes on a CPU."""


def phantom_pack(folder: Path, images: int, size: int, validation: float = 0.2, test: float = 0.2) -> Pack:
    """Draw a pack of phantom films where it isn't there, and open it."""
    if not folder.exists():
        folder.parent.mkdir(parents=True, exist_ok=True)
        split = SeededSplit(validation_fraction=validation, test_fraction=test)
        build_pack(PhantomSource(images=images), folder, size, split)
    return Pack.open(folder)


def phantom_study(folder: Path, **changes: object) -> Path:
    """Make the pack in ``folder`` where it isn't there, write the study with changes, and return its file."""
    pack = phantom_pack(folder / "phantom-benchmark-pack", 2000, 32)
    file = folder / "phantom-benchmark.yaml"
    file.write_text(yaml.safe_dump(STUDY | {"pack": str(pack.folder)} | changes))
    return file


def train_missing(pack: Path, runs: tuple[RunSpec, ...], folder: StudyFolder) -> None:
    """Train on this machine those runs that have no result yet, and print how each ends."""
    folder.runs.mkdir(parents=True, exist_ok=True)
    drain_here(
        ListedRuns(folder.unfinished(runs)),
        WorkerTask(pack, folder.runs, RunSettings()),
        Processes.for_this_machine(None),
        lambda _: None,
        lambda spec, outcome: print(outcome, spec.name, flush=True),
    )
