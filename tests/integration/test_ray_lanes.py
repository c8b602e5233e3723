"""The same study here, in two lanes of one worker, and in a lane of two: what is equal, and how nearly."""

import json
import os
import signal
import subprocess
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from needs import need_package
from trial_study import WAIT_SECONDS, TrialStudy, wait_until

from clr_hpc.config.run import RunSpec
from clr_hpc.data.pack import Pack
from clr_hpc.schedule.policies import learning_rate
from clr_hpc.store.run_folder import read_metrics

pytestmark = pytest.mark.cluster
need_package("ray")

TOLERANCE = 1e-5
"""Of a lane of two. AlexNet has no batch norm, which would multiply rounding several times a step; what becomes of
that is in tests/training/test_several_processes.py."""
OF_AUROC = 1e-3
"""Of two images with nearly equal scores, rounding decides which is higher: a six-thousandth of all pairs each."""
NO_BATCH_NORM: dict[str, Any] = {
    "architectures": ["alexnet"],
    "training": {"epochs": 1, "image_size": 64, "batch_size": 24},
    "stages": {"scratch": {"policies": ["cosine", {"name": "triangular", "half_cycle_epochs": 0.5}]}},
}


def steps(folder: Path) -> list[dict[str, float]]:
    return [entry for entry in read_metrics(folder) if entry["kind"] == "step"]


def rates(folder: Path) -> list[tuple[float, float]]:
    return [(entry["samples"], entry["lr"]) for entry in steps(folder)]


def test_lanes_end_where_one_machine_does(write_study: Callable[..., TrialStudy], tmp_path: Path) -> None:
    here = write_study(**NO_BATCH_NORM)
    narrow, wide = here.copied_to(tmp_path / "narrow"), here.copied_to(tmp_path / "wide")
    assert here.run().returncode == 0
    for study, lanes, workers in ((narrow, "2", "1"), (wide, "1", "2")):
        outcome = study.run("--lanes", lanes, "--workers-per-lane", workers, "--cpus", "2", on="ray")
        assert outcome.returncode == 0, outcome.stdout + outcome.stderr
        assert outcome.stdout.count("\ndone ") == 2
    assert narrow.checksums() == here.checksums(), "bit for bit"
    for ours, theirs in zip(wide.folders(), here.folders(), strict=True):
        assert rates(ours) == rates(theirs)
        losses = [[entry["loss"] for entry in steps(folder)] for folder in (ours, theirs)]
        assert losses[0] == pytest.approx(losses[1], abs=TOLERANCE)
    for ours, theirs in zip(wide.results(), here.results(), strict=True):
        for split in ("train", "validation"):
            assert ours[split]["loss"] == pytest.approx(theirs[split]["loss"], abs=TOLERANCE)
            assert ours[split]["auroc"] == pytest.approx(theirs[split]["auroc"], abs=OF_AUROC)


def test_a_run_of_two_workers_goes_on_with_one(write_study: Callable[..., TrialStudy], small_pack: Pack) -> None:
    study = write_study(
        stages={"scratch": {"policies": [{"name": "triangular", "half_cycle_epochs": 7}]}},
        training={"epochs": 15, "image_size": 32, "batch_size": 16, "measure_training_split_every": 15},
    )
    options = ("--lanes", "1", "--workers-per-lane", "2", "--cpus", "2")
    two = subprocess.Popen(study.command(*options, on="ray"), stdout=subprocess.PIPE, text=True, process_group=0)
    wait_until(lambda: any(len(steps(folder)) > 20 for folder in study.folders()), "steps of two workers")
    os.killpg(two.pid, signal.SIGINT)
    printed, _ = two.communicate(timeout=WAIT_SECONDS)
    assert two.returncode == 130, printed
    assert "every run under way is saved" in " ".join(printed.split())
    (folder,) = study.folders()
    before = steps(folder)
    stopped_at = int(max((folder / "checkpoints").glob("*.safetensors")).stem)
    assert 0 < stopped_at < 15 * len(small_pack.rows_of("train"))
    assert study.run("--processes", "1").returncode == 0
    after = steps(folder)
    assert after[: len(before)] == before
    assert len(after) > len(before)

    spec = RunSpec.model_validate_json((folder / "spec.json").read_text())
    per_epoch = after[0]["samples"] / after[0]["progress"]
    assert [entry["lr"] for entry in after] == [
        learning_rate(spec.policy, (entry["samples"] - 16) / per_epoch) for entry in after
    ]
    environments = json.loads((folder / "environment.json").read_text())
    assert [environment["processes"] for environment in environments] == [2, 1]
    # the loss goes on where it was: the change at the seam is within those on either side
    losses = [entry["loss"] for entry in after]
    seam = len(before)
    around = losses[seam - 10 : seam + 10]
    usual = max(abs(second - first) for first, second in pairwise(around))
    assert abs(losses[seam] - losses[seam - 1]) <= usual
