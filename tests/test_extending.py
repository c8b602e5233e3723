"""What a new optimizer, policy, source or network costs: one file, and nothing fails after hours of training."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from trial_study import TrialStudy

ADDON = '''
from dataclasses import dataclass
from typing import Annotated
import hashlib
import numpy as np
from clr_hpc import ImageRecord, ImageSource, Network, Option, SourceTable


@dataclass(frozen=True)
class Stripes(ImageSource):
    """Draw stripes, which are wide where there is a finding."""

    default_size = 32
    patients: Annotated[int, Option("How many to draw, with one image each.", minimum=1)]
    dim: Annotated[bool, Option("Half as bright.")] = False

    def table(self):
        records = (
            ImageRecord(image=f"{n:04d}.png", patient=str(n), labels=(n % 2,) * 14) for n in range(self.patients)
        )
        return SourceTable(tuple(records), provenance={"kind": "stripes", "dim": self.dim})

    def read(self, record, size):
        rng = np.random.default_rng(int(record.patient))
        width = 4 if record.labels[0] else 2
        image = (np.arange(size) // width % 2 * 100 + rng.integers(0, 50, (size, size))).astype(np.uint8)
        return image // (1 + self.dim), hashlib.sha256(image.tobytes()).hexdigest()


TINY = Network("Tiny network", build="addon:build", smallest_image_size=8)


def build(num_classes):
    from torch import nn

    layers = nn.Conv2d(3, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(4), nn.Flatten()
    return nn.Sequential(*layers, nn.Linear(64, num_classes))
'''
ENTRY_POINTS = "[clr_hpc.sources]\nstripes = addon:Stripes\n[clr_hpc.networks]\ntiny = addon:TINY\n"


def command(*words: str | Path, path: Path) -> str:
    """Run ``clr-hpc`` with ``path`` before all that is installed, and return what it says."""
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(path), os.environ.get("PYTHONPATH", "")])}
    call = [sys.executable, "-m", "clr_hpc", *map(str, words)]
    done = subprocess.run(
        call, capture_output=True, text=True, env=environment, cwd=path, timeout=300, check=False
    )
    assert done.returncode == 0, done.stderr + done.stdout
    return done.stdout


def trained_and_reported(study: TrialStudy, path: Path) -> str:
    """Return a study's report, with ``path`` before all that is installed."""
    results = study.file.parent / "results"
    command("run", study.file, "--processes", "1", "--no-plan", "--results", results, path=path)
    command("report", study.file, "--results", results, path=path)
    return (results / "trial" / "report" / "report.html").read_text()


@pytest.fixture
def addon(tmp_path: Path) -> Path:
    """A folder in which somebody else's package is installed."""
    folder = tmp_path / "site"
    information = folder / "addon-1.0.dist-info"
    information.mkdir(parents=True)
    (information / "METADATA").write_text("Metadata-Version: 2.1\nName: addon\nVersion: 1.0\n")
    (information / "entry_points.txt").write_text(ENTRY_POINTS)
    (folder / "addon.py").write_text(ADDON)
    return folder


@pytest.mark.commands
def test_a_source_and_a_network_of_another_package(addon: Path, tmp_path: Path) -> None:
    pack = tmp_path / "pack"
    assert "Draw stripes" in command("pack", "--help", path=addon)
    packed = command("pack", "stripes", "--patients", "60", "--dim", "--output", pack, path=addon)
    assert "60 images of 60 patients at 32 × 32" in packed
    study = TrialStudy.write(
        tmp_path, pack=str(pack), architectures=["tiny"], stages={"scratch": {"policies": ["constant"]}}
    )
    assert "Tiny network" in trained_and_reported(study, addon)


@pytest.mark.commands
def test_a_network_of_timm_next_to_one_of_the_three(
    write_study: Callable[..., TrialStudy], tmp_path: Path
) -> None:
    study = write_study(
        architectures=["timm/test_resnet", "mobilenet_v1"], stages={"scratch": {"policies": ["constant"]}}
    )
    report = trained_and_reported(study, tmp_path)
    assert "test_resnet (timm)" in report
    assert "MobileNetV1" in report


def test_a_package_that_is_broken_is_named(addon: Path) -> None:
    (addon / "addon.py").write_text("import there_is_no_such_module")
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(addon), os.environ.get("PYTHONPATH", "")])}
    call = [sys.executable, "-m", "clr_hpc", "pack", "stripes", "--patients", "1", "--output", "pack"]
    done = subprocess.run(call, capture_output=True, text=True, env=environment, cwd=addon, check=False)
    assert done.returncode == 2
    assert "entry point stripes (clr_hpc.sources) of addon" in done.stderr
    assert "there_is_no_such_module" in done.stderr


OPTIMIZER = '''
class NAdam(_Optimizer):
    """Dozat 2016."""

    title = "NAdam"
    torch_class = "NAdam"
    lr_range = SMALL_STEPS

    name: Literal["nadam"] = "nadam"

    def arguments(self) -> dict[str, Any]:
        return {"betas": (0.9, 0.999)}


Optimizer = Annotated[NAdam | '''
POLICY = '''
class Sine(_Wave):
    """Waves without corners."""

    title = "Sine waves"

    name: Literal["sine"] = "sine"

    def height(self, progress: float) -> float:
        return (1 - math.cos(2 * math.pi * progress / self.cycle_epochs)) / 2


Policy = Annotated[
    Sine
    | '''


@pytest.fixture
def patched(tmp_path: Path, repository: Path) -> Path:
    """A folder with a copy of the package, in which two files have one class more."""
    folder = tmp_path / "copy"
    shutil.copytree(repository / "clr_hpc", folder / "clr_hpc", ignore=shutil.ignore_patterns("__pycache__"))
    for name, before, after in (
        ("optimizer", "Optimizer = Annotated[", OPTIMIZER),
        ("policy", "Policy = Annotated[\n    ", POLICY),
    ):
        file = folder / "clr_hpc" / "config" / f"{name}.py"
        text = file.read_text()
        assert text.count("\n" + before) == 1
        file.write_text(text.replace("\n" + before, "\n" + after))
    return folder


@pytest.mark.commands
def test_an_optimizer_and_a_policy_in_one_file_each(patched: Path, write_study: Callable[..., TrialStudy]) -> None:
    """From the study to the report, with momentum cycled and a snapshot at the end of each cycle."""
    wave = {"name": "sine", "half_cycle_epochs": 0.25, "momentum_min": 0.8, "momentum_max": 0.9}
    study = write_study(
        optimizers=["nadam"],
        rates={"nadam": {"lr_min": 1e-4, "lr_max": 1e-3}},
        stages={"scratch": {"policies": [wave]}},
        training={"epochs": 1, "image_size": 32},
    )
    report = trained_and_reported(study, patched)
    assert "NAdam" in report
    assert "Sine waves" in report
    (result,) = study.results()
    assert set(result["models"]) == {"last", "snapshots", "swa"}


def test_a_policy_more_is_drawn_with_the_others(patched: Path, repository: Path, tmp_path: Path) -> None:
    """The twelfth of two rows of six, and no file but the policy's names it."""
    script, drawn = repository / "docs" / "images" / "draw_policies.py", tmp_path / "policies.svg"
    environment = os.environ | {"PYTHONPATH": str(patched)}
    subprocess.run([sys.executable, str(script), str(drawn)], check=True, env=environment)
    text = drawn.read_text()
    assert ">sine<" in text
    assert ">ramp<" in text
