"""A study that a small network learns something from in minutes on a CPU: 2,000 phantom films of 32 × 32."""

from pathlib import Path

import yaml

from clr_hpc.data.build import build_pack
from clr_hpc.data.sources.phantom import PhantomSource
from clr_hpc.data.splits import SeededSplit

FILMS, SIZE = 2000, 32
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


def phantom_study(folder: Path, **changes: object) -> Path:
    """Make the pack in ``folder`` where it isn't there, write the study with changes, and return its file."""
    pack = folder / "phantom-benchmark-pack"
    folder.mkdir(parents=True, exist_ok=True)
    if not pack.exists():
        build_pack(PhantomSource(FILMS), pack, SIZE, SeededSplit(validation_fraction=0.2, test_fraction=0.2))
    file = folder / "phantom-benchmark.yaml"
    file.write_text(yaml.safe_dump(STUDY | {"pack": str(pack)} | changes))
    return file
